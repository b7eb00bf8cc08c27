package ipam

import (
	"container/list"
	"net/netip"
)

// queue holds addresses in the order they came, none twice; each operation but all takes constant time.
type queue struct {
	order *list.List // of netip.Addr
	at    map[netip.Addr]*list.Element
}

func newQueue() queue { return queue{order: list.New(), at: make(map[netip.Addr]*list.Element)} }

func (q queue) len() int { return len(q.at) }

func (q queue) has(a netip.Addr) bool {
	_, ok := q.at[a]
	return ok
}

// push appends a; one that is there keeps its place.
func (q queue) push(a netip.Addr) {
	if !q.has(a) {
		q.at[a] = q.order.PushBack(a)
	}
}

// pop removes the first; the queue must not be empty.
func (q queue) pop() netip.Addr {
	a := q.order.Front().Value.(netip.Addr)
	q.remove(a)
	return a
}

// remove takes a out, if it is there.
func (q queue) remove(a netip.Addr) {
	if e, ok := q.at[a]; ok {
		q.order.Remove(e)
		delete(q.at, a)
	}
}

// all are the addresses, the first first; nil when there are none.
func (q queue) all() []netip.Addr {
	if q.len() == 0 {
		return nil
	}
	s := make([]netip.Addr, 0, q.len())
	for e := q.order.Front(); e != nil; e = e.Next() {
		s = append(s, e.Value.(netip.Addr))
	}
	return s
}
