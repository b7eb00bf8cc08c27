package apitest

import (
	"cmp"
	"context"

	"github.com/bridged/bridged"
)

// AllocateInterface gives addresses to a key.
func (e *Engine) AllocateInterface(_ context.Context, spec bridged.InterfaceSpec) (bridged.Joined, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return bridged.Joined{}, e.fail
	}
	id, err := e.findNetwork(cmp.Or(spec.Network, bridged.NetworkBridge))
	if err != nil {
		return bridged.Joined{}, err
	}
	if e.has(spec.ID) {
		return bridged.Joined{}, bridged.Errorf(bridged.ErrConflict, "%s has an interface already: release it first", spec.ID)
	}
	n := e.networks[id]
	ep := e.newEndpoint(n, bridged.Sandbox{ID: spec.ID}, bridged.SandboxSpec{IPv4: spec.IPv4, IPv6: spec.IPv6, MAC: spec.MAC})
	ep.Interface, ep.HostInterface = "", ""
	e.endpoints[ep.ID] = ep
	return bridged.Joined{Endpoint: ep, Network: n}, nil
}

// has reports whether a stack has an endpoint.
func (e *Engine) has(stack string) bool {
	for _, ep := range e.endpoints {
		if ep.Sandbox == stack {
			return true
		}
	}
	return false
}

// ReleaseInterface gives everything back that a key has.
func (e *Engine) ReleaseInterface(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	if !e.has(id) {
		return bridged.Errorf(bridged.ErrNotFound, "No network information to release for %s", id)
	}
	e.forget(id)
	return nil
}

// AllocatePort publishes a port of a key.
func (e *Engine) AllocatePort(_ context.Context, id string, spec bridged.PortSpec) ([]bridged.Port, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return nil, e.fail
	}
	if !e.has(id) {
		return nil, bridged.Errorf(bridged.ErrNotFound, "%s has no interface: allocate one first", id)
	}
	return e.publish(bridged.Sandbox{ID: id}, []bridged.PortSpec{spec})
}
