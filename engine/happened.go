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
	var es []bridged.Event
	for _, side := range []struct {
		endpoint       *bridged.Endpoint
		sandbox, lease string
	}{{old, "detach", "release"}, {e, "attach", "allocate"}} {
		if side.endpoint == nil {
			continue
		}
		event := bridged.Event{Attributes: x.endpointAttributes(*side.endpoint)}
		if side.endpoint.HostInterface == "" {
			event.Type, event.Action, event.ID, event.Name = bridged.EventLease, side.lease, side.endpoint.ID, side.endpoint.Sandbox
		} else {
			event.Type, event.Action = bridged.EventSandbox, side.sandbox
			event.ID, event.Name = side.endpoint.Sandbox, x.stackName(side.endpoint.Sandbox)
		}
		es = append(es, event)
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
