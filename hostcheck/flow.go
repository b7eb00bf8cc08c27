package hostcheck

import (
	"net/netip"

	"github.com/bridged/bridged/nft"
)

// direction is which way a flow goes.
type direction uint8

const (
	outwards direction = iota
	inwards
	inside
)

// flow is a kind of packets that has to pass.
type flow struct {
	packet    packet
	bridge    string
	direction direction
}

// newBridge and newPort are names that no rule knows: no interface's name has blanks.
const (
	newBridge = "a new bridge"
	newPort   = "a new port"
)

// flows are all that have to pass, for each bridge and family: out of it, to its published ports, and between two of its ports:
// as frames, and where br_netfilter shows them, as packets.
func (h Host) flows() []flow {
	outside := ""
	if len(h.Uplinks) == 1 {
		outside = h.Uplinks[0]
	}
	var flows []flow
	for _, b := range h.bridges() {
		for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
			if !b.speaks(family) {
				continue
			}
			subnet := b.subnet(family)
			add := func(d direction, p packet) {
				p.family = family
				flows = append(flows, flow{p, b.Name, d})
			}
			add(outwards, packet{iif: b.Name, oif: outside, saddr: subnet})
			add(inwards, packet{iif: outside, oif: b.Name, daddr: subnet, dnat: true})
			if family == nft.IPv4 && h.BridgeNF4 || family == nft.IPv6 && h.BridgeNF6 {
				add(inside, packet{iif: b.Name, oif: b.Name, saddr: subnet, daddr: subnet})
			}
			port := newPort
			if h.Own.PortPrefix != "" {
				port = h.Own.PortPrefix + " " + newPort
			}
			add(inside, packet{frame: true, iif: port, oif: port, ibr: b.Name, obr: b.Name, saddr: subnet, daddr: subnet})
		}
	}
	return flows
}

// bridges are the caller's, or the one that stands for those to come.
func (h Host) bridges() []OwnBridge {
	if len(h.Own.Bridges) == 0 {
		return []OwnBridge{{Name: newBridge}}
	}
	return h.Own.Bridges
}

// speaks reports whether the bridge has the family.
func (b OwnBridge) speaks(f nft.Family) bool { return len(b.Subnets) == 0 || b.subnet(f).IsValid() }

// subnet is the bridge's first of that family; the zero Prefix when there is none.
func (b OwnBridge) subnet(f nft.Family) netip.Prefix {
	for _, p := range b.Subnets {
		if p.Addr().Is4() == (f == nft.IPv4) {
			return p
		}
	}
	return netip.Prefix{}
}
