package engine

import (
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/internal/ordered"
)

// A link is an object of the state like any other. On each network without ICC that both ends are in, it wants elements that let
// the parent's packets pass from the gateway to the child, and in either sandbox a route to the other by way of the gateway, since the
// bridge lets nobody address a sibling. What it wants depends on endpoints, ports and networks: [index.touch] finds the links
// that a change of these concerns.

// link wants what a link wants.
func (k compiler) link(w *objects, l bridged.Link) {
	if l.Gone {
		return
	}
	ports := l.Ports
	if len(ports) == 0 {
		ports = k.x.published(l.Child)
	}
	for _, c := range k.x.common(l) {
		if c.network.ICC {
			continue
		}
		w.add(forwarding.Link(c.network, c.parent, c.child, ports))
		for _, bridge := range c.network.BridgeAddrs() {
			gateway := bridge.Addr()
			parent, child := c.parent.Addr(gateway), c.child.Addr(gateway)
			if parent.IsValid() && child.IsValid() {
				k.route(w, c.parent, single(child), gateway)
				k.route(w, c.child, single(parent), gateway)
			}
		}
	}
}

// common is a network that both ends of a link are in.
type common struct {
	network       bridged.Network
	parent, child bridged.Endpoint
}

// common are the networks on which a link is one. Of a link between addresses the endpoints have only these.
func (x *index) common(l bridged.Link) []common {
	var all []common
	for _, p := range x.endpoints[l.Parent] {
		for _, c := range x.endpoints[l.Child] {
			parent, child := x.Endpoints[p], x.Endpoints[c]
			if parent.Network != child.Network {
				continue
			}
			if l.ParentIP.IsValid() {
				var had bool
				if parent, had = only(parent, l.ParentIP); !had {
					continue
				}
				if child, had = only(child, l.ChildIP); !had {
					continue
				}
			}
			all = append(all, common{x.Networks[parent.Network], parent, child})
		}
	}
	return all
}

// only is the endpoint with this address alone; false: it does not have it.
func only(e bridged.Endpoint, a netip.Addr) (bridged.Endpoint, bool) {
	had := e.Addr(a) == a
	if a.Is4() {
		e.IPv6 = netip.Prefix{}
	} else {
		e.IPv4 = netip.Prefix{}
	}
	return e, had
}

// published are the container ports that a stack publishes.
func (x *index) published(stack string) []bridged.ProtoPort {
	var ports []bridged.ProtoPort
	for b := range x.ports[stack] {
		ports = append(ports, bridged.ProtoPort{Proto: b.Proto, Port: x.Ports[b].ContainerPort})
	}
	return sortedUnique(ports)
}

func sortedUnique(ports []bridged.ProtoPort) []bridged.ProtoPort {
	ports = slices.Clone(ports)
	ordered.Sort(ports, bridged.ProtoPort.Compare)
	return slices.Compact(ports)
}

// flowsGone are the flows that elements of links permitted which go. Established connections pass without being looked up again, and
// would go on.
func flowsGone(have, want objects) []conntrack.Flow {
	var flows []conntrack.Flow
	for e := range have.elements {
		if _, stays := want.elements[e]; stays {
			continue
		}
		if parent, child, port, ok := forwarding.ParseLink(e); ok {
			flows = append(flows, conntrack.Flow{Source: parent, Proto: uint8(port.Proto), HostIP: child, HostPort: port.Port})
		}
	}
	return flows
}

// purges are what ends the flows.
func (s endFlows) purges() []purge {
	purges := make([]purge, len(s.flows))
	for i, f := range s.flows {
		purges[i] = purge{flow: f}
	}
	return purges
}

// gateways says whether there is a way between the two in some family.
func (c common) gateways() bool {
	return slices.ContainsFunc(c.network.BridgeAddrs(), func(p netip.Prefix) bool {
		return c.parent.Addr(p.Addr()).IsValid() && c.child.Addr(p.Addr()).IsValid()
	})
}
