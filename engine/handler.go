package engine

import (
	"context"

	"github.com/bridged/bridged"
)

// The handlers give addresses and ports to callers that make their links themselves. What they give is kept under the caller's key: a
// lease, an endpoint without a sandbox; with or without a link (lease.go).

// AllocateInterface gives a lease of addresses on a network. One key has one lease: a second is [bridged.ErrConflict]. An
// address that can't be used is refused with the reason.
func (e *Engine) AllocateInterface(ctx context.Context, spec bridged.InterfaceSpec) (bridged.Joined, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.Joined{}, err
	}
	defer leave()
	if err := checkKey(spec.ID); err != nil {
		return bridged.Joined{}, err
	}
	defer e.locks.lock("sandbox " + spec.ID)()
	if spec.Network == "" {
		spec.Network = bridged.NetworkBridge
	}
	defer e.lockNetwork(spec.Network)()
	var joined bridged.Joined
	err = e.transactWhenFree(ctx, func(x *index) (bridged.Change, error) {
		n, err := x.network(spec.Network)
		switch {
		case err != nil:
			return bridged.Change{}, err
		case n.Driver != bridged.DriverBridge:
			return bridged.Change{}, bridged.Errorf(bridged.ErrInvalid, "network %s has no addresses to give", n.Name)
		case len(x.endpoints[spec.ID]) > 0:
			return bridged.Change{}, bridged.Errorf(bridged.ErrConflict, "%s has an interface already: release it first", spec.ID)
		}
		if x.isSandbox(spec.ID) {
			return bridged.Change{}, bridged.Errorf(bridged.ErrConflict, "%s is a sandbox: connect it to the network instead", spec.ID)
		}
		if err := e.lacks.refuse(n); err != nil {
			return bridged.Change{}, err
		}
		endpoint, err := x.newEndpoint(n, spec)
		if err != nil {
			return bridged.Change{}, err
		}
		joined = bridged.Joined{Endpoint: endpoint, Network: n}
		return bridged.Change{Endpoints: map[string]*bridged.Endpoint{endpoint.ID: &endpoint}}, nil
	})
	return joined, err
}

func checkKey(id string) error {
	if id == "" || len(id) > bridged.MaxName {
		return bridged.Errorf(bridged.ErrInvalid, "invalid ID %.20q: it must have 1 to %d bytes", id, bridged.MaxName)
	}
	return nil
}

// ReleaseInterface gives all addresses and ports of a key back; of a sandbox, when the key is one. A key that has nothing, also one
// that was just released, is [bridged.ErrNotFound].
func (e *Engine) ReleaseInterface(ctx context.Context, id string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return e.release(ctx, id)
}

func (e *Engine) release(ctx context.Context, id string) error {
	stack, _, unlock := e.lockStack(id)
	defer unlock()
	defer e.lockNetworksOf(stack)()
	return e.detach(ctx, stack, func(_ *index, c *bridged.Change) error {
		if len(c.Endpoints) == 0 {
			return bridged.Errorf(bridged.ErrNotFound, "No network information to release for %s", id)
		}
		return nil
	})
}

// AllocatePort publishes one port of a lease, or of a sandbox, and returns it: one binding a family.
func (e *Engine) AllocatePort(ctx context.Context, id string, spec bridged.PortSpec) ([]bridged.Port, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	stack, s, unlock := e.lockStack(id)
	defer unlock()
	ports, _, err := e.publish(ctx, stack, []bridged.PortSpec{spec}, func(x *index) (outlets, error) {
		if s.ID == "" {
			return x.leased(stack)
		}
		return x.publishable(s)
	})
	return ports, err
}

// leased is where ports of a lease are published.
func (x *index) leased(key string) (outlets, error) {
	if len(x.endpoints[key]) == 0 {
		return outlets{}, bridged.Errorf(bridged.ErrNotFound, "%s has no interface: allocate one first", key)
	}
	return outletsOf(x.joined(key)), nil
}

// lockStack locks the lease of that key, and s is zero; where there is none, the sandbox of just that name or id. A key is the
// caller's: it is never taken for the beginning of an id.
func (e *Engine) lockStack(key string) (stack string, s bridged.Sandbox, unlock func()) {
	e.mu.Lock()
	sandbox := e.index.isSandbox(key)
	e.mu.Unlock()
	if sandbox {
		if s, unlock, err := e.lockSandbox(key); err == nil {
			return s.ID, s, unlock
		}
	}
	return key, bridged.Sandbox{}, e.locks.lock("sandbox " + key)
}

// isSandbox says whether the key is just the name or the id of a sandbox.
func (x *index) isSandbox(key string) bool {
	_, named := x.sandboxNames[key]
	_, exact := x.Sandboxes[key]
	return named || exact
}

// lockNetworksOf keeps the networks that a stack is in from being removed before its ports are.
func (e *Engine) lockNetworksOf(stack string) (unlock func()) {
	e.mu.Lock()
	names := make(map[string]bool)
	for _, id := range e.index.endpoints[stack] {
		names[e.index.Networks[e.index.Endpoints[id].Network].Name] = true
	}
	e.mu.Unlock()
	var unlocks []func()
	for _, name := range sortedKeys(names) {
		unlocks = append(unlocks, e.locks.rlock("network "+name))
	}
	return func() {
		for _, unlock := range unlocks {
			unlock()
		}
	}
}

// lockNetwork keeps a network from being made or removed meanwhile; one that does not exist needs no lock.
func (e *Engine) lockNetwork(ref string) (unlock func()) {
	e.mu.Lock()
	n, err := e.index.network(ref)
	e.mu.Unlock()
	if err != nil {
		return func() {}
	}
	return e.locks.rlock("network " + n.Name)
}
