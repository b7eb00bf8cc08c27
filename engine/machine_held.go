package engine

import (
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// heldNamespaces are open while something is made in them: as long as one is open, nobody else gets its number, and a step on it needs neither its path nor
// a visit that asks who it is.
type heldNamespaces struct {
	mu sync.Mutex
	m  map[bridged.NamespaceID]*heldNamespace
}

// heldNamespace is closed when its last user lets go of it.
type heldNamespace struct {
	*netns.NS
	users int
}

// hold takes over an open namespace.
func (h *heldNamespaces) hold(ns *netns.NS, id bridged.NamespaceID) (letGo func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.m[id]
	if held != nil {
		_ = ns.Close() // it is open already
	} else {
		if h.m == nil {
			h.m = make(map[bridged.NamespaceID]*heldNamespace)
		}
		held = &heldNamespace{NS: ns}
		h.m[id] = held
	}
	held.users++
	return func() { h.letGo(id) }
}

// use is the namespace, when somebody holds it; else nil.
func (h *heldNamespaces) use(id bridged.NamespaceID) (ns *netns.NS, letGo func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.m[id]
	if held == nil {
		return nil, nil
	}
	held.users++
	return held.NS, func() { h.letGo(id) }
}

func (h *heldNamespaces) letGo(id bridged.NamespaceID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.m[id]
	if held.users--; held.users == 0 {
		delete(h.m, id)
		_ = held.Close() // a descriptor that nothing was written to
	}
}

func (m *machine) hold(path string, pid int) (id bridged.NamespaceID, letGo func(), err error) {
	ns, err := openNamespace(path, pid)
	if err != nil {
		return id, nil, err
	}
	if id, err = identity(ns); err != nil {
		_ = ns.Close()
		return id, nil, err
	}
	return id, m.held.hold(ns, id), nil
}
