package engine

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/bridged/bridged"
)

// Link is the fourth handler: it adds or removes a link between two addresses that sandboxes or leases have on one network. It is for
// these two addresses only, and has no effect while one of them belongs to somebody else.
//
// Adding opens these ports, besides those that are open; without ports it opens those that the child publishes, as they come and go.
// What is open already is [bridged.ErrConflict]. Removing closes these ports, all without ports, and ends their connections; what is not
// open is [bridged.ErrNotFound]. An address that nobody has is [bridged.ErrNotFound], two on different networks are
// [bridged.ErrConflict].
func (e *Engine) Link(ctx context.Context, action bridged.LinkAction, parentIP, childIP netip.Addr, ports []bridged.ProtoPort) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := e.needFirewall("links"); err != nil {
		return err
	}
	ends, unlock, err := e.lockAddrs(parentIP, childIP)
	if err != nil {
		return err
	}
	defer unlock()
	ports = sortedUnique(ports)
	var change func(old bridged.Link, there bool) (bridged.Link, error)
	switch action {
	case bridged.LinkAdd:
		change = ends.opened(ports)
	case bridged.LinkRemove:
		change = ends.closed(ports)
	default:
		return bridged.Errorf(bridged.ErrInvalid, "unknown action %q: use add or remove", action)
	}
	return e.endLinks(ctx, func(x *index) (map[bridged.LinkID]*bridged.Link, error) {
		id := ends.link().ID()
		old, there := x.Links[id]
		l, err := change(old, there && !old.Gone)
		return map[bridged.LinkID]*bridged.Link{id: &l}, err
	})
}

// addrEnds are two addresses on one network, and the endpoints that have them.
type addrEnds struct {
	parentIP, childIP netip.Addr
	common
}

func (a addrEnds) link() bridged.Link {
	return bridged.Link{Parent: a.parent.Sandbox, Child: a.child.Sandbox, ParentIP: a.parentIP, ChildIP: a.childIP}
}

// opened is the link with more ports.
func (a addrEnds) opened(ports []bridged.ProtoPort) func(bridged.Link, bool) (bridged.Link, error) {
	return func(old bridged.Link, there bool) (bridged.Link, error) {
		if !a.network.ICC && !a.gateways() {
			return old, bridged.Errorf(bridged.ErrConflict,
				"cannot link %s to %s: a link leads through the gateway, and the bridge of network %s has no address that could be it (gateway mode isolated)",
				a.parentIP, a.childIP, a.network.Name)
		}
		l := a.link()
		l.Created, l.Ports = time.Now().UTC(), ports
		if !there {
			return l, nil
		}
		l.Created = old.Created
		l.Ports = sortedUnique(slices.Concat(old.Ports, ports))
		if len(ports) == 0 || len(old.Ports) == 0 || len(l.Ports) == len(old.Ports) {
			return old, bridged.Errorf(bridged.ErrConflict, "%s is linked to %s already: remove the link first, to change it", a.parentIP, a.childIP)
		}
		return l, nil
	}
}

// closed is the link with fewer ports, and gone without any.
func (a addrEnds) closed(ports []bridged.ProtoPort) func(bridged.Link, bool) (bridged.Link, error) {
	return func(old bridged.Link, there bool) (bridged.Link, error) {
		if !there {
			return old, bridged.Errorf(bridged.ErrNotFound, "%s is not linked to %s", a.parentIP, a.childIP)
		}
		for _, p := range ports {
			if !slices.Contains(old.Ports, p) {
				return old, bridged.Errorf(bridged.ErrNotFound, "%s is not linked to port %s of %s", a.parentIP, p, a.childIP)
			}
		}
		l := old
		l.Ports = slices.DeleteFunc(slices.Clone(old.Ports), func(p bridged.ProtoPort) bool { return slices.Contains(ports, p) })
		if len(ports) == 0 || len(l.Ports) == 0 {
			l, l.Gone = old, true
		}
		return l, nil
	}
}

// lockAddrs finds out who has two addresses, and locks both and what is between them.
func (e *Engine) lockAddrs(parentIP, childIP netip.Addr) (addrEnds, func(), error) {
	parentIP, childIP = parentIP.Unmap(), childIP.Unmap()
	for {
		ends, names, err := e.findEnds(parentIP, childIP)
		if err != nil {
			return ends, nil, err
		}
		stacks := e.locks.lockAll(names...)
		links := e.locks.lock(linkLock(ends.parent.Sandbox, ends.child.Sandbox))
		unlock := func() { links(); stacks() }
		again, _, err := e.findEnds(parentIP, childIP)
		if err != nil {
			unlock()
			return again, nil, err
		}
		if again.parent.ID == ends.parent.ID && again.child.ID == ends.child.ID {
			return again, unlock, nil
		}
		unlock() // the address was given to another one while we waited for the locks
	}
}

// findEnds finds who has two addresses, and the names of their locks.
func (e *Engine) findEnds(parentIP, childIP netip.Addr) (ends addrEnds, locks []string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.index
	ends.parentIP, ends.childIP = parentIP, childIP
	if ends.common, err = x.ends(parentIP, childIP); err != nil {
		return ends, nil, err
	}
	for _, stack := range []string{ends.parent.Sandbox, ends.child.Sandbox} {
		s, ok := x.Sandboxes[stack]
		switch {
		case !ok:
			locks = append(locks, "sandbox "+stack)
		case s.Gone || !s.Settled:
			return ends, nil, bridged.Errorf(bridged.ErrConflict, "cannot link %s to %s: sandbox %s is just being made, or was removed", parentIP, childIP, s.Name)
		default:
			locks = append(locks, "sandbox "+s.Name)
		}
	}
	return ends, locks, nil
}

// ends finds the network on which two endpoints have these addresses.
func (x *index) ends(parentIP, childIP netip.Addr) (common, error) {
	if parentIP.Is4() != childIP.Is4() || !parentIP.IsValid() || !childIP.IsValid() {
		return common{}, bridged.Errorf(bridged.ErrInvalid, "cannot link %s to %s: a link needs two addresses of one family", parentIP, childIP)
	}
	if parentIP == childIP {
		return common{}, bridged.Errorf(bridged.ErrInvalid, "cannot link %s to itself", parentIP)
	}
	var parents, children []string // networks
	for id, n := range x.Networks {
		p, hasParent := x.addrs[addrKey{id, parentIP}]
		c, hasChild := x.addrs[addrKey{id, childIP}]
		if hasParent && hasChild {
			parent, _ := only(x.Endpoints[p], parentIP)
			child, _ := only(x.Endpoints[c], childIP)
			return common{n, parent, child}, nil
		}
		if hasParent {
			parents = append(parents, n.Name)
		}
		if hasChild {
			children = append(children, n.Name)
		}
	}
	switch {
	case parents == nil:
		return common{}, bridged.Errorf(bridged.ErrNotFound, "nobody has the address %s", parentIP)
	case children == nil:
		return common{}, bridged.Errorf(bridged.ErrNotFound, "nobody has the address %s", childIP)
	}
	return common{}, bridged.Errorf(bridged.ErrConflict, "cannot link %s to %s: they are on different networks, %s and %s",
		parentIP, childIP, parents[0], children[0])
}
