package engine

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/ordered"
)

// AddLink links two sandboxes, in one transaction. Two that are linked in this direction already, sandboxes without a stack of their
// own or without a network in common are [bridged.ErrConflict].
func (e *Engine) AddLink(ctx context.Context, spec bridged.LinkSpec) (bridged.LinkInfo, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.LinkInfo{}, err
	}
	defer leave()
	if err := e.needFirewall("links"); err != nil {
		return bridged.LinkInfo{}, err
	}
	parent, child, unlock, err := e.lockEnds(spec.Parent, spec.Child)
	if err != nil {
		return bridged.LinkInfo{}, err
	}
	defer unlock()
	l := bridged.Link{
		Parent: parent.ID, Child: child.ID, Alias: cmp.Or(spec.Alias, child.Name), Ports: sortedUnique(spec.Ports), Created: time.Now().UTC(),
	}
	if err := bridged.CheckName("alias", l.Alias); err != nil {
		return bridged.LinkInfo{}, err
	}
	err = e.transact(ctx, func(x *index) (bridged.Change, error) {
		if err := x.linkable(l, parent, child); err != nil {
			return bridged.Change{}, err
		}
		return bridged.Change{Links: map[bridged.LinkID]*bridged.Link{l.ID(): &l}}, nil
	})
	if err != nil {
		return bridged.LinkInfo{}, err
	}
	e.tell("sandboxes linked", "parent", parent.Name, "child", child.Name, "ports", l.Ports)
	return bridged.LinkInfo{Link: l, ParentName: parent.Name, ChildName: child.Name}, nil
}

// linkable refuses a link that can't be.
func (x *index) linkable(l bridged.Link, parent, child bridged.Sandbox) error {
	for _, s := range []bridged.Sandbox{parent, child} {
		switch {
		case s.Shares != "":
			return x.ownStack(s)
		case s.Mode == bridged.ModeHost:
			return bridged.Errorf(bridged.ErrConflict, "cannot link sandbox %s: it shares the host's network stack and has no address of its own", s.Name)
		case len(x.endpoints[s.ID]) == 0:
			return bridged.Errorf(bridged.ErrConflict, "cannot link sandbox %s: it is in no network; connect it to one first", s.Name)
		}
	}
	if old, ok := x.Links[l.ID()]; ok && !old.Gone {
		return bridged.Errorf(bridged.ErrConflict, "sandbox %s is linked to %s already: remove the link first, to change it", parent.Name, child.Name)
	}
	shared := x.common(l)
	if len(shared) == 0 {
		return bridged.Errorf(bridged.ErrConflict, "cannot link sandbox %s to %s: they have no network in common; connect them to one first", parent.Name, child.Name)
	}
	var closed []string
	for _, c := range shared {
		if c.network.ICC || c.gateways() {
			return nil
		}
		closed = append(closed, c.network.Name)
	}
	slices.Sort(closed)
	return bridged.Errorf(bridged.ErrConflict, "cannot link sandbox %s to %s: a link leads through the gateway, and the bridge of network %s has no address that could be it (gateway mode isolated)",
		parent.Name, child.Name, strings.Join(closed, ", "))
}

// RemoveLink takes the link of two sandboxes back, and those between addresses of them, in one transaction. Connections through it have
// ended when it returns. Two that are not linked in this direction are [bridged.ErrNotFound].
func (e *Engine) RemoveLink(ctx context.Context, parentRef, childRef string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	parent, child, unlock, err := e.lockEnds(parentRef, childRef)
	if err != nil {
		return err
	}
	defer unlock()
	return e.endLinks(ctx, func(x *index) (map[bridged.LinkID]*bridged.Link, error) {
		for _, s := range []bridged.Sandbox{parent, child} {
			if err := x.ownStack(s); err != nil {
				return nil, err
			}
		}
		gone := x.going(parent.ID, func(id bridged.LinkID) bool { return id.Parent == parent.ID && id.Child == child.ID })
		if len(gone) == 0 {
			return nil, bridged.Errorf(bridged.ErrNotFound, "sandbox %s is not linked to %s", parent.Name, child.Name)
		}
		return gone, nil
	})
}

// going are the links of a stack that match and are not gone yet, as they are while they go.
func (x *index) going(stack string, match func(bridged.LinkID) bool) map[bridged.LinkID]*bridged.Link {
	var gone map[bridged.LinkID]*bridged.Link
	for id := range x.links[stack] {
		l := x.Links[id]
		if l.Gone || !match(id) {
			continue
		}
		if gone == nil {
			gone = make(map[bridged.LinkID]*bridged.Link)
		}
		l.Gone = true
		gone[id] = &l
	}
	return gone
}

// endLinks makes links go, or changes them, as gone says, and returns when connections that have lost their link have ended.
func (e *Engine) endLinks(ctx context.Context, gone func(*index) (map[bridged.LinkID]*bridged.Link, error)) error {
	var links map[bridged.LinkID]*bridged.Link
	err := e.transact(ctx, func(x *index) (c bridged.Change, err error) {
		links, err = gone(x)
		return bridged.Change{Links: links}, err
	})
	if err != nil {
		return err
	}
	if err := e.endedFlows(); err != nil {
		return err
	}
	return e.forgetLinks(ctx, slices.Collect(maps.Keys(links)))
}

// endedFlows waits for the end of connections that have lost their link. Until then the link is remembered: a daemon that starts after a
// crash must know which they were. A caller that goes away must not leave a link that is gone in half.
func (e *Engine) endedFlows() error {
	err := e.purges.wait(context.Background(), func(p purge) bool { return p.flow.Source.IsValid() })
	if err == nil && e.gaveUp() {
		err = errEnding()
	}
	return err
}

// forgetLinks forgets, of these, the links that are gone.
func (e *Engine) forgetLinks(ctx context.Context, ids []bridged.LinkID) error {
	if len(ids) == 0 {
		return nil
	}
	return e.transact(ctx, func(x *index) (bridged.Change, error) {
		c := bridged.Change{Links: make(map[bridged.LinkID]*bridged.Link)}
		for _, id := range ids {
			if x.Links[id].Gone {
				c.Links[id] = nil
			}
		}
		return c, nil
	})
}

// finishLinks does the rest for links that were going when the last daemon ended: their elements and routes went with the first
// reconcile.
func (e *Engine) finishLinks(ctx context.Context) error {
	e.mu.Lock()
	var ids []bridged.LinkID
	ended, still := newObjects(), newObjects()
	ended.tables = e.program
	for id, l := range e.index.Links {
		if l.Gone {
			ids = append(ids, id)
			l.Gone = false
			e.compiler().link(&ended, l)
		}
	}
	if len(ids) > 0 {
		still = e.compiler().whole()
	}
	e.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	purges := endFlows{flowsGone(ended, still)}.purges()
	if e.purge(purges) == nil {
		return e.forgetLinks(ctx, ids)
	}
	// They are tried again. Who starts does not wait for that.
	e.purges.add(append(purges, purge{then: func() {
		if err := e.forgetLinks(ctx, ids); err != nil {
			e.log.Warn("cannot forget links that are gone; the next start does", "error", err)
		}
	}})...)
	return nil
}

// lockEnds finds two sandboxes and locks them and what is between them.
func (e *Engine) lockEnds(parentRef, childRef string) (parent, child bridged.Sandbox, unlock func(), err error) {
	e.mu.Lock()
	if parent, err = e.index.sandbox(parentRef); err == nil {
		child, err = e.index.sandbox(childRef)
	}
	e.mu.Unlock()
	if err != nil {
		return parent, child, nil, err
	}
	if parent.ID == child.ID {
		return parent, child, nil, bridged.Errorf(bridged.ErrInvalid, "cannot link sandbox %s to itself", parent.Name)
	}
	sandboxes := e.locks.lockAll("sandbox "+parent.Name, "sandbox "+child.Name)
	links := e.locks.lock(linkLock(parent.ID, child.ID))
	unlock = func() { links(); sandboxes() }
	e.mu.Lock()
	defer e.mu.Unlock()
	// What happened while we waited for the locks:
	for _, s := range []*bridged.Sandbox{&parent, &child} {
		name := s.Name
		if *s, err = e.index.sandbox(s.ID); err != nil {
			unlock()
			return parent, child, nil, bridged.Errorf(bridged.ErrNotFound, "sandbox %s not found", name)
		}
	}
	return parent, child, unlock, nil
}

// linkLock names the lock of what is between two stacks.
func linkLock(a, b string) string { return fmt.Sprintf("links %s %s", min(a, b), max(a, b)) }

// lockLinks locks what is between a stack and those it is linked with: a change of the stack's ports or endpoints changes these links
// too. Under the lock of the stack's sandbox, which the caller has, it gets no more links.
func (e *Engine) lockLinks(stack string) (unlock func()) {
	e.mu.Lock()
	names := e.index.linkLocks(stack)
	e.mu.Unlock()
	return e.locks.lockAll(names...)
}

// linkLocks are the names of the locks of a stack's links.
func (x *index) linkLocks(stack string) (names []string) {
	for id := range x.links[stack] {
		names = append(names, linkLock(id.Parent, id.Child))
	}
	return names
}

// Links lists the links of one sandbox, of all when ref is empty, in the order of the names of their ends.
func (e *Engine) Links(ref string) ([]bridged.LinkInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ref == "" {
		return e.index.linkInfos(maps.Keys(e.index.Links)), nil
	}
	s, err := e.index.sandbox(ref)
	if err != nil {
		return nil, err
	}
	return e.index.linkInfos(maps.Keys(e.index.links[s.Stack()])), nil
}

// linkInfos are links in the order of the names of their ends.
func (x *index) linkInfos(ids iter.Seq[bridged.LinkID]) []bridged.LinkInfo {
	infos := []bridged.LinkInfo{}
	for id := range ids {
		if l := x.Links[id]; !l.Gone {
			infos = append(infos, bridged.LinkInfo{Link: l, ParentName: x.stackName(l.Parent), ChildName: x.stackName(l.Child)})
		}
	}
	ordered.Sort(infos, func(a, b bridged.LinkInfo) int {
		return cmp.Or(cmp.Compare(a.ParentName, b.ParentName), cmp.Compare(a.ChildName, b.ChildName), a.ParentIP.Compare(b.ParentIP))
	})
	return infos
}
