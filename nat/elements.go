package nat

import (
	"encoding/binary"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// Network is a network's elements: one in masq4 and masq6 for each family that is translated, and one in snat4 and snat6 for each that has a
// fixed source address, which comes before masquerading. Internal networks have none: nothing leaves them; nor have routed ones.
func Network(n bridged.Network) []nft.Element {
	if n.Bridge == "" {
		return nil
	}
	var elements []nft.Element
	for _, f := range [...]struct {
		ipv6       bool
		masq, snat string
	}{{false, "masq4", "snat4"}, {true, "masq6", "snat6"}} {
		if !n.Translates(f.ipv6) {
			continue
		}
		elements = append(elements, nft.Element{Set: set(f.masq), Key: nft.Name(n.Bridge)})
		if source := n.Source(f.ipv6); source.IsValid() {
			elements = append(elements, nft.Element{Set: set(f.snat), Key: nft.Name(n.Bridge), Data: nft.Addr(source)})
		}
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

// ParsePort is the published port that an element of [Port] is for, without its sandbox and endpoint, and the address inside that packets go
// to; false for any other element.
func ParsePort(e nft.Element) (p bridged.Port, inside netip.Addr, ok bool) {
	key, data := e.Key.Bytes(), e.Data.Bytes()
	size := netip.IPv4Unspecified().BitLen() / 8
	switch e.Set {
	case set("publish4any"):
		p.Binding.HostIP = netip.IPv4Unspecified()
	case set("publish6any"):
		p.Binding.HostIP, size = netip.IPv6Unspecified(), netip.IPv6Unspecified().BitLen()/8
	case set("publish4"), set("publish6"):
		if e.Set == set("publish6") {
			size = netip.IPv6Unspecified().BitLen() / 8
		}
		if len(key) < size {
			return p, inside, false
		}
		p.Binding.HostIP, _ = netip.AddrFromSlice(key[:size])
		key = key[size:]
	default:
		return p, inside, false
	}
	const field = 4 // each is padded to that many bytes
	if len(key) != 2*field || len(data) != size+field {
		return p, inside, false
	}
	p.Binding.Proto, p.Binding.HostPort = bridged.Proto(key[0]), binary.BigEndian.Uint16(key[field:])
	inside, _ = netip.AddrFromSlice(data[:size])
	p.ContainerPort = binary.BigEndian.Uint16(data[size:])
	to := bridged.Endpoint{IPv4: netip.PrefixFrom(inside, 0)}
	if inside.Is6() {
		to = bridged.Endpoint{IPv6: netip.PrefixFrom(inside, 0)}
	}
	same := Port(p, to)
	return p, inside, len(same) == 1 && same[0] == e
}

func set(name string) nft.SetID { return nft.SetID{Table: Inet, Name: name} }
