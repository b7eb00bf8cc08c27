package engine

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/store"
)

// interleave runs ours and the floor under it in turn, and reports both and their ratio; clean-up after each is not timed.
func interleave(b *testing.B, floor, ours, cleanUp func() error) {
	b.Helper()
	var below, total time.Duration
	b.ReportAllocs()
	for b.Loop() {
		for _, part := range []struct {
			run  func() error
			time *time.Duration
		}{{floor, &below}, {ours, &total}} {
			start := time.Now()
			err := part.run()
			*part.time += time.Since(start)
			if err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := cleanUp(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(below.Nanoseconds())/float64(b.N), "floor-ns")
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "engine-ns")
	b.ReportMetric(float64(total)/float64(below), "x-floor")
	b.ReportMetric(0, "ns/op")
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
			if _, err := e.begin(func(*index) (bridged.Change, error) { return c, nil }); err != nil {
				b.Fatal(err)
			}
		}
	}
}
