package forwarding

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// AppendConstant appends the elements that are always there: lo is a loopback.
func AppendConstant(dst []nft.Element) []nft.Element {
	return append(dst, nft.Element{Set: inet("loopbacks"), Key: nft.Name("lo")})
}

// AppendHost appends the elements that keep the host from being a router for others, where we switched forwarding on. They are
// committed before that.
func AppendHost(dst []nft.Element, f bridged.Forwarding) []nft.Element {
	if f.IPv4 {
		dst = append(dst, nft.Element{Set: inet("norouter"), Key: nft.Byte(uint8(nft.IPv4))})
	}
	if f.IPv6 {
		dst = append(dst, nft.Element{Set: inet("norouter"), Key: nft.Byte(uint8(nft.IPv6))})
	}
	return dst
}

// AppendNetwork appends the elements of a network; a network without a bridge (drivers host and null) has none. Some of
// them restrict, so all are committed before the bridge has a port, and removed after the bridge is gone.
func AppendNetwork(dst []nft.Element, n bridged.Network) []nft.Element {
	if n.Bridge == "" {
		return dst
	}
	bridge := nft.Name(n.Bridge)
	dst = append(dst,
		nft.Element{Set: inet("bridges"), Key: bridge},
		nft.Element{Set: inet("same"), Key: nft.Concat(bridge, bridge)},
	)
	if n.ICC {
		dst = append(dst, nft.Element{Set: inet("icc"), Key: bridge})
	}
	if n.Internal {
		dst = append(dst, nft.Element{Set: inet("internal"), Key: bridge})
	}
	if n.IPv4.Valid() {
		dst = appendSubnet(dst, n, n.IPv4.Prefix, "subnets4", "protected4", "internal4", "nested4")
	}
	if n.IPv6.Valid() {
		dst = appendSubnet(dst, n, n.IPv6.Prefix, "subnets6", "protected6", "internal6", "nested6")
	}
	return dst
}

// appendSubnet appends the elements of one family of a network.
func appendSubnet(dst []nft.Element, n bridged.Network, p netip.Prefix, subnets, protected, internal, nested string) []nft.Element {
	first, last := nft.Prefix(p)
	dst = append(dst, nft.Element{Set: inet(subnets), Key: first, End: last})
	// All of a subnet of ours is protected. In that of a given bridge there are hosts that are not ours to guard.
	if !n.Given {
		dst = append(dst, nft.Element{Set: inet(protected), Key: first, End: last})
	}
	if n.Internal {
		dst = append(dst, nft.Element{Set: inet(internal), Key: first, End: last})
	}
	if !n.SourceGuard {
		first, last = nft.Prefix(netip.PrefixFrom(p.Addr(), 0))
		bridge := nft.Name(n.Bridge)
		dst = append(dst, nft.Element{Set: inet(nested), Key: nft.Concat(bridge, first), End: nft.Concat(bridge, last)})
	}
	return dst
}

// AppendEndpoint appends the elements of an endpoint of network n; all of them permit. others are the endpoints by which the
// same sandbox is in other networks: its addresses there may be seen on this port too.
//
// This is the hot path of an attach: nothing is allocated where dst has room.
func AppendEndpoint(dst []nft.Element, n bridged.Network, e bridged.Endpoint, others []bridged.Endpoint) []nft.Element {
	port := nft.Name(e.HostInterface)
	if n.ICC {
		dst = append(dst, nft.Element{Set: bridgeSet("icc"), Key: port})
	}
	dst = append(dst, nft.Element{Set: bridgeSet("gateways"), Key: nft.Concat(port, nft.MAC(n.BridgeMAC))})
	if !n.SourceGuard {
		return append(dst, nft.Element{Set: bridgeSet("unguarded"), Key: port})
	}
	dst = appendOwn(dst, port, e)
	for _, o := range others {
		dst = appendOther(dst, n, port, nft.MAC(e.MAC), o)
	}
	return dst
}

// appendOwn appends what a guarded port may claim to be.
func appendOwn(dst []nft.Element, port nft.Value, e bridged.Endpoint) []nft.Element {
	mac := nft.MAC(e.MAC)
	dst = append(dst, nft.Element{Set: bridgeSet("macs"), Key: nft.Concat(port, mac)})
	if e.IPv4.IsValid() {
		dst = append(dst, nft.Element{Set: bridgeSet("source4"), Key: nft.Concat(port, mac, nft.Addr(e.IPv4.Addr()))})
	}
	if e.IPv6.IsValid() {
		for _, a := range [...]netip.Addr{e.IPv6.Addr(), linkLocalOf(e.MAC)} {
			dst = append(dst,
				nft.Element{Set: bridgeSet("source6"), Key: nft.Concat(port, mac, nft.Addr(a))},
				nft.Element{Set: bridgeSet("targets6"), Key: nft.Concat(port, nft.Addr(a))})
		}
	}
	return dst
}

// appendOther appends the addresses that a sandbox has on another network, as sources on this port. They are no targets: a
// sandbox answers no solicitation here for an address that it has elsewhere. An address within this network's own subnet
// (where networks overlap) would be a sibling's: it is left out.
func appendOther(dst []nft.Element, n bridged.Network, port, mac nft.Value, o bridged.Endpoint) []nft.Element {
	bridge := nft.Name(n.Bridge)
	if a := o.IPv4.Addr(); a.IsValid() && !n.IPv4.Prefix.Contains(a) {
		dst = append(dst,
			nft.Element{Set: inet("sources4"), Key: nft.Concat(bridge, nft.Addr(a))},
			nft.Element{Set: bridgeSet("source4"), Key: nft.Concat(port, mac, nft.Addr(a))})
	}
	if a := o.IPv6.Addr(); a.IsValid() && !n.IPv6.Prefix.Contains(a) {
		dst = append(dst,
			nft.Element{Set: inet("sources6"), Key: nft.Concat(bridge, nft.Addr(a))},
			nft.Element{Set: bridgeSet("source6"), Key: nft.Concat(port, mac, nft.Addr(a))})
	}
	return dst
}

// linkLocalOf is the link-local address that addr_gen_mode eui64 makes of a MAC: RFC 4291, appendix A.
func linkLocalOf(m bridged.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})
}

func inet(name string) nft.SetID      { return nft.SetID{Table: nat.Inet, Name: name} }
func bridgeSet(name string) nft.SetID { return nft.SetID{Table: Bridge, Name: name} }
