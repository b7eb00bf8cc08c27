package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/store"
)

// benchEngine runs an engine on the real kernel in a namespace of its own, with this many ports published.
func benchEngine(b *testing.B, published int) *Engine {
	b.Helper()
	e := startReal(b, Config{
		RunDir: b.TempDir(), StateDir: b.TempDir(), BridgeName: "docker0", ICC: true, IPMasq: true, IPForward: true,
		IP: netip.IPv4Unspecified(), Protection: "auto", Log: slog.New(slog.DiscardHandler),
	})
	if _, err := e.CreateSandbox(b.Context(), bridged.SandboxSpec{Name: "bench" + bridged.NewID()[:8]}); err != nil {
		b.Fatal(err)
	}
	const chunk = 1000
	for first := 0; first < published; first += chunk {
		last := min(first+chunk, published) - 1
		specs := make([]bridged.PortSpec, 0, chunk)
		for p := first; p <= last; p++ {
			host := uint16(20000 + p)
			specs = append(specs, bridged.PortSpec{
				HostPort: bridged.PortRange{First: host, Last: host}, ContainerPort: host, Proto: bridged.TCP,
			})
		}
		if _, _, err := e.AddPorts(b.Context(), e.Sandboxes()[0].Name, specs); err != nil {
			b.Fatal(err)
		}
	}
	return e
}

// BenchmarkPublish is a publish and an unpublish of one port in the engine: state, claims, reservation, record and kernel.
func BenchmarkPublish(b *testing.B) {
	for _, published := range []int{0, 10000} {
		b.Run(fmt.Sprintf("ports=%d", published), func(b *testing.B) {
			e := benchEngine(b, published)
			name := e.Sandboxes()[0].Name
			spec := []bridged.PortSpec{{HostPort: bridged.PortRange{First: 10000, Last: 10000}, ContainerPort: 80, Proto: bridged.TCP}}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := e.AddPorts(ctx, name, spec); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := e.RemovePorts(ctx, name, spec); err != nil {
					b.Fatal(err)
				}
				e.settle()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkAttach is a sandbox with one port in a namespace that exists; the detach is not timed.
func BenchmarkAttach(b *testing.B) {
	for _, published := range []int{0, 10000} {
		b.Run(fmt.Sprintf("ports=%d", published), func(b *testing.B) {
			e := benchEngine(b, published)
			ns := giveNamespace(b)
			spec := bridged.SandboxSpec{
				Name: "web", NetNS: ns,
				Ports: []bridged.PortSpec{{HostPort: bridged.PortRange{First: 10000, Last: 10000}, ContainerPort: 80, Proto: bridged.TCP}},
			}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.CreateSandbox(ctx, spec); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := e.RemoveSandbox(ctx, "web"); err != nil {
					b.Fatal(err)
				}
				e.settle()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkResolve is the memory's share of a publish: state, claims and record, without the kernel.
func BenchmarkResolve(b *testing.B) {
	h, cfg := newFakeHost(), testConfig(b)
	e := newEngine(cfg)
	var err error
	if e.store, err = store.Open(store.Dirs{Run: cfg.RunDir, State: cfg.StateDir}, e.index.apply); err != nil {
		b.Fatal(err)
	}
	defer e.store.Close()
	e.host = h
	if err := e.start(context.Background()); err != nil {
		b.Fatal(err)
	}
	n := e.index.Networks[e.index.networkNames["bridge"]]
	s := bridged.Sandbox{ID: bridged.NewID(), Name: "web", Settled: true}
	ep, err := e.index.newEndpoint(n, bridged.InterfaceSpec{ID: s.ID})
	if err != nil {
		b.Fatal(err)
	}
	e.index.apply(bridged.Change{
		Sandboxes: map[string]*bridged.Sandbox{s.ID: &s},
		Endpoints: map[string]*bridged.Endpoint{ep.ID: &ep},
	})
	p := bridged.Port{Binding: bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: 8080}, Sandbox: s.ID, Endpoint: ep.ID, ContainerPort: 80}
	b.ReportAllocs()
	for b.Loop() {
		for _, v := range []*bridged.Port{&p, nil} {
			c := bridged.Change{Ports: map[bridged.Binding]*bridged.Port{p.Binding: v}}
			if _, _, _, err := e.resolve(func(*index) (bridged.Change, error) { return c, nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
}
