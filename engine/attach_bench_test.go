package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/benchtest"
	"github.com/bridged/bridged/link"
)

// attachers is how many sandboxes are attached before all of them are detached, and the clock stops until the kernel has forgotten them.
const attachers = 32

// attacher attaches sandboxes with a port each, in namespaces that exist, and detaches them.
type attacher struct {
	e     *Engine
	specs []bridged.SandboxSpec
}

func newAttacher(b *testing.B, e *Engine) *attacher {
	b.Helper()
	a := &attacher{e: e}
	for i := range attachers {
		port := onePort(uint16(firstPassing + i))
		a.specs = append(a.specs, bridged.SandboxSpec{Name: fmt.Sprintf("web%d", i), NetNS: giveNamespace(b), Ports: port})
	}
	return a
}

func (a *attacher) attach(i int) error {
	_, err := a.e.CreateSandbox(context.Background(), a.specs[i])
	return err
}

func (a *attacher) detach(i int) error {
	return a.e.RemoveSandbox(context.Background(), a.specs[i].Name)
}

// kernelAttacher does only the kernel's part: what the plan of an attach does with links, addresses and routes.
type kernelAttacher struct {
	m     *machine
	pairs []pair
	names []string
}

func newKernelAttacher(b *testing.B, m *machine) *kernelAttacher {
	b.Helper()
	k := &kernelAttacher{m: m}
	for i := range attachers {
		p := pair{
			Pair: link.Pair{
				Host: fmt.Sprintf("bvkernel%d", i), Inner: "eth0", Bridge: "docker0",
				MAC: addr.MAC{2, 9, 9, byte(i)}, HostMAC: addr.MAC{0xfe, 9, 9, byte(i)}, MTU: 1500,
			},
			inner: link.Inner{
				Name:     "eth0",
				Addrs:    []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 17, 200, byte(i + 1)}), 16)},
				Gateways: []netip.Addr{netip.MustParseAddr("172.17.42.1")},
			},
			netns: giveNamespace(b),
		}
		var err error
		if p.nsid, err = m.namespace(p.netns, 0); err != nil {
			b.Fatal(err)
		}
		k.pairs, k.names = append(k.pairs, p), append(k.names, p.Host)
	}
	return k
}

func (k *kernelAttacher) attach(i int) error {
	return cmp.Or(k.m.addPair(k.pairs[i]), k.m.join(k.pairs[i]))
}

// BenchmarkAttach attaches a sandbox with a port, in a namespace that exists, and detaches it, as the caller sees it. The floor is two prebuilt
// datagrams; in between is the kernel's part alone. Marks: the kernel's part 1.2 times the floor, a detach half of an attach.
func BenchmarkAttach(b *testing.B) {
	host := giveNamespace(b)
	e := benchEngineIn(b, host, 0)
	m := e.host.(*benchHost).machine
	bridge, err := m.links.ByName("docker0")
	if err != nil {
		b.Fatal(err)
	}
	floor := benchtest.NewAttach(b, m.ns.Do, bridge.Index, "floor", attachers)
	kernel, whole := newKernelAttacher(b, m), newAttacher(b, e)
	watch := benchtest.NewWatch("floor", "kernel", "attach", "detach")
	b.ReportAllocs()
	for b.Loop() {
		floor.Prepare()
		for i := range attachers {
			benchtest.InTurn(
				func() { watch.Time(b, "floor", func() error { return floor.Attach(i) }) },
				func() { watch.Time(b, "kernel", func() error { return kernel.attach(i) }) },
				func() { watch.Time(b, "attach", func() error { return whole.attach(i) }) },
			)
		}
		e.settle()
		for i := range attachers {
			watch.Time(b, "detach", func() error { return whole.detach(i) })
		}
		if err := cmp.Or(m.links.Delete(floor.Names()...), m.links.Delete(kernel.names...)); err != nil {
			b.Fatal(err)
		}
		e.settle()
	}
	watch.Report(b)
	watch.Ratio(b, "kernel", "floor")
	watch.Ratio(b, "attach", "floor")
	watch.Ratio(b, "detach", "attach")
}

// BenchmarkManyEndpoints attaches beside none and beside 5,000 endpoints, in turn: a thousand sandboxes, each in five networks, as a bridge has
// no more than 1,023 ports. Mark: 1.5.
func BenchmarkManyEndpoints(b *testing.B) {
	none, many := newAttacher(b, benchEngine(b, 0)), newAttacher(b, benchEngine(b, 0))
	crowd(b, many.e)
	watch := benchtest.NewWatch("attach-at-0", "attach-at-5k", "detach-at-0", "detach-at-5k")
	for b.Loop() {
		for i := range attachers {
			benchtest.InTurn(
				func() { watch.Time(b, "attach-at-0", func() error { return none.attach(i) }) },
				func() { watch.Time(b, "attach-at-5k", func() error { return many.attach(i) }) },
			)
		}
		for i := range attachers {
			benchtest.InTurn(
				func() { watch.Time(b, "detach-at-0", func() error { return none.detach(i) }) },
				func() { watch.Time(b, "detach-at-5k", func() error { return many.detach(i) }) },
			)
		}
		none.e.settle()
		many.e.settle()
	}
	watch.Report(b)
	watch.Ratio(b, "attach-at-5k", "attach-at-0")
	watch.Ratio(b, "detach-at-5k", "detach-at-0")
}

// crowd makes a thousand sandboxes with five endpoints each.
func crowd(b *testing.B, e *Engine) {
	b.Helper()
	const sandboxes, networks = 1000, 5
	ctx := context.Background()
	for n := range networks {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + n), 0, 0}), 16)
		spec := bridged.NetworkSpec{Name: fmt.Sprintf("crowd%d", n), Subnets: []bridged.Subnet{{Prefix: subnet}}}
		if _, _, err := e.CreateNetwork(ctx, spec); err != nil {
			b.Fatal(err)
		}
	}
	for i := range sandboxes {
		name := fmt.Sprintf("c%d", i)
		if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, NetNS: giveNamespace(b), Network: "crowd0"}); err != nil {
			b.Fatal(err)
		}
		for n := 1; n < networks; n++ {
			if _, err := e.Connect(ctx, bridged.ConnectSpec{Sandbox: name, Network: fmt.Sprintf("crowd%d", n)}); err != nil {
				b.Fatal(err)
			}
		}
	}
	e.settle()
}
