package apitest

import (
	"context"
	"fmt"

	"github.com/bridged/bridged"
)

// Connect joins a sandbox to a further network.
func (e *Engine) Connect(_ context.Context, spec bridged.ConnectSpec) (bridged.Joined, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none bridged.Joined
	if e.fail != nil {
		return none, e.fail
	}
	s, n, err := e.findBoth(spec.Network, spec.Sandbox)
	if err != nil {
		return none, err
	}
	switch _, twice := e.connection(s, n); {
	case n.Driver != bridged.DriverBridge:
		return none, bridged.Errorf(bridged.ErrInvalid, "nobody can join network %s later: create the sandbox in it", n.Name)
	case s.Mode == bridged.ModeHost:
		return none, bridged.Errorf(bridged.ErrConflict, "sandbox %s shares the host's network stack: it can't join or leave networks", s.Name)
	case twice:
		return none, bridged.Errorf(bridged.ErrConflict, "sandbox %s already connected to network %s", s.Name, n.Name)
	}
	ep := e.newEndpoint(n, s, bridged.SandboxSpec{IPv4: spec.IPv4, IPv6: spec.IPv6, MAC: spec.MAC})
	ep.Interface = fmt.Sprintf("eth%d", len(e.sandboxInfo(s).Joined))
	ep.Aliases, ep.Priority = spec.Aliases, spec.Priority
	if err := ep.SetOptions(spec.Options); err != nil {
		return none, err
	}
	e.endpoints[ep.ID] = ep
	e.happen(attachment("attach", s, n))
	return bridged.Joined{Endpoint: ep, Network: n}, nil
}

// Disconnect takes a sandbox out of a network. Its ports stay.
func (e *Engine) Disconnect(_ context.Context, network, sandbox string, _ bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	s, n, err := e.findBoth(network, sandbox)
	if err != nil {
		return err
	}
	ep, connected := e.connection(s, n)
	if !connected {
		return bridged.Errorf(bridged.ErrNotFound, "sandbox %s is not connected to network %s", s.Name, n.Name)
	}
	delete(e.endpoints, ep.ID)
	e.happen(attachment("detach", s, n))
	return nil
}

func (e *Engine) findBoth(network, sandbox string) (s bridged.Sandbox, n bridged.Network, err error) {
	id, err := e.findSandbox(sandbox)
	if err != nil {
		return s, n, err
	}
	s = e.sandboxes[id]
	if id, err = e.findNetwork(network); err != nil {
		return s, n, err
	}
	return s, e.networks[id], nil
}

// connection is a sandbox's endpoint in a network.
func (e *Engine) connection(s bridged.Sandbox, n bridged.Network) (bridged.Endpoint, bool) {
	for _, ep := range e.endpoints {
		if ep.Sandbox == s.ID && ep.Network == n.ID {
			return ep, true
		}
	}
	return bridged.Endpoint{}, false
}

func attachment(action string, s bridged.Sandbox, n bridged.Network) bridged.Event {
	return bridged.Event{Type: bridged.EventSandbox, Action: action, ID: s.ID, Name: s.Name,
		Attributes: map[string]string{"network": n.Name, "networkId": n.ID}}
}
