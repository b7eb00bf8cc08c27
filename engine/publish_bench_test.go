package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/benchtest"
	"github.com/bridged/bridged/internal/reserve"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// Host ports of benchmarks. Those that come and go are many: one that went is taken again when its connections are long purged.
const (
	firstLasting = 10001 // up to 50,000 of them
	firstPassing = 61000
	passing      = 4000
	floorPort    = 9999
)

// benchEngine runs an engine on the real kernel in a namespace of its own, with this many ports published, all of one sandbox.
func benchEngine(b *testing.B, published int) *Engine {
	b.Helper()
	return benchEngineIn(b, giveNamespace(b), published)
}

func benchEngineIn(b *testing.B, host string, published int) *Engine {
	b.Helper()
	e, err := openIn(b, host, Config{
		RunDir: runDir(b), StateDir: b.TempDir(), BridgeName: "docker0", ICC: true, IPMasq: true, IPForward: true,
		IP: netip.IPv4Unspecified(), Protection: "auto", Log: slog.New(slog.DiscardHandler),
	}, less{})
	if err != nil {
		b.Fatal(err)
	}
	e.host = &benchHost{e.host.(*machine), 0}
	_, stop := run(b, e)
	b.Cleanup(func() {
		for _, s := range e.Sandboxes() {
			if err := e.RemoveSandbox(context.Background(), s.ID); err != nil && !errors.Is(err, bridged.ErrNotFound) {
				b.Error(err) // it may have gone with its namespace already
			}
		}
		stop()
	})
	if _, err := e.CreateSandbox(b.Context(), bridged.SandboxSpec{Name: "bench", NetNS: giveNamespace(b)}); err != nil {
		b.Fatal(err)
	}
	const chunk = 1000
	for first := 0; first < published; first += chunk {
		var specs []bridged.PortSpec
		for p := first; p < min(first+chunk, published); p++ {
			specs = append(specs, onePort(uint16(firstLasting+p))...)
		}
		if _, _, err := e.AddPorts(b.Context(), e.Sandboxes()[0].Name, specs); err != nil {
			b.Fatal(err)
		}
	}
	return e
}

// runDir is on the tmpfs that the tests have at /run, as it is on any machine: a log is rewritten as fast as memory.
func runDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/run", "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// benchHost is the real host, but for reservations of lasting ports beyond what the usual limit of open files has room for.
type benchHost struct {
	*machine
	reserved int
}

const mostReserved = 12_000

func (h *benchHost) reserve(bindings []bridged.Binding) ([]io.Closer, error) {
	if bindings[0].HostPort < firstPassing {
		if h.reserved >= mostReserved {
			none := make([]io.Closer, len(bindings))
			for i := range none {
				none[i] = new(reserve.Socket)
			}
			return none, nil
		}
		h.reserved += len(bindings)
	}
	return h.machine.reserve(bindings)
}

// commit is a transaction that the engine knows nothing of.
func (h *benchHost) commit(tx *nft.Tx) error { return h.rules.Commit(context.Background(), tx) }

func onePort(host uint16) []bridged.PortSpec {
	return []bridged.PortSpec{{HostPort: bridged.PortRange{First: host, Last: host}, ContainerPort: host, Proto: bridged.TCP}}
}

// publisher publishes and unpublishes ports of one sandbox, and for comparison a port in package nft alone.
type publisher struct {
	e           *Engine
	sandbox     string
	round       int
	add, remove *nft.Tx
}

func newPublisher(e *Engine) *publisher {
	s := e.Sandboxes()[0]
	p := &publisher{e: e, sandbox: s.Name, add: nft.NewTx(e.program...), remove: nft.NewTx(e.program...)}
	port := bridged.Port{
		Binding:       bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: floorPort},
		ContainerPort: floorPort,
	}
	for _, element := range nat.Port(port, s.Joined[0].Endpoint) {
		p.add.Add(element)
		p.remove.Delete(element)
	}
	return p
}

func (p *publisher) next() { p.round++ }

func (p *publisher) port() []bridged.PortSpec { return onePort(uint16(firstPassing + p.round%passing)) }

func (p *publisher) publish() error {
	_, _, err := p.e.AddPorts(context.Background(), p.sandbox, p.port())
	return err
}

func (p *publisher) unpublish() error {
	return p.e.RemovePorts(context.Background(), p.sandbox, p.port())
}

func (p *publisher) floorPublish() error {
	return p.e.host.(*benchHost).commit(p.add)
}

func (p *publisher) floorUnpublish() error {
	return p.e.host.(*benchHost).commit(p.remove)
}

// BenchmarkPublish is a publish of one port in the engine, and its end: claims, reservation, state, record and kernel. The floor is the same
// transaction in package nft, whose own benchmark holds that against prebuilt messages. Mark: 15 times the floor.
func BenchmarkPublish(b *testing.B) {
	for _, published := range []int{0, 50_000} {
		b.Run(fmt.Sprintf("ports=%d", published), func(b *testing.B) {
			p := newPublisher(benchEngine(b, published))
			watch := benchtest.NewWatch("nft-publish", "publish", "nft-unpublish", "unpublish")
			b.ReportAllocs()
			for b.Loop() {
				p.next()
				benchtest.InTurn(func() {
					watch.Time(b, "nft-publish", p.floorPublish)
					watch.Time(b, "nft-unpublish", p.floorUnpublish)
				}, func() {
					watch.Time(b, "publish", p.publish)
					watch.Time(b, "unpublish", p.unpublish)
				})
			}
			p.e.settle()
			watch.Report(b)
			watch.Ratio(b, "publish", "nft-publish")
			watch.Ratio(b, "unpublish", "nft-unpublish")
		})
	}
}

// BenchmarkManyPorts publishes a port beside none and beside 50,000, in turn. Mark: 1.25.
func BenchmarkManyPorts(b *testing.B) {
	none, many := newPublisher(benchEngine(b, 0)), newPublisher(benchEngine(b, 50_000))
	watch := benchtest.NewWatch("publish-at-0", "publish-at-50k", "unpublish-at-0", "unpublish-at-50k")
	for b.Loop() {
		none.next()
		many.next()
		benchtest.InTurn(func() {
			watch.Time(b, "publish-at-0", none.publish)
			watch.Time(b, "unpublish-at-0", none.unpublish)
		}, func() {
			watch.Time(b, "publish-at-50k", many.publish)
			watch.Time(b, "unpublish-at-50k", many.unpublish)
		})
	}
	none.e.settle()
	many.e.settle()
	watch.Report(b)
	watch.Ratio(b, "publish-at-50k", "publish-at-0")
	watch.Ratio(b, "unpublish-at-50k", "unpublish-at-0")
}

// BenchmarkBulk publishes 10,000 ports of a sandbox in one request, and takes them back, in turn with the same transactions in package nft.
func BenchmarkBulk(b *testing.B) {
	const ports = 10_000
	e := benchEngine(b, 0)
	s := e.Sandboxes()[0]
	host := e.host.(*benchHost)
	add, remove := nft.NewTx(e.program...), nft.NewTx(e.program...)
	var all []bridged.PortSpec
	for i := range uint16(ports) {
		all = append(all, onePort(firstLasting+i)...)
		p := bridged.Port{
			Binding:       bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: firstLasting + ports + i},
			ContainerPort: firstLasting + i,
		}
		for _, element := range nat.Port(p, s.Joined[0].Endpoint) {
			add.Add(element)
			remove.Delete(element)
		}
	}
	ctx := context.Background()
	watch := benchtest.NewWatch("nft-publish", "publish", "nft-unpublish", "unpublish")
	b.ReportAllocs()
	for b.Loop() {
		benchtest.InTurn(func() {
			watch.Time(b, "nft-publish", func() error { return host.commit(add) })
			watch.Time(b, "nft-unpublish", func() error { return host.commit(remove) })
		}, func() {
			watch.Time(b, "publish", func() error { _, _, err := e.AddPorts(ctx, s.Name, all); return err })
			watch.Time(b, "unpublish", func() error { return e.RemovePorts(ctx, s.Name, all) })
		})
		e.settle()
	}
	watch.Report(b)
	watch.Ratio(b, "publish", "nft-publish")
	watch.Ratio(b, "unpublish", "nft-unpublish")
}

// BenchmarkCallers publishes and unpublishes ports of 32 sandboxes, now by one caller, now by 32 at once. Marks: 32 do at least twice as much
// in the same time, and their p99 is at most ten times their p50.
func BenchmarkCallers(b *testing.B) {
	const callers, each = 32, 64 // publications of a caller in a round
	e := benchEngine(b, 0)
	var names []string
	for i := range callers {
		s, err := e.CreateSandbox(b.Context(), bridged.SandboxSpec{Name: fmt.Sprintf("caller%d", i), NetNS: giveNamespace(b)})
		if err != nil {
			b.Fatal(err)
		}
		names = append(names, s.Name)
	}
	watch := benchtest.NewWatch("alone", "together")
	var took [2]time.Duration
	for b.Loop() {
		for way, atOnce := range []int{1, callers} {
			e.settle()
			latencies := make([][]time.Duration, callers)
			start := time.Now()
			var wg sync.WaitGroup
			slots := make(chan struct{}, atOnce)
			for c := range callers {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					latencies[c] = publishOften(b, e, names[c], uint16(firstLasting+c*each), each)
				})
			}
			wg.Wait()
			took[way] += time.Since(start)
			for _, l := range latencies {
				watch.Note([]string{"alone", "together"}[way], l...)
			}
		}
	}
	watch.Report(b)
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "throughput-x-alone")
	b.ReportMetric(float64(watch.Quantile("together", 0.99))/float64(watch.Quantile("together", 0.5)), "together-p99-x-p50")
	b.ReportMetric(float64(2*callers*each*b.N)/took[1].Seconds(), "together-ops/s")
}

// publishOften publishes n ports, one after the other, then takes each back, and tells how long each took.
func publishOften(b *testing.B, e *Engine, sandbox string, first uint16, n int) (took []time.Duration) {
	ctx := context.Background()
	for _, do := range []func([]bridged.PortSpec) error{
		func(p []bridged.PortSpec) error { _, _, err := e.AddPorts(ctx, sandbox, p); return err },
		func(p []bridged.PortSpec) error { return e.RemovePorts(ctx, sandbox, p) },
	} {
		for i := range n {
			p := onePort(first + uint16(i))
			start := time.Now()
			if err := do(p); err != nil {
				b.Error(err)
			}
			took = append(took, time.Since(start))
		}
	}
	return took
}
