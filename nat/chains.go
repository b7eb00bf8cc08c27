package nat

import (
	"net/netip"

	"github.com/bridged/bridged/nft"
)

// Chains are this package's chains. See the package comment for the order of their rules.
func Chains() []nft.Chain {
	return []nft.Chain{prerouting(), output(), docker(), postrouting(), hairpin()}
}

// prerouting is for what comes from elsewhere, sandboxes included, to any address of the host.
func prerouting() nft.Chain {
	return nft.Chain{
		Name: "prerouting",
		Hook: &nft.Hook{Type: nft.NATChain, Point: nft.Prerouting, Priority: nft.PriorityDstNAT},
		Rules: []nft.Rule{
			{toHost(), nft.Jump("DOCKER")},
		},
	}
}

// output is for what the host asks of itself. There is no route_localnet in IPv6: a connection to [::1] is better refused at once
// than lost.
func output() nft.Chain {
	loopback6 := nft.Addr(netip.IPv6Loopback())
	return nft.Chain{
		Name: "output",
		Hook: &nft.Hook{Type: nft.NATChain, Point: nft.Output, Priority: nft.PriorityDstNAT},
		Rules: []nft.Rule{
			{nft.IP6DAddr.Is(loopback6), nft.Return},
			{toHost(), nft.Jump("DOCKER")},
		},
	}
}

// docker translates to published ports. A map that does not have the key ends the rule, not the chain.
//
// A link-local source can't be forwarded after DNAT (the kernel refuses, before postrouting could masquerade): it is left to
// a listener on the host, which can at least refuse.
func docker() nft.Chain {
	anyAddr := nft.Join(nft.L4Proto, nft.THDPort)
	return nft.Chain{
		Name: "DOCKER",
		Rules: []nft.Rule{
			{nft.IP6SAddr.InPrefix(nft.Addr(netip.MustParseAddr("fe80::")), 10), nft.Return},
			{nft.DNATTo(nft.IPv4, nft.Join(nft.IPDAddr, anyAddr), "publish4")},
			{nft.DNATTo(nft.IPv4, anyAddr, "publish4any")},
			{nft.DNATTo(nft.IPv6, nft.Join(nft.IP6DAddr, anyAddr), "publish6")},
			{nft.DNATTo(nft.IPv6, anyAddr, "publish6any")},
		},
	}
}

// postrouting gives what leaves a network a source that answers come back to.
func postrouting() nft.Chain {
	return nft.Chain{
		Name: "postrouting",
		Hook: &nft.Hook{Type: nft.NATChain, Point: nft.Postrouting, Priority: nft.PrioritySrcNAT},
		Rules: []nft.Rule{
			{nft.OIFName.In("bridges"), nft.CTStatus.Any(nft.StatusDNAT), nft.Jump("hairpin")},
			{nft.Join(nft.IIFName, nft.OIFName).In("same"), nft.Accept},
			{nft.IPSAddr.In("subnets4"), nft.SNATTo(nft.IPv4, nft.IIFName, "snat4")},
			{nft.IP6SAddr.In("subnets6"), nft.SNATTo(nft.IPv6, nft.IIFName, "snat6")},
			{nft.IIFName.In("masq4"), nft.IPSAddr.In("subnets4"), nft.Masquerade},
			{nft.IIFName.In("masq6"), nft.IP6SAddr.In("subnets6"), nft.Masquerade},
		},
	}
}

// hairpin makes the host the asker where a sandbox could not answer the real one, or would answer it past the host.
func hairpin() nft.Chain {
	return nft.Chain{
		Name: "hairpin",
		Rules: []nft.Rule{
			{nft.IPSAddr.In("subnets4"), nft.Masquerade},
			{nft.IP6SAddr.In("subnets6"), nft.Masquerade},
			{nft.IPSAddr.InPrefix(nft.Addr(netip.AddrFrom4([4]byte{127})), 8), nft.Masquerade},
			{nft.OIFName.In("internal"), nft.Masquerade},
		},
	}
}

// toHost matches what is addressed to the host: fib daddr type local.
func toHost() nft.Match { return nft.FIBDAddrType.Is(nft.Mark(nft.RTNLocal)) }
