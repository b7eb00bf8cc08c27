package forwarding

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// Base is the elements that are always there: lo is a loopback.
func Base() []nft.Element {
	return []nft.Element{{Set: inet("loopbacks"), Key: nft.Name("lo")}}
}

// Host is the elements that keep the host from being a router for others, for the families whose forwarding we switch on.
// They are committed before that.
func Host(f bridged.Forwarding) []nft.Element {
	var elements []nft.Element
	if f.IPv4 {
		elements = append(elements, nft.Element{Set: inet("norouter"), Key: nft.Byte(uint8(nft.IPv4))})
	}
	if f.IPv6 {
		elements = append(elements, nft.Element{Set: inet("norouter"), Key: nft.Byte(uint8(nft.IPv6))})
	}
	return elements
}

// Network is a network's elements; a network without a bridge (drivers host and null) has none. Some of them restrict, so all
// are committed before the bridge has a port, and removed after the bridge is gone.
func Network(n bridged.Network) []nft.Element {
	if n.Bridge == "" {
		return nil
	}
	bridge := nft.Name(n.Bridge)
	elements := []nft.Element{
		{Set: inet("bridges"), Key: bridge},
		{Set: inet("same"), Key: nft.Concat(bridge, bridge)},
	}
	if n.ICC {
		elements = append(elements, nft.Element{Set: inet("icc"), Key: bridge})
	}
	if n.Internal {
		elements = append(elements, nft.Element{Set: inet("internal"), Key: bridge})
	}
	for _, f := range families {
		if subnet := n.Subnet(f.ipv6); subnet.Valid() {
			elements = f.appendSubnet(elements, n, subnet.Prefix)
		}
	}
	return elements
}

// family names the sets that one family of a network can have an element in.
type family struct {
	ipv6                                                                                                    bool
	subnets, protected, internal, nested, unprotected, routed, isolated, trusted, open, restricted, allowed string
}

var families = [...]family{
	{false, "subnets4", "protected4", "internal4", "nested4", "unprotected4", "routed4", "isolated4", "trusted4", "open4", "restricted4", "allowed4"},
	{true, "subnets6", "protected6", "internal6", "nested6", "unprotected6", "routed6", "isolated6", "trusted6", "open6", "restricted6", "allowed6"},
}

func (f family) appendSubnet(dst []nft.Element, n bridged.Network, subnet netip.Prefix) []nft.Element {
	bridge := nft.Name(n.Bridge)
	first, last := nft.Prefix(subnet)
	dst = append(dst, nft.Element{Set: inet(f.subnets), Key: first, End: last})
	// The whole subnet of a bridge of ours is protected. Behind a given bridge there are hosts that are not ours to guard: there
	// it is the sandboxes' addresses, one by one (see appendGuarded), and everything else is left as it is.
	mode := n.Gateway(f.ipv6)
	switch {
	case n.Given || mode == bridged.GatewayUnprotected && !n.Internal:
		dst = append(dst, nft.Element{Set: inet(f.unprotected), Key: bridge})
	case mode == bridged.GatewayRouted && !n.Internal:
		dst = append(dst, nft.Element{Set: inet(f.routed), Key: bridge})
	default:
		dst = append(dst, nft.Element{Set: inet(f.protected), Key: first, End: last})
	}
	if mode == bridged.GatewayIsolated {
		dst = append(dst, nft.Element{Set: inet(f.isolated), Key: bridge})
	}
	if n.Internal {
		dst = append(dst, nft.Element{Set: inet(f.internal), Key: first, End: last})
	} else {
		for _, name := range n.Trusted {
			trusted := nft.Name(name)
			dst = append(dst, nft.Element{Set: inet(f.trusted), Key: nft.Concat(trusted, first), End: nft.Concat(trusted, last)})
		}
	}
	if !n.SourceGuard {
		first, last = nft.Prefix(netip.PrefixFrom(subnet.Addr(), 0))
		dst = append(dst, nft.Element{Set: inet(f.nested), Key: nft.Concat(bridge, first), End: nft.Concat(bridge, last)})
	}
	return dst
}

// Port is the element by which a published port is reached at the sandbox's own address, by those who are let through to it: from everywhere in
// a routed network, from trusted interfaces in others; and those that keep all but the network's clients from it. e is the endpoint p.Endpoint,
// of network n. There is none in other networks. Ports that lead to the same port of the same sandbox share them.
//
// Port is inlined, as Endpoint is.
func Port(n bridged.Network, p bridged.Port, e bridged.Endpoint) []nft.Element {
	return port(&n, &p, &e)
}

func port(n *bridged.Network, p *bridged.Port, e *bridged.Endpoint) []nft.Element {
	inside := e.Addr(p.Binding.HostIP)
	if !inside.IsValid() {
		return nil
	}
	f := families[0]
	if inside.Is6() {
		f = families[1]
	}
	var elements []nft.Element
	ip, proto, port := nft.Addr(inside), nft.Byte(uint8(p.Binding.Proto)), nft.Port(p.ContainerPort)
	if !n.Internal && n.Opens(f.ipv6) {
		elements = append(elements, nft.Element{Set: inet(f.open), Key: nft.Concat(ip, proto, port)})
	}
	if len(n.Clients) == 0 {
		return elements
	}
	for i, client := range n.ClientsOf(f.ipv6) {
		if i == 0 {
			elements = append(elements, nft.Element{Set: inet(f.restricted), Key: nft.Concat(ip, proto, port)})
		}
		first, last := nft.Prefix(client)
		elements = append(elements, nft.Element{Set: inet(f.allowed), Key: nft.Concat(ip, proto, port, first), End: nft.Concat(ip, proto, port, last)})
	}
	return elements
}

// endpointElements are as many elements as an endpoint with both families has, in one network.
const endpointElements = 9

// Endpoint is the elements of an endpoint of network n; all of them permit, but those that fence a sandbox behind a given bridge. others are the endpoints by which the same sandbox
// is in other networks: its addresses there may be sources on this port, too.
//
// Endpoint is inlined, and its result lives on the caller's stack unless it escapes from there: without others, the hot path of
// an attach allocates nothing.
func Endpoint(n bridged.Network, e bridged.Endpoint, others []bridged.Endpoint) []nft.Element {
	return appendEndpoint(make([]nft.Element, 0, endpointElements), &n, &e, others)
}

func appendEndpoint(dst []nft.Element, n *bridged.Network, e *bridged.Endpoint, others []bridged.Endpoint) []nft.Element {
	port, mac := nft.Name(e.HostInterface), nft.MAC(e.MAC)
	dst = append(dst, nft.Element{Set: bridgeSet("gateways"), Key: nft.Concat(port, nft.MAC(n.BridgeMAC))})
	if n.Given {
		dst = appendGuarded(dst, e)
	}
	if n.ICC {
		dst = append(dst, nft.Element{Set: bridgeSet("icc"), Key: port})
	}
	if !n.SourceGuard {
		return append(dst, nft.Element{Set: bridgeSet("unguarded"), Key: port})
	}
	dst = append(dst, nft.Element{Set: bridgeSet("macs"), Key: nft.Concat(port, mac)})
	dst = appendOwn(dst, e, port, mac)
	for i := range others {
		dst = appendOther(dst, n, &others[i], port, mac)
	}
	return dst
}

// appendGuarded fences direct access to the sandbox's own addresses, behind a bridge whose subnet is not ours to fence.
func appendGuarded(dst []nft.Element, e *bridged.Endpoint) []nft.Element {
	for _, f := range [...]struct {
		set  string
		addr netip.Addr
	}{{"protected4", e.IPv4.Addr()}, {"protected6", e.IPv6.Addr()}} {
		if f.addr.IsValid() {
			dst = append(dst, nft.Element{Set: inet(f.set), Key: nft.Addr(f.addr), End: nft.Addr(f.addr)})
		}
	}
	return dst
}

// appendOwn appends the addresses that a guarded port may claim to have.
func appendOwn(dst []nft.Element, e *bridged.Endpoint, port, mac nft.Value) []nft.Element {
	if e.IPv4.IsValid() {
		dst = append(dst, nft.Element{Set: bridgeSet("source4"), Key: nft.Concat(port, mac, nft.Addr(e.IPv4.Addr()))})
	}
	if !e.IPv6.IsValid() {
		return dst
	}
	for _, a := range [...]nft.Value{nft.Addr(e.IPv6.Addr()), nft.Addr(linkLocalOf(e.MAC))} {
		dst = append(dst,
			nft.Element{Set: bridgeSet("source6"), Key: nft.Concat(port, mac, a)},
			nft.Element{Set: bridgeSet("targets6"), Key: nft.Concat(port, a)})
	}
	return dst
}

// appendOther appends the addresses that a sandbox has on another network, as sources on this port. They are no targets: a
// sandbox answers no solicitation here for an address that it has elsewhere. An address within this network's own subnet
// (where networks overlap) would be a sibling's: it is left out.
func appendOther(dst []nft.Element, n *bridged.Network, o *bridged.Endpoint, port, mac nft.Value) []nft.Element {
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
