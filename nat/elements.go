package nat

import (
	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// AppendNetwork appends the elements that a network has in this package's sets: one in masq4 and masq6 for each family that is
// masqueraded. Internal networks have none: nothing leaves them.
func AppendNetwork(dst []nft.Element, n bridged.Network) []nft.Element {
	if n.Bridge == "" || !n.Masquerade || n.Internal {
		return dst
	}
	if n.IPv4.Valid() {
		dst = append(dst, nft.Element{Set: set("masq4"), Key: nft.Name(n.Bridge)})
	}
	if n.IPv6.Valid() {
		dst = append(dst, nft.Element{Set: set("masq6"), Key: nft.Name(n.Bridge)})
	}
	return dst
}

// AppendPort appends the one element that a published port has; e is the endpoint p.Endpoint. A port on 0.0.0.0 or :: is in
// publish4any or publish6any, one on another address in publish4 or publish6. There is none when e has no address of the
// binding's family.
//
// This is the hot path: nothing is allocated where dst has room.
func AppendPort(dst []nft.Element, p bridged.Port, e bridged.Endpoint) []nft.Element {
	host, inside := p.Binding.HostIP, e.Addr(p.Binding.HostIP)
	if !inside.IsValid() {
		return dst
	}
	element := nft.Element{Data: nft.Concat(nft.Addr(inside), nft.Port(p.ContainerPort))}
	proto, port := nft.Byte(uint8(p.Binding.Proto)), nft.Port(p.Binding.HostPort)
	if host.IsUnspecified() {
		element.Set, element.Key = set("publish6any"), nft.Concat(proto, port)
		if host.Is4() {
			element.Set.Name = "publish4any"
		}
		return append(dst, element)
	}
	element.Set, element.Key = set("publish6"), nft.Concat(nft.Addr(host), proto, port)
	if host.Is4() {
		element.Set.Name = "publish4"
	}
	return append(dst, element)
}

func set(name string) nft.SetID { return nft.SetID{Table: Inet, Name: name} }
