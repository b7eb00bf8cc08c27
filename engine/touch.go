package engine

import "github.com/bridged/bridged"

// touched are the objects of the State that a change concerns although it does not name them: what they want depends on what it
// names.
type touched struct {
	endpoints map[string]struct{}
	links     map[bridged.LinkID]struct{}
	ports     map[bridged.Binding]struct{}
	networks  map[string]struct{} // by id
}

// touch finds what the change c concerns; x is the state before it, and inverse takes it back. An endpoint concerns its siblings
// in the same sandbox: each of the sandbox's ports may use all of its addresses, and one of them leads to the world. Endpoints, published ports and networks concern the
// links of their sandboxes. Links between the same two sandboxes concern one another: they share routes, and may
// share elements.
func (x *index) touch(c, inverse bridged.Change) touched {
	t := touched{endpoints: make(map[string]struct{}, len(c.Endpoints))}
	for id := range c.Endpoints {
		t.endpoints[id] = struct{}{}
		for _, e := range []*bridged.Endpoint{c.Endpoints[id], inverse.Endpoints[id]} {
			if e == nil {
				continue
			}
			for _, sibling := range x.endpoints[e.Sandbox] {
				t.endpoints[sibling] = struct{}{}
			}
			x.touchLinks(&t, e.Sandbox)
			x.touchNetwork(&t, *e)
		}
	}
	for b := range c.Ports {
		for _, p := range []*bridged.Port{c.Ports[b], inverse.Ports[b]} {
			x.touchPorts(&t, p)
		}
	}
	for id := range c.Networks {
		if c.Networks[id] != nil && inverse.Networks[id] != nil {
			x.touchMembers(&t, id)
		}
	}
	if len(x.Links) == 0 && len(c.Links) == 0 {
		return t
	}
	for b := range c.Ports {
		for _, p := range []*bridged.Port{c.Ports[b], inverse.Ports[b]} {
			if p != nil {
				x.touchLinks(&t, p.Sandbox)
			}
		}
	}
	for id := range c.Networks {
		for endpoint := range x.members[id] {
			x.touchLinks(&t, x.Endpoints[endpoint].Sandbox)
		}
	}
	for id := range c.Links {
		t.link(id)
		// Those between the two are among the links of either.
		of := x.links[id.Parent]
		if other := x.links[id.Child]; len(other) < len(of) {
			of = other
		}
		for other := range of {
			if other.Between(id.Parent, id.Child) {
				t.link(other)
			}
		}
	}
	return t
}

// touchMembers adds what is in a network that changes: what its endpoints and their ports want depends on it.
func (x *index) touchMembers(t *touched, network string) {
	for id := range x.members[network] {
		t.endpoints[id] = struct{}{}
		for b := range x.ports[x.Endpoints[id].Sandbox] {
			if x.Ports[b].Endpoint == id {
				t.port(b)
			}
		}
	}
}

// touchNetwork adds the network whose bridge has a smaller MTU because of the endpoint: it grows back when that one goes.
func (x *index) touchNetwork(t *touched, e bridged.Endpoint) {
	if e.MTU == 0 || e.MTU >= x.Networks[e.Network].MTU {
		return
	}
	if t.networks == nil {
		t.networks = make(map[string]struct{})
	}
	t.networks[e.Network] = struct{}{}
}

// touchPorts adds the ports that share with p the element by which a port is reached at the sandbox's own address, or by some clients only: those that lead to the same port of
// the same sandbox.
func (x *index) touchPorts(t *touched, p *bridged.Port) {
	if p == nil {
		return
	}
	if n := x.Networks[x.Endpoints[p.Endpoint].Network]; !n.Opens(p.Binding.HostIP.Is6()) && len(n.Clients) == 0 {
		return
	}
	for b := range x.reached.of(stackPortOf(*p)) {
		t.port(b)
	}
}

// touchLinks adds all links of a stack; with them, all between it and any other.
func (x *index) touchLinks(t *touched, stack string) {
	for id := range x.links[stack] {
		t.link(id)
	}
}

func (t *touched) port(b bridged.Binding) {
	if t.ports == nil {
		t.ports = make(map[bridged.Binding]struct{})
	}
	t.ports[b] = struct{}{}
}

func (t *touched) link(id bridged.LinkID) {
	if t.links == nil {
		t.links = make(map[bridged.LinkID]struct{})
	}
	t.links[id] = struct{}{}
}
