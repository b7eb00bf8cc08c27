package engine

import (
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/bridged/bridged"
)

// book says which host ports are taken, by publications of ours, and has the sockets that reserve them on the host. A port that was given back stays
// in it until old connections to it are purged. It is safe for concurrent use: a request asks it several times, beside others that change the State.
type book struct {
	mu      sync.Mutex // never held while the kernel works
	m       map[bookKey][]entry
	sockets map[bridged.Binding]io.Closer
}

// bookKey is what two bindings must share to be in each other's way.
type bookKey struct {
	proto bridged.Proto
	port  uint16
	ipv6  bool
}

// entry is the host address of a taken binding; drained is closed when one that was given back is free again, and nil before.
type entry struct {
	ip      netip.Addr
	drained chan struct{}
}

func newBook() *book { return newBookFor(0) }

// newBookFor has room for this many bindings.
func newBookFor(bindings int) *book {
	return &book{m: make(map[bookKey][]entry, bindings), sockets: make(map[bridged.Binding]io.Closer, bindings)}
}

func keyOf(b bridged.Binding) bookKey {
	return bookKey{proto: b.Proto, port: b.HostPort, ipv6: !b.HostIP.Is4()}
}

// find is the entry of a binding, -1 when there is none. The caller holds k.mu.
func (k *book) find(b bridged.Binding) (entries []entry, i int) {
	entries = k.m[keyOf(b)]
	return entries, slices.IndexFunc(entries, func(e entry) bool { return e.ip == b.HostIP })
}

// take takes all bindings or none. What is in the way comes back; when it is only draining, with the channel to wait for.
func (k *book) take(bindings []bridged.Binding) (other bridged.Binding, drained <-chan struct{}, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, b := range bindings {
		entries := k.m[keyOf(b)]
		for _, e := range entries {
			if other := (bridged.Binding{HostIP: e.ip, Proto: b.Proto, HostPort: b.HostPort}); b.Overlaps(other) {
				k.forget(bindings[:i])
				return other, e.drained, false
			}
		}
		k.m[keyOf(b)] = append(entries, entry{ip: b.HostIP})
	}
	return other, nil, true
}

// drain marks bindings as given back: nobody takes them before free.
func (k *book) drain(bindings []bridged.Binding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range bindings {
		if entries, i := k.find(b); i >= 0 && entries[i].drained == nil {
			entries[i].drained = make(chan struct{})
		}
	}
}

// keep notes the sockets of the first bindings.
func (k *book) keep(bindings []bridged.Binding, sockets []io.Closer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, s := range sockets {
		k.sockets[bindings[i]] = s
	}
}

// holds says whether a binding is reserved on the host.
func (k *book) holds(b bridged.Binding) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sockets[b] != nil
}

// free gives bindings back: sockets first, so that nobody is given a port that is still reserved.
func (k *book) free(bindings []bridged.Binding) {
	if len(bindings) == 0 {
		return
	}
	k.mu.Lock()
	var sockets []io.Closer
	for _, b := range bindings {
		if s := k.sockets[b]; s != nil {
			sockets = append(sockets, s)
			delete(k.sockets, b)
		}
	}
	k.mu.Unlock()
	closeAll(sockets)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(bindings)
}

// close closes all sockets, at the end.
func (k *book) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	closeAll(slices.Collect(maps.Values(k.sockets)))
}

func closeAll(sockets []io.Closer) {
	for _, s := range sockets {
		_ = s.Close() // a bound socket has nothing to lose
	}
}

// forget takes bindings out. The caller holds k.mu.
func (k *book) forget(bindings []bridged.Binding) {
	for _, b := range bindings {
		entries, i := k.find(b)
		if i < 0 {
			continue
		}
		if drained := entries[i].drained; drained != nil {
			close(drained)
		}
		if entries = slices.Delete(entries, i, i+1); len(entries) == 0 {
			delete(k.m, keyOf(b))
		} else {
			k.m[keyOf(b)] = entries
		}
	}
}
