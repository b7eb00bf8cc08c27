package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/link"
)

func (m *machine) makeNamespace(s bridged.Sandbox) (bridged.NamespaceID, error) {
	ns, err := netns.Make(s.NetNS, s.ID)
	if err != nil {
		return bridged.NamespaceID{}, translate(err)
	}
	defer ns.Close()
	failpoint.Reached("namespace made")
	id, err := identity(ns)
	if err == nil {
		err = m.loopbackUp(ns)
	}
	if err != nil {
		return bridged.NamespaceID{}, errors.Join(fmt.Errorf("cannot set up namespace %s: %w", s.NetNS, err), netns.Remove(s.NetNS))
	}
	return id, nil
}

func (m *machine) loopbackUp(ns *netns.NS) error {
	return ns.Do(func() error {
		conn, err := link.DialBriefly(m.here())
		if err != nil {
			return err
		}
		defer conn.Close()
		lo, err := conn.ByName("lo")
		if err != nil {
			return err
		}
		return conn.SetUp(lo.Index)
	})
}

func identity(ns *netns.NS) (bridged.NamespaceID, error) {
	dev, ino := ns.ID()
	cookie, err := ns.Cookie()
	return bridged.NamespaceID{Dev: dev, Ino: ino, Cookie: cookie}, err
}

// on runs f with the namespace at path when it is that one.
func (m *machine) on(path string, id bridged.NamespaceID, f func(*netns.NS) error) error {
	if ns, letGo := m.held.use(id); ns != nil {
		defer letGo()
		return f(ns)
	}
	ns, err := openExactly(path, id)
	if err != nil {
		return err
	}
	defer ns.Close()
	return f(ns)
}

// visit runs f in the namespace at path when it is that one, on one visit.
func (m *machine) visit(path string, id bridged.NamespaceID, f func() error) error {
	if ns, letGo := m.held.use(id); ns != nil {
		defer letGo()
		return ns.Do(f)
	}
	return visitExactly(path, id, f)
}

// openExactly opens the namespace at path when it is that one. Another one there is an error: what was meant for a sandbox must not
// reach somebody else's.
func openExactly(path string, id bridged.NamespaceID) (*netns.NS, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	now, err := identity(ns)
	if err == nil && now != id {
		err = anotherNamespace(path)
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

func anotherNamespace(path string) error {
	return bridged.Errorf(bridged.ErrNotFound, "%s is another namespace now: %w", path, unix.ENOENT)
}

// visitExactly runs f in the namespace at path when it is that one, on one visit.
func visitExactly(path string, id bridged.NamespaceID, f func() error) error {
	ns, err := netns.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(func() error {
		cookie, err := netns.CookieHere()
		if err != nil {
			return err
		}
		dev, ino := ns.ID()
		if (bridged.NamespaceID{Dev: dev, Ino: ino, Cookie: cookie}) != id {
			return anotherNamespace(path)
		}
		return f()
	})
}

func (m *machine) mountNamespace(s bridged.Sandbox, path, further string) error {
	ns, err := openExactly(path, s.NSID) // a process's path leads elsewhere when it goes
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Mount(further, s.ID)
}

// removeNamespace leaves alone what somebody else put at the path. A namespace is the sandbox's by its identity, and where a crash left
// none by its mark; so is the file of a namespace that is not mounted yet, or no more.
func (m *machine) removeNamespace(s bridged.Sandbox, path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil // a look beneath would cost the kernel a grace period
	}
	now, err := m.namespace(path, 0)
	if scarce(err) {
		return err // who it is is not known
	}
	if err == nil && s.NSID != (bridged.NamespaceID{}) {
		if now != s.NSID {
			return nil
		}
		return netns.Remove(path)
	}
	mark, err := netns.Mark(path)
	if err != nil || mark != s.ID && filepath.Base(path) != s.ID {
		return err
	}
	return netns.Remove(path)
}

func (m *machine) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (m *machine) namespace(path string, pid int) (bridged.NamespaceID, error) {
	ns, err := openNamespace(path, pid)
	if err != nil {
		return bridged.NamespaceID{}, err
	}
	defer ns.Close()
	return identity(ns)
}

func openNamespace(path string, pid int) (ns *netns.NS, err error) {
	if pid != 0 {
		ns, err = netns.OpenPID(pid)
	} else {
		ns, err = netns.Open(path)
	}
	if err != nil {
		return nil, bridged.Errorf(bridged.ErrInvalid, "%w", err)
	}
	return ns, nil
}

func (m *machine) identities(paths []string) (map[string]bridged.NamespaceID, error) {
	found := make(map[string]bridged.NamespaceID, len(paths))
	var mu sync.Mutex
	var group errgroup.Group
	for half := range slices.Chunk(paths, len(paths)/2+1) {
		group.Go(func() error {
			return netns.Cookies(half, func(path string, ns netns.File, cookie uint64) {
				mu.Lock()
				defer mu.Unlock()
				found[path] = bridged.NamespaceID{Dev: ns.Dev, Ino: ns.Ino, Cookie: cookie}
			})
		})
	}
	err := group.Wait()
	return found, err
}

func (m *machine) inhabited() (map[netns.File]string, error) { return netns.Inhabited() }
