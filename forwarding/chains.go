package forwarding

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// Chains are this package's chains of the table [nat.Inet]. See the package comment for the way through them.
func Chains() []nft.Chain {
	return []nft.Chain{
		guard(), inside(), spoofed(),
		input(), host(), redirects(),
		forward(), ours(), dockerICC(), limits(),
	}
}

// What several rules match on.
const establishedOrRelated = nft.StateEstablished | nft.StateRelated

func loopback4() nft.Value { return nft.Addr(netip.AddrFrom4([4]byte{127})) } // of 127.0.0.0/8
func linkLocal() nft.Value { return nft.Addr(netip.MustParseAddr("fe80::")) } // of fe80::/10
func isIPv4() nft.Match    { return nft.NFProto.Is(nft.Byte(uint8(nft.IPv4))) }
func isIPv6() nft.Match    { return nft.NFProto.Is(nft.Byte(uint8(nft.IPv6))) }
func noRoute() nft.Match   { return nft.FIBSAddrIIFOIF.Is(nft.Byte(0)) } // fib saddr . iif oif missing

// drop ends a rule: it counts the packet, drops it and says why.
func drop(reason string, matches ...nft.Stmt) nft.Rule {
	return append(nft.Rule(matches), nft.Counter, nft.Drop, nft.Comment(reason))
}

// guard is what must be decided while the destination is still the one that was asked for.
func guard() nft.Chain {
	return nft.Chain{
		Name: "guard",
		Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Prerouting, Priority: nft.PriorityMangle},
		Rules: []nft.Rule{
			{nft.IIFName.In("loopbacks"), nft.Accept},
			drop("port without its bridge", nft.IIFName.Begins(bridged.PortPrefix)),
			drop("host loopback from elsewhere", nft.IPDAddr.InPrefix(loopback4(), 8)),
			drop("loopback source from elsewhere", nft.IPSAddr.InPrefix(loopback4(), 8)),
			{nft.CTState.Any(establishedOrRelated), nft.Accept},
			{nft.IIFName.In("bridges"), nft.Goto("inside")},
			drop("container source from outside", nft.IPSAddr.In("subnets4")),
			drop("container source from outside", nft.IP6SAddr.In("subnets6")),
			drop("internal network, direct", nft.IPDAddr.In("internal4")),
			drop("internal network, direct", nft.IP6DAddr.In("internal6")),
			drop("direct access", nft.IPDAddr.In("protected4"), nft.Join(nft.IIFName, nft.IPDAddr).NotIn("trusted4")),
			drop("direct access", nft.IP6DAddr.In("protected6"), nft.Join(nft.IIFName, nft.IP6DAddr).NotIn("trusted6")),
		},
	}
}

// inside is for new flows from sandboxes. The reverse path is checked for the host's own addresses only: frames that stay within
// the bridge pass here when br_netfilter is on, and what is forwarded is checked in ours.
func inside() nft.Chain {
	local := nft.Mark(nft.RTNLocal)
	return nft.Chain{
		Name: "inside",
		Rules: []nft.Rule{
			{nft.IP6SAddr.InPrefix(linkLocal(), 10), nft.IP6DAddr.InPrefix(linkLocal(), 10), nft.Accept},
			drop("internal, other host address",
				nft.IIFName.In("internal"), nft.FIBDAddrType.Is(local), nft.FIBDAddrIIFType.IsNot(local)),
			drop("internal network's gateway", nft.IIFName.NotIn("internal"), nft.IPDAddr.In("internal4")),
			drop("internal network's gateway", nft.IIFName.NotIn("internal"), nft.IP6DAddr.In("internal6")),
			{nft.FIBDAddrType.Is(local), noRoute(), nft.Jump("spoofed")},
		},
	}
}

// spoofed is for sources without a route back through the bridge that they came from: there are good ones. It takes the
// place of rp_filter, which IPv6 does not have.
func spoofed() nft.Chain {
	return nft.Chain{
		Name: "spoofed",
		Rules: []nft.Rule{
			{nft.Join(nft.IIFName, nft.IPSAddr).In("sources4"), nft.Return},
			{nft.Join(nft.IIFName, nft.IP6SAddr).In("sources6"), nft.Return},
			{nft.Join(nft.IIFName, nft.IPSAddr).In("nested4"), nft.Return},
			{nft.Join(nft.IIFName, nft.IP6SAddr).In("nested6"), nft.Return},
			drop("spoofed source"),
		},
	}
}

// forward finds what is ours; the rest must not find a router that was none before we switched forwarding on.
func forward() nft.Chain {
	return nft.Chain{
		Name: "forward",
		Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Forward, Priority: nft.PriorityFilter},
		Rules: []nft.Rule{
			{nft.IIFName.In("bridges"), nft.Jump("ours")},
			{nft.OIFName.In("bridges"), nft.Jump("ours")},
			drop("not a router", nft.NFProto.In("norouter"), nft.CTState.None(establishedOrRelated)),
		},
	}
}

// ours decides what goes in and out of our bridges: the fences come before any accept of a new flow.
func ours() nft.Chain {
	port4, port6 := destination()
	return nft.Chain{
		Name: "ours",
		Rules: []nft.Rule{
			{nft.CTState.Any(establishedOrRelated), nft.Accept},
			{nft.CTStatus.Any(nft.StatusDNAT), nft.Jump("limits")},
			{nft.Join(nft.IIFName, nft.OIFName).In("same"), nft.Jump("DOCKER-ICC")},

			drop("internal network, egress", nft.IIFName.In("internal")),
			drop("internal network, ingress", nft.OIFName.In("internal")),
			{nft.IIFName.In("bridges"), noRoute(), nft.Jump("spoofed")},
			drop("invalid", isIPv4(), nft.IIFName.In("masq4"), nft.CTState.Any(nft.StateInvalid)),
			drop("invalid", isIPv6(), nft.IIFName.In("masq6"), nft.CTState.Any(nft.StateInvalid)),

			{nft.IIFName.In("bridges"), nft.OIFName.NotIn("bridges"), nft.Accept},
			{nft.CTStatus.Any(nft.StatusDNAT), nft.Accept},
			// Behind a bridge that was given, everything but our own sandboxes is not ours to guard.
			{nft.OIFName.In("unprotected4"), nft.IPDAddr.NotIn("protected4"), nft.Accept},
			{nft.OIFName.In("unprotected6"), nft.IP6DAddr.NotIn("protected6"), nft.Accept},
			{nft.OIFName.In("routed4"), nft.ICMPType.Is(icmpEchoRequest), nft.Accept},
			{nft.OIFName.In("routed6"), nft.ICMP6Type.Is(icmp6EchoRequest), nft.Accept},
			drop("other network", nft.IIFName.In("bridges"), nft.IPDAddr.In("protected4")),
			drop("other network", nft.IIFName.In("bridges"), nft.IP6DAddr.In("protected6")),
			{nft.MetaMark.In("marks"), nft.Accept},
			{nft.Jump("limits")},
			{port4.In("open4"), nft.Accept},
			{port6.In("open6"), nft.Accept},
			drop("unpublished port"),
		},
	}
}

// dockerICC is for what stays within one bridge and still comes to the IP level: with br_netfilter, through a link, or through
// a published port.
func dockerICC() nft.Chain {
	port4, port6 := destination()
	return nft.Chain{
		Name: "DOCKER-ICC",
		Rules: []nft.Rule{
			{nft.CTStatus.Any(nft.StatusDNAT), nft.Accept},
			{nft.IIFName.In("icc"), nft.Accept},
			{nft.Join(nft.IPSAddr, port4).In("links4"), nft.Accept},
			{nft.Join(nft.IP6SAddr, port6).In("links6"), nft.Accept},
			drop("ICC off"),
		},
	}
}

// limits are a published port's source filter and rate.
func limits() nft.Chain {
	port4, port6 := destination()
	return nft.Chain{
		Name: "limits",
		Rules: []nft.Rule{
			drop("source filter", port4.In("restricted4"), nft.Join(port4, nft.IPSAddr).NotIn("allowed4")),
			drop("source filter", port6.In("restricted6"), nft.Join(port6, nft.IP6SAddr).NotIn("allowed6")),
			drop("rate limit", port4.In("rates4")),
			drop("rate limit", port6.In("rates6")),
		},
	}
}

// destination is where a packet goes: address, protocol and port.
func destination() (port4, port6 nft.Expr) {
	port := nft.Join(nft.L4Proto, nft.THDPort)
	return nft.Join(nft.IPDAddr, port), nft.Join(nft.IP6DAddr, port)
}

// input is what sandboxes may ask of the host itself.
func input() nft.Chain {
	return nft.Chain{
		Name: "input",
		Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Input, Priority: nft.PriorityFilter},
		Rules: []nft.Rule{
			drop("isolated network, to host", isIPv4(), nft.IIFName.In("isolated4")),
			drop("isolated network, to host", isIPv6(), nft.IIFName.In("isolated6")),
			{nft.IIFName.In("closed"), nft.Jump("host")},
		},
	}
}

// host is for networks that reach only some services of the host. They still may find their gateway.
func host() nft.Chain {
	return nft.Chain{
		Name: "host",
		Rules: []nft.Rule{
			{nft.CTState.Any(establishedOrRelated), nft.Accept},
			{nft.Join(nft.IIFName, nft.L4Proto, nft.THDPort).In("services"), nft.Accept},
			{nft.ICMPType.Is(icmpEchoRequest), nft.Accept},
			{nft.ICMP6Type.Is(icmp6EchoRequest, ndRouterSolicit, ndNeighborSolicit, ndNeighborAdvert), nft.Accept},
			drop("closed network, to host"),
		},
	}
}

// redirects keeps the host from telling a sandbox of a shorter way that the bridge table closes: a link goes through the gateway
// and out of the same bridge. (For flows with NAT the kernel drops redirects itself; IPv6 has no sysctl for them.)
func redirects() nft.Chain {
	return nft.Chain{
		Name: "redirects",
		Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Output, Priority: nft.PriorityFilter},
		Rules: []nft.Rule{
			{nft.OIFName.In("bridges"), nft.ICMPType.Is(icmpRedirect), nft.Drop},
			{nft.OIFName.In("bridges"), nft.ICMP6Type.Is(ndRedirect), nft.Drop},
		},
	}
}
