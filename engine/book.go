package engine

import (
	"net/netip"

	"github.com/bridged/bridged"
)

// book says which host ports are taken, by publications of ours. A port that was given back stays in it until old connections to
// it are purged.
type book struct {
	m map[bookKey]map[netip.Addr]*entry
}

// bookKey is what two bindings must share to be in each other's way.
type bookKey struct {
	proto bridged.Proto
	port  uint16
	ipv6  bool
}

// entry is a taken binding; drained is closed when one that was given back is free again, and nil before.
type entry struct{ drained chan struct{} }

func newBook() *book { return &book{m: make(map[bookKey]map[netip.Addr]*entry)} }

func keyOf(b bridged.Binding) bookKey {
	return bookKey{proto: b.Proto, port: b.HostPort, ipv6: !b.HostIP.Is4()}
}

// take takes all bindings or none. What is in the way comes back; when it is only draining, with the channel to wait for.
func (k *book) take(bindings []bridged.Binding) (other bridged.Binding, drained <-chan struct{}, ok bool) {
	for i, b := range bindings {
		for ip, e := range k.m[keyOf(b)] {
			if other := (bridged.Binding{HostIP: ip, Proto: b.Proto, HostPort: b.HostPort}); b.Overlaps(other) {
				k.free(bindings[:i])
				return other, e.drained, false
			}
		}
		if k.m[keyOf(b)] == nil {
			k.m[keyOf(b)] = make(map[netip.Addr]*entry)
		}
		k.m[keyOf(b)][b.HostIP] = new(entry)
	}
	return other, nil, true
}

// drain marks bindings as given back: nobody takes them before free.
func (k *book) drain(bindings []bridged.Binding) {
	for _, b := range bindings {
		if e := k.m[keyOf(b)][b.HostIP]; e != nil && e.drained == nil {
			e.drained = make(chan struct{})
		}
	}
}

// free gives bindings back.
func (k *book) free(bindings []bridged.Binding) {
	for _, b := range bindings {
		key := keyOf(b)
		if e := k.m[key][b.HostIP]; e != nil && e.drained != nil {
			close(e.drained)
		}
		delete(k.m[key], b.HostIP)
		if len(k.m[key]) == 0 {
			delete(k.m, key)
		}
	}
}
