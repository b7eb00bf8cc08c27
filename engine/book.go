package engine

import (
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
)

// book says which host ports are taken, by publications of ours. A port that was given back stays in it until old connections to
// it are purged.
type book struct {
	m map[bookKey][]entry
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
func newBookFor(bindings int) *book { return &book{m: make(map[bookKey][]entry, bindings)} }

func keyOf(b bridged.Binding) bookKey {
	return bookKey{proto: b.Proto, port: b.HostPort, ipv6: !b.HostIP.Is4()}
}

// find is the entry of a binding, -1 when there is none.
func (k *book) find(b bridged.Binding) (entries []entry, i int) {
	entries = k.m[keyOf(b)]
	return entries, slices.IndexFunc(entries, func(e entry) bool { return e.ip == b.HostIP })
}

// take takes all bindings or none. What is in the way comes back; when it is only draining, with the channel to wait for.
func (k *book) take(bindings []bridged.Binding) (other bridged.Binding, drained <-chan struct{}, ok bool) {
	for i, b := range bindings {
		entries := k.m[keyOf(b)]
		for _, e := range entries {
			if other := (bridged.Binding{HostIP: e.ip, Proto: b.Proto, HostPort: b.HostPort}); b.Overlaps(other) {
				k.free(bindings[:i])
				return other, e.drained, false
			}
		}
		k.m[keyOf(b)] = append(entries, entry{ip: b.HostIP})
	}
	return other, nil, true
}

// drain marks bindings as given back: nobody takes them before free.
func (k *book) drain(bindings []bridged.Binding) {
	for _, b := range bindings {
		if entries, i := k.find(b); i >= 0 && entries[i].drained == nil {
			entries[i].drained = make(chan struct{})
		}
	}
}

// free gives bindings back.
func (k *book) free(bindings []bridged.Binding) {
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
