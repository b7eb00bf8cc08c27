package forwarding

import (
	"encoding/binary"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// Link is the elements of a link on network n, from the endpoint parent to the ports of the endpoint child: one a port in each
// family that both have, by way of the gateway. Where the members may talk to one another anyway there are none.
func Link(n bridged.Network, parent, child bridged.Endpoint, ports []bridged.ProtoPort) []nft.Element {
	if n.ICC {
		return nil
	}
	var elements []nft.Element
	for _, f := range []struct {
		set           string
		subnet        bridged.Subnet
		parent, child netip.Prefix
	}{{"links4", n.IPv4, parent.IPv4, child.IPv4}, {"links6", n.IPv6, parent.IPv6, child.IPv6}} {
		if !f.subnet.Gateway.IsValid() || !f.parent.IsValid() || !f.child.IsValid() {
			continue
		}
		for _, p := range ports {
			elements = append(elements, nft.Element{Set: inet(f.set), Key: linkKey(f.parent.Addr(), f.child.Addr(), p)})
		}
	}
	return elements
}

// ParseLink is who may speak to whom by an element of [Link], and false for any other element.
func ParseLink(e nft.Element) (parent, child netip.Addr, port bridged.ProtoPort, ok bool) {
	size := net4
	switch e.Set {
	case inet("links4"):
	case inet("links6"):
		size = net6
	default:
		return parent, child, port, false
	}
	const field = 4 // each is padded to that many bytes
	key := e.Key.Bytes()
	if len(key) != 2*size+2*field {
		return parent, child, port, false
	}
	parent, _ = netip.AddrFromSlice(key[:size])
	child, _ = netip.AddrFromSlice(key[size : 2*size])
	rest := key[2*size:]
	port = bridged.ProtoPort{Proto: bridged.Proto(rest[0]), Port: binary.BigEndian.Uint16(rest[field:])}
	return parent, child, port, e.Key == linkKey(parent, child, port)
}

func linkKey(parent, child netip.Addr, p bridged.ProtoPort) nft.Value {
	return nft.Concat(nft.Addr(parent), nft.Addr(child), nft.Byte(uint8(p.Proto)), nft.Port(p.Port))
}

// Sizes of addresses, in bytes.
const (
	net4 = 4
	net6 = 16
)
