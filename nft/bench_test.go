package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/benchtest"
)

// benchTable has what a published port needs, in the sizes of the real program.
func benchTable() Table {
	return Table{ID: TableID{Inet, "bench"}, Sets: []Set{
		{Name: "publish4any", Key: []Type{TypeProto, TypePort}, Data: []Type{TypeIPv4, TypePort}, Size: 131072, Counter: true},
		{Name: "publish6any", Key: []Type{TypeProto, TypePort}, Data: []Type{TypeIPv6, TypePort}, Size: 131072, Counter: true},
	}}
}

// publication is the i-th published port: an element a family.
func publication(i int) [2]Element {
	key := Concat(Byte(6+byte(i>>16)), Port(uint16(i)))
	id := TableID{Inet, "bench"}
	return [2]Element{
		{Set: SetID{id, "publish4any"}, Key: key, Data: Concat(Addr(netip.AddrFrom4([4]byte{172, 17, byte(i >> 8), byte(i)})), Port(80))},
		{Set: SetID{id, "publish6any"}, Key: key, Data: Concat(Addr(netip.MustParseAddr("fd00::2")), Port(80))},
	}
}

// benchWriter is a writer in a namespace with n published ports.
func benchWriter(b *testing.B, n int) *Writer {
	b.Helper()
	newNamespace(b)
	w, err := Dial(Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Close() })
	tx := NewTx()
	tx.AddTable(benchTable())
	for i := range n {
		for _, e := range publication(i) {
			tx.Add(e)
		}
	}
	if err := w.Commit(context.Background(), tx); err != nil {
		b.Fatal(err)
	}
	return w
}

// floor is what a commit costs when nothing but the system calls is done: messages built before, a socket that lasts.
type floor struct {
	fd          int
	add, remove []byte
	answer      [4096]byte
}

// newFloor has messages that add and delete ports first to last.
func newFloor(b *testing.B, w *Writer, first, last int) *floor {
	b.Helper()
	f := &floor{fd: w.conn.socket.(*netlinkSocket).fd}
	for _, del := range []bool{false, true} {
		tx := NewTx()
		for port := first; port <= last; port++ {
			for _, e := range publication(port) {
				if del {
					tx.Delete(e)
				} else {
					tx.Add(e)
				}
			}
		}
		var m batch
		m.begin(1)
		if err := m.transaction(0, tx, 0); err != nil {
			b.Fatal(err)
		}
		m.finish()
		if del {
			f.remove = m.buf
		} else {
			f.add = m.buf
		}
	}
	return f
}

func (f *floor) send(message []byte) error {
	if _, err := unix.Write(f.fd, message); err != nil {
		return err
	}
	n, err := unix.Read(f.fd, f.answer[:])
	if err == nil && (n < 20 || binary.NativeEndian.Uint32(f.answer[16:]) != 0) {
		err = fmt.Errorf("the kernel answers %x", f.answer[:n])
	}
	return err
}

// publisher publishes and unpublishes one port for both families, by way of the writer and, for comparison, of the floor.
type publisher struct {
	w        *Writer
	floor    *floor
	tx       *Tx
	elements [2]Element
}

// newPublisher has a port beside n others, in a namespace of its own.
func newPublisher(b *testing.B, n int) *publisher {
	b.Helper()
	w := benchWriter(b, n)
	return &publisher{w: w, floor: newFloor(b, w, n, n), tx: NewTx(benchTable()), elements: publication(n)}
}

func (p *publisher) publish() error {
	p.tx.Reset()
	p.tx.Add(p.elements[0])
	p.tx.Add(p.elements[1])
	return p.w.Commit(context.Background(), p.tx)
}

func (p *publisher) unpublish() error {
	p.tx.Reset()
	p.tx.Delete(p.elements[0])
	p.tx.Delete(p.elements[1])
	return p.w.Commit(context.Background(), p.tx)
}

func (p *publisher) floorPublish() error   { return p.floor.send(p.floor.add) }
func (p *publisher) floorUnpublish() error { return p.floor.send(p.floor.remove) }

// BenchmarkPublish publishes and unpublishes a port for both families, in turn with the floor. Marks: 1.2 times the floor (p99: 2), no
// allocation.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 10_000, 50_000} {
		b.Run(fmt.Sprintf("ports=%d", n), func(b *testing.B) {
			p := newPublisher(b, n)
			watch := benchtest.NewWatch("floor-publish", "publish", "floor-unpublish", "unpublish")
			b.ReportAllocs()
			for b.Loop() {
				benchtest.InTurn(func() {
					watch.Time(b, "floor-publish", p.floorPublish)
					watch.Time(b, "floor-unpublish", p.floorUnpublish)
				}, func() {
					watch.Time(b, "publish", p.publish)
					watch.Time(b, "unpublish", p.unpublish)
				})
			}
			watch.Report(b)
			watch.Ratio(b, "publish", "floor-publish")
			watch.Ratio(b, "unpublish", "floor-unpublish")
		})
	}
}

// BenchmarkManyPorts publishes a port beside none and beside 50,000, in turn. Mark: 1.25.
func BenchmarkManyPorts(b *testing.B) {
	none, many := newPublisher(b, 0), newPublisher(b, 50_000)
	watch := benchtest.NewWatch("publish-at-0", "publish-at-50k", "unpublish-at-0", "unpublish-at-50k")
	for b.Loop() {
		benchtest.InTurn(func() {
			watch.Time(b, "publish-at-0", none.publish)
			watch.Time(b, "unpublish-at-0", none.unpublish)
		}, func() {
			watch.Time(b, "publish-at-50k", many.publish)
			watch.Time(b, "unpublish-at-50k", many.unpublish)
		})
	}
	watch.Report(b)
	watch.Ratio(b, "publish-at-50k", "publish-at-0")
	watch.Ratio(b, "unpublish-at-50k", "unpublish-at-0")
}

// BenchmarkCallers adds and deletes elements from several callers at once; an operation is one commit of one element.
func BenchmarkCallers(b *testing.B) {
	for _, callers := range []int{1, 8, 32, 128} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := benchWriter(b, 10_000)
			b.ReportAllocs()
			before := w.Transactions()
			latencies := make([][]time.Duration, callers)
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				wg.Go(func() { latencies[c] = commitOften(b, w, 20_000+c, b.N/callers+1) })
			}
			wg.Wait()
			b.StopTimer()
			all := slices.Concat(latencies...)
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(len(all))/float64(w.Transactions()-before), "commits/transaction")
		})
	}
}

// commitOften commits n times and tells how long each took.
func commitOften(b *testing.B, w *Writer, port, n int) []time.Duration {
	latencies := make([]time.Duration, 0, n)
	e := publication(port)[0]
	tx := NewTx()
	for i := range n {
		tx.Reset()
		if i%2 == 0 {
			tx.Add(e)
		} else {
			tx.Delete(e)
		}
		start := time.Now()
		if err := w.Commit(context.Background(), tx); err != nil {
			b.Error(err)
		}
		latencies = append(latencies, time.Since(start))
	}
	return latencies
}

// BenchmarkRefused commits what is there already: taking a transaction back waits for a grace period.
func BenchmarkRefused(b *testing.B) {
	w := benchWriter(b, 1)
	tx := NewTx()
	tx.Add(publication(0)[0])
	for b.Loop() {
		if err := w.Commit(context.Background(), tx); !errors.Is(err, unix.EEXIST) {
			b.Fatal(err)
		}
	}
}

// BenchmarkBulk publishes 10,000 ports, both families, in one transaction, and unpublishes them, in turn with the floor. Mark: 1.25.
func BenchmarkBulk(b *testing.B) {
	const ports = 10_000
	w := benchWriter(b, 0)
	f := newFloor(b, w, 0, ports-1)
	tx := NewTx()
	commit := func(change func(Element)) error {
		tx.Reset()
		for i := range ports {
			for _, e := range publication(i) {
				change(e)
			}
		}
		return w.Commit(context.Background(), tx)
	}
	watch := benchtest.NewWatch("floor-publish", "publish", "floor-unpublish", "unpublish")
	b.ReportAllocs()
	for b.Loop() {
		benchtest.InTurn(func() {
			watch.Time(b, "floor-publish", func() error { return f.send(f.add) })
			watch.Time(b, "floor-unpublish", func() error { return f.send(f.remove) })
		}, func() {
			watch.Time(b, "publish", func() error { return commit(tx.Add) })
			watch.Time(b, "unpublish", func() error { return commit(tx.Delete) })
		})
	}
	watch.Report(b)
	watch.Ratio(b, "publish", "floor-publish")
	watch.Ratio(b, "unpublish", "floor-unpublish")
}

// BenchmarkObserve reads 10,000 ports, both families.
func BenchmarkObserve(b *testing.B) {
	w := benchWriter(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		rs, err := w.Observe(context.Background(), benchTable().ID)
		if err != nil || len(rs.Elements) != 20_000 {
			b.Fatal(len(rs.Elements), err)
		}
	}
}

// BenchmarkDiff compares rulesets of 10,000 ports, both families, that differ in one.
func BenchmarkDiff(b *testing.B) {
	have, want := Ruleset{Elements: make(Elements)}, Ruleset{Elements: make(Elements)}
	for i := range 10_000 {
		for _, e := range publication(i) {
			have.Elements[e] = struct{}{}
			want.Elements[e] = struct{}{}
		}
	}
	want.Elements[publication(10_000)[0]] = struct{}{}
	b.ReportAllocs()
	for b.Loop() {
		if n := Diff(have, want).Len(); n != 1 {
			b.Fatal(n)
		}
	}
}
