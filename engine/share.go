package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
)

// newSharing is a sandbox that shares the stack of the target: its namespace, with all that is in it. Sharing one that
// shares is sharing the same stack.
func (e *Engine) newSharing(s bridged.Sandbox, target string, spec bridged.SandboxSpec) (bridged.Sandbox, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.index.sandbox(target)
	if err != nil {
		return s, err
	}
	owner := e.index.stackName(t.Stack())
	switch {
	case t.CNI:
		return s, bridged.Errorf(bridged.ErrConflict, "sandbox %s can't share the network stack of %s: that is a container of a CNI runtime, which goes when the runtime says so", s.Name, owner)
	case spec.NetNS != "" || spec.PID != 0:
		return s, bridged.Errorf(bridged.ErrInvalid, "sandbox %s shares the network stack of %s: it can't have a namespace of its own", s.Name, owner)
	case len(spec.Ports) > 0:
		return s, bridged.Errorf(bridged.ErrConflict, "cannot publish ports of sandbox %s: it shares the network stack of %s; publish them with %[2]s", s.Name, owner)
	case spec.IPv4.IsValid() || spec.IPv6.IsValid() || spec.MAC != bridged.MAC{}:
		return s, bridged.Errorf(bridged.ErrConflict, "cannot give sandbox %s an address: it shares the network stack of %s", s.Name, owner)
	}
	s.Mode, s.Shares, s.NetNS = bridged.ModeContainer, t.Stack(), t.NetNS
	return s, nil
}

// ownerName is the name of the sandbox that a stack came from, or its id when it was removed: another one may have the name by now.
func (x *index) ownerName(stack string) string {
	if owner := x.Sandboxes[stack]; !owner.Gone {
		return owner.Name
	}
	return stack
}

// stackPath is where a stack's namespace is mounted now.
func (e *Engine) stackPath(id string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.index.Sandboxes[id].NetNS
}

// ownStack refuses to change the stack of a sandbox that shares it.
func (x *index) ownStack(s bridged.Sandbox) error {
	if s.Shares == "" {
		return nil
	}
	owner := x.stackName(s.Shares)
	if x.Sandboxes[s.Shares].Gone {
		return bridged.Errorf(bridged.ErrConflict, "sandbox %s shares the network stack of sandbox %s, which was removed: it can't be changed any more",
			s.Name, x.Sandboxes[s.Shares].Name)
	}
	return bridged.Errorf(bridged.ErrConflict, "sandbox %s shares the network stack of %s: change it there", s.Name, owner)
}

// shared says whether others use the sandbox's stack.
func (e *Engine) shared(s bridged.Sandbox) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.index.users[s.ID]) > 0
}

// leaveStack removes a sandbox from a stack that others use: its name is free. The last one takes the stack with it. The
// caller holds the stack's lock.
func (e *Engine) leaveStack(ctx context.Context, s bridged.Sandbox) error {
	if s.Shares == "" {
		return e.leaveToOthers(ctx, s)
	}
	if owner, last := e.lastUser(s); last {
		return e.forgetSandbox(ctx, owner, s)
	}
	return e.transact(ctx, func(*index) (bridged.Change, error) {
		return bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: nil}}, nil
	})
}

// lastUser says whether nobody but the sandbox uses the stack that it shares, and whose that was.
func (e *Engine) lastUser(s bridged.Sandbox) (owner bridged.Sandbox, last bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	owner = e.index.Sandboxes[s.Shares]
	return owner, owner.Gone && len(e.index.users[owner.ID]) == 1
}

// leaveToOthers removes the sandbox that a stack came from. A namespace that we made gives its path up with the name: it moves to
// one named after the id.
func (e *Engine) leaveToOthers(ctx context.Context, s bridged.Sandbox) error {
	defer e.lockLinks(s.ID)() // others reach the routes inside by the path
	former := s.NetNS
	if s.Made && former != lastingPath(s) {
		s.NetNS = lastingPath(s)
		if err := e.host.mountNamespace(s, former, s.NetNS); err != nil {
			return fmt.Errorf("cannot remove sandbox %s: %w", s.Name, err)
		}
		failpoint.Reached("namespace has both paths")
	}
	s.Gone = true
	err := e.transact(ctx, func(x *index) (bridged.Change, error) {
		c := bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}}
		for id := range x.users[s.ID] {
			user := x.Sandboxes[id]
			user.NetNS = s.NetNS
			c.Sandboxes[id] = &user
		}
		return c, nil
	})
	switch {
	case s.NetNS == former:
		return err
	case err != nil:
		return errors.Join(err, e.host.removeNamespace(s, s.NetNS))
	}
	return e.host.removeNamespace(s, former)
}

// lastingPath is where the namespace of a sandbox is mounted when its name is gone.
func lastingPath(s bridged.Sandbox) string { return filepath.Join(namespaceDir, s.ID) }
