package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/netns"
)

// Sandboxes whose namespace died are collected: nobody else gives their addresses and ports back. A namespace is not known by its path alone,
// which others may remove or use again, and which for a process ends with it. It lives while the path leads to it, while a process is in
// it or it is mounted elsewhere, and while its end of a pair is there, since the kernel takes a pair away with either of its
// namespaces. Leases have no namespace that we know: only their owner does, and releases them. What goes with the namespace is the link of one.

// inhabited lists the namespaces that live, once, when somebody asks. It looks twice: a process that ends while its child begins is not seen by
// one look.
func (e *Engine) inhabited() func() (map[netns.File]string, error) {
	return sync.OnceValues(func() (map[netns.File]string, error) {
		all, err := e.host.inhabited()
		if err != nil {
			return nil, err
		}
		again, err := e.host.inhabited()
		maps.Copy(all, again)
		return all, err
	})
}

// findTries is how often a namespace is looked for whose processes end just then.
const findTries = 3

// find is a path that leads to the sandbox's namespace; "" when there is none.
func (e *Engine) find(s bridged.Sandbox, inhabited func() (map[netns.File]string, error)) (path string, err error) {
	now, err := e.host.namespace(s.NetNS, 0)
	switch {
	case err == nil && now == s.NSID:
		return s.NetNS, nil
	case scarce(err):
		return "", err // who is there is not known
	}
	for try := 1; ; try++ {
		places, err := inhabited()
		if err != nil {
			return "", err
		}
		path, ok := places[netns.File{Dev: s.NSID.Dev, Ino: s.NSID.Ino}]
		if !ok {
			return "", nil
		}
		now, err := e.host.namespace(path, 0)
		switch {
		case err == nil && now == s.NSID:
			return path, nil
		case scarce(err):
			return "", err
		case err == nil || try == findTries:
			return "", nil // the number came back
		}
		inhabited = e.host.inhabited // that process has ended since; there may be others
	}
}

// follow makes a stack's path lead to its namespace again, which was found at another one. Where the namespace is ours, so is its path: it is
// mounted there, or where somebody else has put something there, at the one named after the id. Else the other one is recorded.
func (e *Engine) follow(s bridged.Sandbox, path string, record func(bridged.Change) error) error {
	if s.Made {
		// The file that it was mounted over may be there still.
		if err := e.host.removeNamespace(s, s.NetNS); err != nil {
			return err
		}
		err := e.host.mountNamespace(s, path, s.NetNS)
		if lasting := lastingPath(s); errors.Is(err, fs.ErrExist) && s.NetNS != lasting {
			err, path = e.host.mountNamespace(s, path, lasting), lasting
		} else {
			path = s.NetNS
		}
		if err != nil || path == s.NetNS {
			return err
		}
	}
	s.NetNS = path
	c := bridged.Change{Sandboxes: map[string]*bridged.Sandbox{s.ID: &s}}
	e.mu.Lock()
	for _, user := range e.index.usersOf(s.ID) {
		user.NetNS = path
		c.Sandboxes[user.ID] = &user
	}
	e.mu.Unlock()
	return record(c)
}

// findLost looks for the namespaces of sandboxes that are not where they were: those that are elsewhere are repaired, those that
// are dead are collected.
func (e *Engine) findLost(sandboxes []string) {
	inhabited := e.inhabited()
	for _, id := range slices.Compact(slices.Sorted(slices.Values(sandboxes))) { // a copy: those who wait for the batch look into it
		if err := e.findOne(id, inhabited); err != nil {
			e.log.Error("cannot collect a sandbox", "sandbox", id, "error", err)
		}
	}
}

func (e *Engine) findOne(id string, inhabited func() (map[netns.File]string, error)) error {
	e.world.RLock()
	e.underWay.Add(1)
	defer e.leave()
	if e.closed {
		return nil
	}
	e.mu.Lock()
	s, there := e.index.Sandboxes[id]
	users := e.index.usersOf(id)
	e.mu.Unlock()
	if !there {
		return e.unlink(id) // it is the key of a lease, or the sandbox was removed meanwhile
	}
	var names []string
	for _, u := range append(users, s) {
		if !u.Gone {
			names = append(names, "sandbox "+u.Name)
		}
	}
	defer e.locks.lockAll(names...)()
	defer e.locks.lock("stack " + id)()
	defer e.lockNetworksOf(id)()
	e.mu.Lock()
	s, there = e.index.Sandboxes[id] // what it is now that nobody else is at it
	users = e.index.usersOf(id)
	e.mu.Unlock()
	if !there || !s.Settled {
		return nil
	}
	path, err := e.find(s, inhabited)
	switch {
	case err != nil:
		return err
	case path == s.NetNS:
		return nil
	case path != "":
		err := e.follow(s, path, func(c bridged.Change) error {
			return e.transact(context.Background(), func(*index) (bridged.Change, error) { return c, nil })
		})
		e.suspectEnds(id)
		return err
	}
	if there, err := e.hasLink(id); err != nil || there {
		return err
	}
	return e.collectOne(s, users)
}

// usersOf are the sandboxes that share a stack.
func (x *index) usersOf(stack string) (users []bridged.Sandbox) {
	for id := range x.users[stack] {
		users = append(users, x.Sandboxes[id])
	}
	return users
}

// suspectEnds asks for the links of a stack.
func (e *Engine) suspectEnds(stack string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range e.index.endpoints[stack] {
		e.mends.add(suspicion{link: e.index.Endpoints[id].HostInterface})
	}
}

// hasLink says whether one of the stack's pairs is there with both its ends: then its namespace lives, whoever holds it.
func (e *Engine) hasLink(stack string) (bool, error) {
	e.mu.Lock()
	var ends []string
	for _, id := range e.index.endpoints[stack] {
		if end := e.index.Endpoints[id].HostInterface; end != "" {
			ends = append(ends, end)
		}
	}
	e.mu.Unlock()
	for _, end := range ends {
		if linked, err := e.host.linked(end); err != nil || linked {
			return linked, err
		}
	}
	return false, nil
}

// collectOne removes a sandbox whose namespace is dead, and those that share it.
func (e *Engine) collectOne(s bridged.Sandbox, users []bridged.Sandbox) error {
	if err := errors.Join(e.forgetSandbox(context.Background(), s, users...), e.dropMounts(s, true)); err != nil {
		return err
	}
	for _, one := range append(users, s) {
		if !one.Gone {
			e.tellCollected(one, "its namespace "+s.NetNS+" is gone")
		}
	}
	return nil
}

// tellCollected says why a sandbox is no more.
func (e *Engine) tellCollected(s bridged.Sandbox, reason string) {
	e.log.Warn("sandbox collected", "sandbox", s.Name, "reason", reason)
	e.events.add(bridged.Event{Type: bridged.EventSandbox, Action: "collect", ID: s.ID, Name: s.Name, Attributes: map[string]string{"reason": reason}})
}

// collect looks at all sandboxes when the daemon starts. It forgets those that were being made or removed when the last one ended (nobody was
// told that they exist), those whose namespace is dead, and stacks without a user. What they leave in the kernel goes with the
// reconcile.
//
// Only what was not seen where it should be, just now, is looked for.
func (e *Engine) collect(sight sighting) error {
	inhabited := e.inhabited()
	// Those that share first: whether a stack still has a user is known then.
	for _, sharing := range []bool{true, false} {
		for _, s := range maps.Clone(e.index.Sandboxes) {
			if (s.Shares != "") != sharing {
				continue
			}
			if err := e.collectAtStart(s, sight, inhabited); err != nil {
				return fmt.Errorf("cannot collect sandbox %s: %w", s.Name, err)
			}
		}
	}
	return e.unlinkAtStart()
}

func (e *Engine) collectAtStart(s bridged.Sandbox, sight sighting, inhabited func() (map[netns.File]string, error)) error {
	reason, err := e.whyLost(s, sight.places, inhabited)
	if err != nil {
		return err
	}
	path := s.NetNS
	e.mu.Lock()
	s = e.index.Sandboxes[s.ID] // its path may be another one now
	e.mu.Unlock()
	if reason != "" || s.NetNS != path || sight.strays(s) {
		if err := e.dropMounts(s, reason != ""); err != nil {
			return err
		}
	}
	failpoint.Reached("start: mounts dropped")
	if reason == "" {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.index.detachment(s.ID)
	c.Sandboxes = map[string]*bridged.Sandbox{s.ID: nil}
	e.index.apply(c)
	if err := e.record(c); err != nil {
		return err
	}
	e.tellCollected(s, reason)
	return nil
}

// whyLost says why a sandbox is no more; "" when it is alive.
func (e *Engine) whyLost(s bridged.Sandbox, places map[string]bridged.NamespaceID, inhabited func() (map[netns.File]string, error)) (reason string, err error) {
	e.mu.Lock()
	stack, users := e.index.Sandboxes[s.Stack()], len(e.index.users[s.ID])
	e.mu.Unlock()
	switch {
	case !s.Settled:
		return "it was being made or removed when the daemon ended", nil
	case s.Gone && users == 0:
		return "it was removed, and the last sandbox that shared its stack is gone", nil
	case stack.Mode == bridged.ModeHost, seen(stack, places):
		return "", nil
	}
	path, err := e.find(stack, inhabited)
	switch {
	case err != nil:
		return "", err
	case path == stack.NetNS:
		return "", nil
	case path != "":
		return "", e.follow(stack, path, func(c bridged.Change) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.index.apply(c)
			return e.record(c)
		})
	}
	if linked, err := e.hasLink(stack.ID); err != nil || linked {
		return "", err
	}
	return "its namespace " + stack.NetNS + " is gone", nil
}

// sighting is what a start sees of namespaces at one look.
type sighting struct {
	// places are the namespaces at the paths that the log says.
	places map[string]bridged.NamespaceID
	// names are those in the directory where ours are mounted; nil: it could not be read.
	names map[string]struct{}
}

// strays says whether there is something at a path of a namespace that we made and that is mounted at another.
func (v sighting) strays(s bridged.Sandbox) bool {
	if !s.Made || v.names == nil {
		return s.Made
	}
	mounted, _ := strings.CutPrefix(s.NetNS, namespaceDir+"/")
	for _, name := range []string{s.Name, s.ID} {
		if _, there := v.names[name]; there && name != mounted {
			return true
		}
	}
	return false
}

// seen says whether the sandbox's namespace is where it should be.
func seen(s bridged.Sandbox, places map[string]bridged.NamespaceID) bool {
	now, there := places[s.NetNS]
	return there && now == s.NSID
}

// dropMounts removes the paths of a namespace that we made: all of them when it is lost, else the one that a crash left while it
// moved from one to the other.
func (e *Engine) dropMounts(s bridged.Sandbox, lost bool) error {
	if !s.Made {
		return nil
	}
	var errs []error
	for _, path := range []string{filepath.Join(namespaceDir, s.Name), lastingPath(s)} {
		if lost || path != s.NetNS {
			errs = append(errs, e.host.removeNamespace(s, path))
		}
	}
	return errors.Join(errs...)
}
