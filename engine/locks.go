package engine

import "sync"

// locks are one read-write lock for each name that is in use: of sandboxes, and of networks. Work in the kernel for one object goes on
// under its lock, while the engine's own lock is held for memory only. A sandbox's lock is taken before a network's.
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
