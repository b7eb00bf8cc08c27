package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// Connect joins a sandbox to a further network, in one transaction: its interface there, and where the default route and the published ports
// move, those too. When it fails, nothing is left of it. Joining a network twice is [bridged.ErrConflict].
func (e *Engine) Connect(ctx context.Context, spec bridged.ConnectSpec) (bridged.Joined, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.Joined{}, err
	}
	defer leave()
	options, err := connectOptions(spec)
	if err != nil {
		return bridged.Joined{}, err
	}
	s, unlock, err := e.lockConnectable(spec.Sandbox, spec.Network)
	if err != nil {
		return bridged.Joined{}, err
	}
	defer unlock()
	// A network that it just left may still have its link in there.
	if err := e.pairs.wait(ctx, func(p pair) bool { return p.nsid == s.NSID }); err != nil {
		return bridged.Joined{}, err
	}
	var joined bridged.Joined
	err = e.transactWhenFree(ctx, func(x *index) (c bridged.Change, err error) {
		joined, err = e.newConnection(x, s, spec, options)
		if err != nil {
			return c, err
		}
		all := append(x.joined(s.ID), joined)
		return bridged.Change{
			Endpoints: map[string]*bridged.Endpoint{joined.Endpoint.ID: &joined.Endpoint},
			Ports:     x.moved(s.ID, outletsOf(all)),
		}, nil
	})
	if err != nil {
		return bridged.Joined{}, fmt.Errorf("cannot connect sandbox %s to network %s: %w", s.Name, spec.Network, err)
	}
	e.tell("sandbox connected", "sandbox", s.Name, "network", joined.Network.Name)
	return joined, nil
}

// connectOptions are the endpoint that the options ask for.
func connectOptions(spec bridged.ConnectSpec) (bridged.Endpoint, error) {
	asked := bridged.Endpoint{Priority: spec.Priority, Aliases: spec.Aliases}
	if err := asked.SetOptions(spec.Options); err != nil {
		return asked, err
	}
	for _, alias := range spec.Aliases {
		if err := bridged.CheckName("alias", alias); err != nil {
			return asked, err
		}
	}
	switch none := (bridged.MAC{}); {
	case asked.MAC == none:
		asked.MAC = spec.MAC
	case spec.MAC != none && spec.MAC != asked.MAC:
		return asked, bridged.Errorf(bridged.ErrInvalid, "two MAC addresses are asked for, %s and %s", spec.MAC, asked.MAC)
	}
	return asked, nil
}

// lockConnectable locks a sandbox that can join or leave networks, its links, and a network.
func (e *Engine) lockConnectable(ref, network string) (s bridged.Sandbox, unlock func(), err error) {
	s, unlockSandbox, err := e.lockSandbox(ref)
	if err != nil {
		return s, nil, err
	}
	e.mu.Lock()
	err = e.index.ownStack(s)
	if err == nil && s.CNI {
		err = bridged.Errorf(bridged.ErrConflict, "sandbox %s is a container of a CNI runtime: which networks it is in is up to the runtime", s.Name)
	}
	if err == nil && s.Mode == bridged.ModeHost {
		err = bridged.Errorf(bridged.ErrConflict, "sandbox %s shares the host's network stack: it can't join or leave networks", s.Name)
	}
	e.mu.Unlock()
	if err != nil {
		unlockSandbox()
		return s, nil, err
	}
	unlocks := []func(){unlockSandbox, e.locks.lock("stack " + s.ID), e.lockNetwork(network), e.lockLinks(s.ID)}
	return s, func() {
		for _, unlock := range slices.Backward(unlocks) {
			unlock()
		}
	}, nil
}

// newConnection gives a sandbox an endpoint on a further network.
func (e *Engine) newConnection(x *index, s bridged.Sandbox, spec bridged.ConnectSpec, asked bridged.Endpoint) (j bridged.Joined, err error) {
	n, err := x.network(spec.Network)
	switch {
	case err != nil:
		return j, err
	case n.Driver != bridged.DriverBridge:
		return j, bridged.Errorf(bridged.ErrInvalid, "nobody can join network %s later: create the sandbox in it", n.Name)
	}
	if _, twice := x.connection(s.ID, n.ID); twice {
		return j, bridged.Errorf(bridged.ErrConflict, "sandbox %s already connected to network %s", s.Name, n.Name)
	}
	if err := e.lacks.refuse(n); err != nil {
		return j, err
	}
	name, err := x.interfaceName(n, s, asked.Interface)
	if err != nil {
		return j, err
	}
	endpoint, err := x.newEndpoint(n, bridged.InterfaceSpec{ID: s.ID, IPv4: spec.IPv4, IPv6: spec.IPv6, MAC: asked.MAC})
	if err != nil {
		return j, err
	}
	endpoint.HostInterface, endpoint.Interface, endpoint.MTU = bridged.NewLinkName(bridged.PortPrefix), name, n.MTU
	endpoint.Priority, endpoint.Aliases, endpoint.Sysctls = asked.Priority, asked.Aliases, asked.Sysctls
	return bridged.Joined{Endpoint: endpoint, Network: n}, nil
}

// connection is a stack's endpoint on a network.
func (x *index) connection(stack, network string) (bridged.Endpoint, bool) {
	for _, id := range x.endpoints[stack] {
		if e := x.Endpoints[id]; e.Network == network {
			return e, true
		}
	}
	return bridged.Endpoint{}, false
}

// interfaceName is the one asked for, or the network's prefix with the lowest number that is free.
func (x *index) interfaceName(n bridged.Network, s bridged.Sandbox, asked string) (string, error) {
	taken := make(map[string]bool)
	for _, id := range x.endpoints[s.ID] {
		taken[x.Endpoints[id].Interface] = true
	}
	if asked != "" {
		if taken[asked] {
			return "", bridged.Errorf(bridged.ErrConflict, "sandbox %s has an interface %s already", s.Name, asked)
		}
		return asked, nil
	}
	prefix := n.InterfacePrefix
	if prefix == "" {
		prefix = "eth"
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s%d", prefix, i); !taken[name] {
			return name, nil
		}
	}
}

// Disconnect takes a sandbox out of a network, in one transaction. Ports and the default route move to another of its networks; ports for which
// there is none wait for the next one. A sandbox that is not in the network is [bridged.ErrNotFound].
//
// With force it also releases a lease on the network, by its key, the beginning of that, or what it is called: only its caller knows whether
// it is still needed, and a caller that is gone can't say so. Without force that is [bridged.ErrConflict].
func (e *Engine) Disconnect(ctx context.Context, network, sandbox string, force bool) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if e.callsLease(network, sandbox) {
		return e.disconnectLease(ctx, network, sandbox, force, bridged.Errorf(bridged.ErrNotFound, "lease %s not found", sandbox))
	}
	s, unlock, err := e.lockConnectable(sandbox, network)
	if errors.Is(err, bridged.ErrNotFound) {
		return e.disconnectLease(ctx, network, sandbox, force, err)
	}
	if err != nil {
		return err
	}
	defer unlock()
	var gone bridged.Endpoint
	err = e.transact(ctx, func(x *index) (bridged.Change, error) {
		n, err := x.network(network)
		if err != nil {
			return bridged.Change{}, err
		}
		var connected bool
		if gone, connected = x.connection(s.ID, n.ID); !connected {
			return bridged.Change{}, bridged.Errorf(bridged.ErrNotFound, "sandbox %s is not connected to network %s", s.Name, n.Name)
		}
		x.keepAddrs([]bridged.Endpoint{gone})
		rest := slices.DeleteFunc(x.joined(s.ID), func(j bridged.Joined) bool { return j.Endpoint.ID == gone.ID })
		return bridged.Change{
			Endpoints: map[string]*bridged.Endpoint{gone.ID: nil},
			Ports:     x.moved(s.ID, outletsOf(rest)),
		}, nil
	})
	if err != nil {
		e.staying([]bridged.Endpoint{gone})
		return fmt.Errorf("cannot disconnect sandbox %s from network %s: %w", s.Name, network, err)
	}
	e.drainEndpoints([]bridged.Endpoint{gone})
	e.tell("sandbox disconnected", "sandbox", s.Name, "network", network)
	return nil
}

// callsLease says whether a lease on a network has just that key or name, and no sandbox has. It is meant then, also where the id of a sandbox begins so.
func (e *Engine) callsLease(network, ref string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, err := e.index.network(network)
	return err == nil && !e.index.isSandbox(ref) &&
		slices.ContainsFunc(e.index.leasesOn(n.ID, ref), func(l bridged.Endpoint) bool { return isLease(l, ref) })
}

// disconnectLease releases a lease on a network; noSandbox is the error where there is none, either.
func (e *Engine) disconnectLease(ctx context.Context, network, ref string, force bool, noSandbox error) error {
	e.mu.Lock()
	n, err := e.index.network(network)
	found := e.index.leasesOn(n.ID, ref)
	e.mu.Unlock()
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return noSandbox
	case len(found) > 1:
		return bridged.Errorf(bridged.ErrInvalid, "%d leases on network %s are called %s: give the key of one, as network inspect shows it", len(found), n.Name, ref)
	case !force:
		return bridged.Errorf(bridged.ErrConflict,
			"%s is a lease of somebody who manages containers, as Docker's engine does: disconnect it there, or if nobody there knows it any more, with --force", ref)
	}
	lease := found[0]
	if err := e.release(ctx, lease.Sandbox); err != nil {
		return fmt.Errorf("cannot disconnect lease %s from network %s: %w", ref, n.Name, err)
	}
	e.tell("lease disconnected", "lease", lease.Called(), "network", n.Name)
	return nil
}

// leasesOn are the leases on a network that a ref may mean: the one with just that key, else those whose key begins with it, or that are
// called that.
func (x *index) leasesOn(network, ref string) (found []bridged.Endpoint) {
	for id := range x.members[network] {
		e := x.Endpoints[id]
		switch {
		case !e.Leased() || ref == "":
		case e.Sandbox == ref:
			return []bridged.Endpoint{e}
		case strings.HasPrefix(e.Sandbox, ref) || e.Name == ref:
			found = append(found, e)
		}
	}
	return found
}
