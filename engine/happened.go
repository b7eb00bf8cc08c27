package engine

import (
	"net/netip"
	"strings"

	"github.com/bridged/bridged"
)

// happened says what the change did, as events. x is the state after it, and inverse takes it back. A sandbox is created when it is
// settled, and removed when it is not any more: what comes before and after are its attachments.
func (x *index) happened(c, inverse bridged.Change) []bridged.Event {
	var es []bridged.Event
	for id, n := range c.Networks {
		es = append(es, networkEvent(n, inverse.Networks[id]))
	}
	for id, s := range c.Sandboxes {
		old := inverse.Sandboxes[id]
		is, was := s != nil && s.Settled && !s.Gone, old != nil && old.Settled && !old.Gone
		switch {
		case is && !was:
			es = append(es, bridged.Event{Type: bridged.EventSandbox, Action: "create", ID: id, Name: s.Name,
				Attributes: map[string]string{"mode": string(s.Mode), "netns": s.NetNS}})
		case was && !is:
			es = append(es, bridged.Event{Type: bridged.EventSandbox, Action: "remove", ID: id, Name: old.Name})
		}
	}
	for id, e := range c.Endpoints {
		es = append(es, x.endpointEvents(e, inverse.Endpoints[id])...)
	}
	for b, p := range c.Ports {
		if old := inverse.Ports[b]; old != nil {
			es = append(es, x.portEvent("unpublish", *old))
		}
		if p != nil {
			es = append(es, x.portEvent("publish", *p))
		}
	}
	for id, l := range c.Links {
		old := inverse.Links[id]
		is, was := l != nil && !l.Gone, old != nil && !old.Gone
		switch {
		case is && !was:
			es = append(es, x.linkEvent("add", *l))
		case was && !is:
			es = append(es, x.linkEvent("remove", *old))
		}
	}
	return es
}

// networkEvent is about a network that was old and is n; nil: there was or is none.
func networkEvent(n, old *bridged.Network) bridged.Event {
	action := "update"
	switch {
	case n == nil:
		action, n = "remove", old
	case old == nil:
		action = "create"
	}
	attributes := map[string]string{"driver": string(n.Driver)}
	var prefixes []string
	for _, s := range n.Subnets() {
		prefixes = append(prefixes, s.Prefix.String())
	}
	set(attributes, "bridge", n.Bridge)
	set(attributes, "subnets", strings.Join(prefixes, ","))
	return bridged.Event{Type: bridged.EventNetwork, Action: action, ID: n.ID, Name: n.Name, Attributes: attributes}
}

// endpointEvents are about an endpoint that was old and is e; nil: there was or is none.
func (x *index) endpointEvents(e, old *bridged.Endpoint) []bridged.Event {
	if old != nil && old.Leased() || e != nil && e.Leased() {
		return x.leaseEvents(e, old)
	}
	var es []bridged.Event
	for _, side := range []struct {
		endpoint *bridged.Endpoint
		action   string
	}{{old, "detach"}, {e, "attach"}} {
		if side.endpoint != nil {
			id := side.endpoint.Sandbox
			es = append(es, bridged.Event{Type: bridged.EventSandbox, Action: side.action, ID: id, Name: x.stackName(id),
				Attributes: x.endpointAttributes(*side.endpoint)})
		}
	}
	return es
}

// leaseEvents is endpointEvents for leases.
func (x *index) leaseEvents(e, old *bridged.Endpoint) (es []bridged.Event) {
	tell := func(action string, e bridged.Endpoint) {
		es = append(es, bridged.Event{Type: bridged.EventLease, Action: action, ID: e.ID, Name: e.Called(), Attributes: x.endpointAttributes(e)})
	}
	var was, is bridged.Endpoint
	if old != nil {
		was = *old
	}
	if e != nil {
		is = *e
	}
	if old == nil {
		tell("allocate", is)
	}
	if was.Peer != is.Peer {
		if was.Peer != "" {
			tell("leave", was)
		}
		if is.Peer != "" {
			tell("join", is)
		}
	}
	switch {
	case e == nil:
		tell("release", was)
	case old != nil && was.Name != is.Name:
		tell("rename", is)
	}
	return es
}

func (x *index) endpointAttributes(e bridged.Endpoint) map[string]string {
	attributes := map[string]string{"network": x.Networks[e.Network].Name, "networkId": e.Network, "endpoint": e.ID, "mac": e.MAC.String()}
	for _, a := range e.Addrs() {
		key := "address"
		if a.Is6() && e.IPv4.IsValid() {
			key = "address6"
		}
		attributes[key] = a.String()
	}
	set(attributes, "link", e.HostInterface)
	set(attributes, "interface", e.Interface)
	return attributes
}

func (x *index) portEvent(action string, p bridged.Port) bridged.Event {
	return bridged.Event{Type: bridged.EventPort, Action: action, ID: p.Sandbox, Name: x.stackName(p.Sandbox),
		Attributes: map[string]string{
			"port": bridged.ProtoPort{Proto: p.Binding.Proto, Port: p.ContainerPort}.String(),
			"host": netip.AddrPortFrom(p.Binding.HostIP, p.Binding.HostPort).String(),
		}}
}

func (x *index) linkEvent(action string, l bridged.Link) bridged.Event {
	attributes := map[string]string{"parent": x.stackName(l.Parent), "child": x.stackName(l.Child)}
	var ports []string
	for _, p := range l.Ports {
		ports = append(ports, p.String())
	}
	set(attributes, "ports", strings.Join(ports, ","))
	id, _ := l.ID().MarshalText() // it has no errors
	return bridged.Event{Type: bridged.EventLink, Action: action, ID: string(id), Name: l.Alias, Attributes: attributes}
}

// set sets an attribute that there is.
func set(attributes map[string]string, key, value string) {
	if value != "" {
		attributes[key] = value
	}
}
