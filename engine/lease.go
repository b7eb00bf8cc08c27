package engine

import (
	"context"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
)

// A lease can have a link, too: the host's end of a pair is a port of the bridge, as a sandbox's is, and the other end begins in the
// daemon's own namespace, for the caller to move, to rename and to set up. What is inside is never looked at. So the pair can't be made
// anew when it goes, as it does with the caller's namespace, or by somebody's hand: then the lease has no link any more, and keeps its
// addresses and ports until they are given back.

// JoinInterface makes the link of a lease and returns the lease with the name of the other end: it is in the daemon's namespace, down, with
// the lease's MAC. While that pair is there, wherever its other end is by now, the answer is the same. A key without a lease is
// [bridged.ErrNotFound].
func (e *Engine) JoinInterface(ctx context.Context, key string) (j bridged.Joined, peer string, err error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return j, "", err
	}
	defer leave()
	j, unlock, err := e.lockLease(key)
	if err != nil {
		return j, "", err
	}
	defer unlock()
	there, err := e.paired(j.Endpoint)
	if err != nil || there {
		return j, j.Endpoint.Peer, err
	}
	e.mu.Lock()
	err = e.lacks.refuse(j.Network)
	e.mu.Unlock()
	if err != nil {
		return bridged.Joined{}, "", err
	}
	ep := &j.Endpoint
	ep.HostInterface, ep.Peer = bridged.NewLinkName(bridged.PortPrefix), bridged.NewLinkName(bridged.PeerPrefix)
	ep.MTU = j.Network.MTU
	if err := e.setLease(ctx, *ep); err != nil {
		return bridged.Joined{}, "", err
	}
	e.tell("lease joined", "lease", ep.Called(), "network", j.Network.Name, "link", ep.HostInterface)
	return j, ep.Peer, nil
}

// LeaveInterface takes the ports of a lease back, and its link behind the answer; the lease stays. One without either is left as it is. A
// key without a lease is [bridged.ErrNotFound].
func (e *Engine) LeaveInterface(ctx context.Context, key string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	j, unlock, err := e.lockLease(key)
	if err != nil {
		return err
	}
	defer unlock()
	defer e.lockLinks(key)()
	var ports []bridged.Port
	err = e.transact(ctx, func(x *index) (bridged.Change, error) {
		c := bridged.Change{Ports: make(map[bridged.Binding]*bridged.Port)}
		for b := range x.ports[key] {
			ports = append(ports, x.Ports[b])
			c.Ports[b] = nil
		}
		if ep := j.Endpoint; ep.Peer != "" {
			ep = unlinked(ep)
			c.Endpoints = map[string]*bridged.Endpoint{ep.ID: &ep}
		}
		return c, nil
	})
	if err == nil {
		e.drainPorts(ports)
	}
	return err
}

// NameInterface sets what a lease is called wherever people see it, instead of its key; "": its key again. Names need not be unique. A key
// without a lease is [bridged.ErrNotFound].
func (e *Engine) NameInterface(ctx context.Context, key, name string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if name != "" {
		if err := bridged.CheckName("lease", name); err != nil {
			return err
		}
	}
	j, unlock, err := e.lockLease(key)
	if err != nil {
		return err
	}
	defer unlock()
	if j.Endpoint.Name == name {
		return nil
	}
	j.Endpoint.Name = name
	return e.setLease(ctx, j.Endpoint)
}

// Interface is the lease of a key, with the name that the other end of its link began with; "": it has no link.
func (e *Engine) Interface(key string) (j bridged.Joined, peer string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	j, err := e.index.lease(key)
	return j, j.Endpoint.Peer, err == nil
}

// lease is that of just this key.
func (x *index) lease(key string) (bridged.Joined, error) {
	for _, j := range x.joined(key) {
		if j.Endpoint.Leased() {
			return j, nil
		}
	}
	return bridged.Joined{}, bridged.Errorf(bridged.ErrNotFound, "%s has no interface: allocate one first", key)
}

// lockLease locks the lease of a key, and its network.
func (e *Engine) lockLease(key string) (j bridged.Joined, unlock func(), err error) {
	unlockKey := e.locks.lock("sandbox " + key)
	unlockNetwork := e.lockNetworksOf(key)
	unlock = func() { unlockNetwork(); unlockKey() }
	e.mu.Lock()
	j, err = e.index.lease(key)
	e.mu.Unlock()
	if err != nil {
		unlock()
	}
	return j, unlock, err
}

// setLease makes a lease what it should be.
func (e *Engine) setLease(ctx context.Context, ep bridged.Endpoint) error {
	return e.transact(ctx, func(*index) (bridged.Change, error) {
		return bridged.Change{Endpoints: map[string]*bridged.Endpoint{ep.ID: &ep}}, nil
	})
}

// unlinked is a lease without its link.
func unlinked(ep bridged.Endpoint) bridged.Endpoint {
	ep.HostInterface, ep.Peer, ep.MTU = "", "", 0
	return ep
}

// paired says whether the pair of a lease is there.
func (e *Engine) paired(ep bridged.Endpoint) (bool, error) {
	if ep.Peer == "" {
		return false, nil
	}
	e.mu.Lock()
	want := newObjects()
	e.compiler().endpoint(&want, ep)
	e.mu.Unlock()
	have, err := e.host.look(want)
	_, there := have.pairs[ep.HostInterface]
	return there, err
}

// unlink takes note that the pair of a lease is gone. That is how every container ends, so it is no damage.
func (e *Engine) unlink(key string) error {
	j, unlock, err := e.lockLease(key)
	if err != nil {
		return nil // it was released meanwhile
	}
	defer unlock()
	there, err := e.paired(j.Endpoint)
	if err != nil || there || j.Endpoint.Peer == "" {
		return err
	}
	if err := e.setLease(context.Background(), unlinked(j.Endpoint)); err != nil {
		return err
	}
	e.tellUnlinked(j.Endpoint)
	return nil
}

// unlinkAtStart takes note of the pairs of leases that went while no daemon ran, or were never made.
func (e *Engine) unlinkAtStart() error {
	c := bridged.Change{Endpoints: make(map[string]*bridged.Endpoint)}
	var gone []bridged.Endpoint
	there := make(map[string]bool, len(e.facts.links))
	for _, l := range e.facts.links {
		there[l.Name] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, ep := range e.index.Endpoints {
		if ep.Peer != "" && !there[ep.HostInterface] {
			gone = append(gone, ep)
			ep = unlinked(ep)
			c.Endpoints[id] = &ep
		}
	}
	e.index.apply(c)
	if err := e.record(c); err != nil {
		return err
	}
	failpoint.Reached("start: leases unlinked")
	for _, ep := range gone {
		e.tellUnlinked(ep)
	}
	return nil
}

// tellUnlinked says that a lease lost its link. Who deleted it, the kernel does not tell.
func (e *Engine) tellUnlinked(ep bridged.Endpoint) {
	e.tell("the link of a lease is gone, with its container or by somebody's hand; its addresses and ports wait to be given back",
		"lease", ep.Called(), "link", ep.HostInterface)
	e.events.add(bridged.Event{Type: bridged.EventLease, Action: "lost", ID: ep.ID, Name: ep.Called(),
		Attributes: map[string]string{"link": ep.HostInterface}})
}
