package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// attachableNetwork is the network that a request wants, made or changed to be so. Until unlock it stays; undo is for a request that fails
// later.
func (e *Engine) attachableNetwork(ctx context.Context, a attachment) (n bridged.Network, undo func() error, unlock func(), err error) {
	want := a.network
	lock := "network " + want.Name
	nothing := func() error { return nil }
	unlock = e.locks.rlock(lock)
	if n, same := e.sameNetwork(want); same {
		return n, nothing, unlock, nil
	}
	unlock()
	unlock = e.locks.lock(lock) // those that want the same network wait for this one
	n, same := e.sameNetwork(want)
	switch {
	case same:
		return n, nothing, unlock, nil
	case n.ID == "":
		n, undo, err = e.makeAttachable(ctx, want)
	default:
		n, undo, err = e.adaptNetwork(ctx, n, want, a.spec.Network.Force)
	}
	if err != nil {
		unlock()
		return n, nil, nil, err
	}
	return n, undo, unlock, nil
}

// sameNetwork is the network that has the name; a zero ID: there is none. same: it is just as wanted.
func (e *Engine) sameNetwork(want bridged.Network) (n bridged.Network, same bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = e.index.Networks[e.index.networkNames[want.Name]]
	return n, n.ID != "" && n.Equal(completed(want, n))
}

// completed is want with what a request leaves open as it is in n.
func completed(want, n bridged.Network) bridged.Network {
	want.ID, want.Created, want.BridgeMAC = n.ID, n.Created, n.BridgeMAC
	want.Bridge, want.MTU = cmp.Or(want.Bridge, n.Bridge), cmp.Or(want.MTU, n.MTU)
	if want.IPv4.Prefix == anyPrefix4 && n.IPv4.Valid() {
		want.IPv4 = n.IPv4
	}
	if want.IPv6.Prefix == anyPrefix6 && n.IPv6.Valid() {
		want.IPv6 = n.IPv6
	}
	return want
}

// makeAttachable makes a network for its first attachment.
func (e *Engine) makeAttachable(ctx context.Context, n bridged.Network) (bridged.Network, func() error, error) {
	n.ID, n.Created = bridged.NewID(), time.Now().UTC()
	n.Bridge, n.MTU = cmp.Or(n.Bridge, bridged.NewLinkName(bridged.BridgePrefix)), cmp.Or(n.MTU, e.mtu())
	e.mu.Lock()
	err := e.lacks.refuse(n)
	e.mu.Unlock()
	if err != nil {
		return n, nil, err
	}
	info, warnings, err := e.makeNetwork(ctx, n)
	if errors.Is(err, unix.EEXIST) {
		err = bridged.Errorf(bridged.ErrConflict, "%w: a link %s is there that is not ours; remove it (ip link delete %[2]s) if nothing uses it, or choose another name for the bridge", err, n.Bridge)
	}
	if err != nil {
		return n, nil, err
	}
	for _, w := range warnings {
		e.warn(fmt.Sprintf("network %s: %s", n.Name, w))
	}
	return info.Network, func() error { return e.unmakeNetwork(context.WithoutCancel(ctx), info.Network) }, nil
}

// adaptNetwork changes a network to what a request wants. The caller holds its lock.
func (e *Engine) adaptNetwork(ctx context.Context, old, want bridged.Network, force bool) (bridged.Network, func() error, error) {
	n := completed(want, old)
	host, err := e.hostUse()
	if err != nil {
		return n, nil, err
	}
	err = e.transactWhenFree(ctx, func(x *index) (bridged.Change, error) {
		if err := x.mayAdapt(old, n, force); err != nil {
			return bridged.Change{}, err
		}
		if err := e.chooseSubnets(x, &n, host.space); err != nil {
			return bridged.Change{}, err
		}
		return bridged.Change{Networks: map[string]*bridged.Network{n.ID: &n}, Forwarding: e.forwardingFor(x, n)}, nil
	})
	if err != nil {
		return n, nil, fmt.Errorf("network %s: %w", old.Name, err)
	}
	e.ensureForwarding(ctx, n)
	e.tell("network changed to what its CNI configuration says now", "network", n.Name, "link", n.Bridge)
	back := func() error {
		return e.transact(ctx, func(*index) (bridged.Change, error) {
			return bridged.Change{Networks: map[string]*bridged.Network{old.ID: &old}}, nil
		})
	}
	return n, back, nil
}

// mayAdapt refuses what can't be changed of a network, by the words of the configuration. With force its subnets can, while nothing is in it.
func (x *index) mayAdapt(old, n bridged.Network, force bool) error {
	if name, ok := old.Labels[bridged.LabelCNI]; !ok || name != n.Labels[bridged.LabelCNI] {
		return bridged.Errorf(bridged.ErrConflict, "it exists already and was not made for this CNI configuration: choose another name for one of them")
	}
	if old.Bridge != n.Bridge {
		return bridged.Errorf(bridged.ErrConflict, "its bridge is %s and can't become %s: leave the bridge's name as it is, or remove the network when nothing is attached",
			old.Bridge, n.Bridge)
	}
	for _, ipv6 := range []bool{false, true} {
		was, is := old.Subnet(ipv6), n.Subnet(ipv6)
		if !was.Valid() || was.Prefix == is.Prefix && was.Gateway == is.Gateway {
			continue
		}
		difference := fmt.Sprintf("its subnet is %s, and the configuration has none of its family", was.Prefix)
		switch {
		case is.Valid() && was.Prefix != is.Prefix:
			difference = fmt.Sprintf("its subnet is %s, and the configuration says %s", was.Prefix, is.Prefix)
		case is.Valid():
			difference = fmt.Sprintf("its gateway is %s, and the configuration says %s", was.Gateway, is.Gateway)
		}
		if len(x.members[old.ID]) > 0 {
			return bridged.Errorf(bridged.ErrConflict, "%s: that can't be changed while containers are attached", difference)
		}
		if !force {
			return bridged.Errorf(bridged.ErrConflict, "%s: set forceAddress to change the network, or remove it", difference)
		}
		if err := x.leavingOf(old.ID); err != nil {
			return err
		}
	}
	return nil
}
