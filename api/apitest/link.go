package apitest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
)

// Links are those of one sandbox, or of all.
func (e *Engine) Links(ref string) ([]bridged.LinkInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := ""
	if ref != "" {
		var err error
		if id, err = e.findSandbox(ref); err != nil {
			return nil, err
		}
	}
	return e.linkInfos(id), nil
}

// linkInfos are the links of a stack, and of all for "", in the order of the names of their ends.
func (e *Engine) linkInfos(stack string) []bridged.LinkInfo {
	var all []bridged.LinkInfo
	for id, l := range e.links {
		if stack == "" || stack == id.Parent || stack == id.Child {
			all = append(all, bridged.LinkInfo{Link: l, ParentName: e.stackName(id.Parent), ChildName: e.stackName(id.Child)})
		}
	}
	slices.SortFunc(all, func(a, b bridged.LinkInfo) int {
		return cmp.Or(cmp.Compare(a.ParentName, b.ParentName), cmp.Compare(a.ChildName, b.ChildName), a.ParentIP.Compare(b.ParentIP))
	})
	return all
}

// stackName is a sandbox's name, or the key of a lease.
func (e *Engine) stackName(id string) string {
	if s, ok := e.sandboxes[id]; ok {
		return s.Name
	}
	return id
}

// AddLink links two sandboxes.
func (e *Engine) AddLink(_ context.Context, spec bridged.LinkSpec) (bridged.LinkInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none bridged.LinkInfo
	if e.fail != nil {
		return none, e.fail
	}
	parent, err := e.findSandbox(spec.Parent)
	if err != nil {
		return none, err
	}
	child, err := e.findSandbox(spec.Child)
	if err != nil {
		return none, err
	}
	parentName, childName := e.stackName(parent), e.stackName(child)
	l := bridged.Link{Parent: parent, Child: child, Alias: cmp.Or(spec.Alias, childName), Ports: spec.Ports, Created: start}
	_, taken := e.links[l.ID()]
	switch {
	case parent == child:
		return none, bridged.Errorf(bridged.ErrInvalid, "cannot link sandbox %s to itself", parentName)
	case taken:
		return none, bridged.Errorf(bridged.ErrConflict, "sandbox %s is linked to %s already", parentName, childName)
	}
	e.links[l.ID()] = l
	return bridged.LinkInfo{Link: l, ParentName: parentName, ChildName: childName}, nil
}

// RemoveLink takes a link back.
func (e *Engine) RemoveLink(_ context.Context, parentRef, childRef string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	parent, err := e.findSandbox(parentRef)
	if err != nil {
		return err
	}
	child, err := e.findSandbox(childRef)
	if err != nil {
		return err
	}
	id := bridged.LinkID{Parent: parent, Child: child}
	if _, ok := e.links[id]; !ok {
		return bridged.Errorf(bridged.ErrNotFound, "sandbox %s is not linked to %s", e.stackName(parent), e.stackName(child))
	}
	delete(e.links, id)
	return nil
}

// Link makes a link between two addresses that somebody has, or takes it back.
func (e *Engine) Link(_ context.Context, action bridged.LinkAction, parentIP, childIP netip.Addr, ports []bridged.ProtoPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	l := bridged.Link{ParentIP: parentIP, ChildIP: childIP, Ports: ports, Created: start}
	for _, ep := range e.endpoints {
		if slices.Contains(ep.Addrs(), parentIP) {
			l.Parent = ep.Sandbox
		}
		if slices.Contains(ep.Addrs(), childIP) {
			l.Child = ep.Sandbox
		}
	}
	_, there := e.links[l.ID()]
	switch {
	case l.Parent == "":
		return bridged.Errorf(bridged.ErrNotFound, "nobody has the address %s", parentIP)
	case l.Child == "":
		return bridged.Errorf(bridged.ErrNotFound, "nobody has the address %s", childIP)
	case action == bridged.LinkAdd && there:
		return bridged.Errorf(bridged.ErrConflict, "%s is linked to %s already", parentIP, childIP)
	case action == bridged.LinkRemove && !there:
		return bridged.Errorf(bridged.ErrNotFound, "%s is not linked to %s", parentIP, childIP)
	case action == bridged.LinkAdd:
		e.links[l.ID()] = l
	default:
		delete(e.links, l.ID())
	}
	return nil
}
