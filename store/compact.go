package store

import (
	"bufio"
	"bytes"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/bridged/bridged"
)

// chunk is how many objects one record of a compacted log holds at most, so that no line gets very long.
const chunk = 1000

// compact replaces the log atomically by one that says whole.
func (l *runLog) compact(whole bridged.Change) error {
	head := l.head
	head.Incomplete = false
	err := l.rewrite(func(w io.Writer) error {
		bw := bufio.NewWriterSize(w, 1<<16)
		var b bytes.Buffer
		if err := appendRecord(&b, head); err != nil {
			return err
		}
		for c := range split(whole) {
			if err := appendRecord(&b, c); err != nil {
				return err
			}
			bw.Write(b.Bytes()) // an error stays until Flush
			b.Reset()
		}
		bw.Write(b.Bytes()) // the header of a log without records
		return bw.Flush()
	})
	if err == nil {
		l.head = head
	}
	return err
}

// split cuts a change into such that hold one kind of object and at most chunk of them: first what others refer to.
func split(c bridged.Change) iter.Seq[bridged.Change] {
	return func(yield func(bridged.Change) bool) {
		if c.Forwarding != nil && !yield(bridged.Change{Forwarding: c.Forwarding}) {
			return
		}
		_ = splitMap(c.Networks, func(m map[string]*bridged.Network) bool { return yield(bridged.Change{Networks: m}) }) &&
			splitMap(c.Reservations, func(m map[string]*bridged.Reservation) bool { return yield(bridged.Change{Reservations: m}) }) &&
			splitMap(c.Reserved, func(m map[bridged.PoolAddr]*bridged.Reserved) bool { return yield(bridged.Change{Reserved: m}) }) &&
			splitMap(c.Pools, func(m map[bridged.PoolID]*bridged.Pool) bool { return yield(bridged.Change{Pools: m}) }) &&
			splitMap(c.Sandboxes, func(m map[string]*bridged.Sandbox) bool { return yield(bridged.Change{Sandboxes: m}) }) &&
			splitMap(c.Endpoints, func(m map[string]*bridged.Endpoint) bool { return yield(bridged.Change{Endpoints: m}) }) &&
			splitMap(c.Ports, func(m map[bridged.Binding]*bridged.Port) bool { return yield(bridged.Change{Ports: m}) }) &&
			splitMap(c.Links, func(m map[bridged.LinkID]*bridged.Link) bool { return yield(bridged.Change{Links: m}) })
	}
}

// splitMap yields m in parts; false: the receiver wants no more.
func splitMap[K comparable, V any](m map[K]*V, yield func(map[K]*V) bool) bool {
	for keys := range slices.Chunk(slices.Collect(maps.Keys(m)), chunk) {
		part := make(map[K]*V, len(keys))
		for _, k := range keys {
			part[k] = m[k]
		}
		if !yield(part) {
			return false
		}
	}
	return true
}
