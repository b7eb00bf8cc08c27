package nat

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// Network is a network's elements: one in masq4 and masq6 for each family that is masqueraded. Internal networks have none:
// nothing leaves them.
func Network(n bridged.Network) []nft.Element {
	if n.Bridge == "" || !n.Masquerade || n.Internal {
		return nil
	}
	var elements []nft.Element
	if n.IPv4.Valid() {
		elements = append(elements, nft.Element{Set: set("masq4"), Key: nft.Name(n.Bridge)})
	}
	if n.IPv6.Valid() {
		elements = append(elements, nft.Element{Set: set("masq6"), Key: nft.Name(n.Bridge)})
	}
	return elements
}

// Port is the one element of a published port; e is the endpoint p.Endpoint. A port on 0.0.0.0 or :: is in publish4any or
// publish6any, one on another address in publish4 or publish6. There is none when e has no address of the binding's family.
//
// Port is inlined, and its result lives on the caller's stack unless it escapes from there: the hot path allocates nothing.
func Port(p bridged.Port, e bridged.Endpoint) []nft.Element {
	return appendPort(make([]nft.Element, 0, 1), &p, &e)
}

func appendPort(dst []nft.Element, p *bridged.Port, e *bridged.Endpoint) []nft.Element {
	host, inside := p.Binding.HostIP, e.Addr(p.Binding.HostIP)
	if !inside.IsValid() {
		return dst
	}
	proto, port := nft.Byte(uint8(p.Binding.Proto)), nft.Port(p.Binding.HostPort)
	published := nft.Element{Data: nft.Concat(nft.Addr(inside), nft.Port(p.ContainerPort))}
	switch {
	case host == netip.IPv4Unspecified():
		published.Set, published.Key = set("publish4any"), nft.Concat(proto, port)
	case host == netip.IPv6Unspecified():
		published.Set, published.Key = set("publish6any"), nft.Concat(proto, port)
	case host.Is4():
		published.Set, published.Key = set("publish4"), nft.Concat(nft.Addr(host), proto, port)
	default:
		published.Set, published.Key = set("publish6"), nft.Concat(nft.Addr(host), proto, port)
	}
	return append(dst, published)
}

func set(name string) nft.SetID { return nft.SetID{Table: Inet, Name: name} }
