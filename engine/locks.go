package engine

import (
	"slices"
	"sync"
)

// locks are one read-write lock for each name that is in use: of sandboxes, networks, stacks and links. Work in the kernel for one
// object goes on under its lock, while the engine's own lock is held for memory only. They are taken in this order: sandboxes (two of
// them in the order of their names), stack, networks, links.
type locks struct {
	mu sync.Mutex
	m  map[string]*namedLock
}

type namedLock struct {
	sync.RWMutex
	users int
}

func newLocks() *locks { return &locks{m: make(map[string]*namedLock)} }

// lock takes the lock of a name for writing and returns what gives it back.
func (l *locks) lock(name string) (unlock func()) {
	n := l.use(name)
	n.Lock()
	return func() { n.Unlock(); l.unuse(name, n) }
}

// tryLock is lock when it need not wait.
func (l *locks) tryLock(name string) (unlock func(), ok bool) {
	n := l.use(name)
	if !n.TryLock() {
		l.unuse(name, n)
		return nil, false
	}
	return func() { n.Unlock(); l.unuse(name, n) }, true
}

// lockAll takes the locks of several names for writing, in their order.
func (l *locks) lockAll(names ...string) (unlock func()) {
	slices.Sort(names)
	var held []func()
	for _, name := range slices.Compact(names) {
		held = append(held, l.lock(name))
	}
	return func() {
		for _, unlock := range held {
			unlock()
		}
	}
}

// rlock is lock for reading.
func (l *locks) rlock(name string) (unlock func()) {
	n := l.use(name)
	n.RLock()
	return func() { n.RUnlock(); l.unuse(name, n) }
}

func (l *locks) use(name string) *namedLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.m[name]
	if n == nil {
		n = new(namedLock)
		l.m[name] = n
	}
	n.users++
	return n
}

func (l *locks) unuse(name string, n *namedLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(l.m, name)
	}
}
