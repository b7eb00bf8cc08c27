package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
)

// settle waits for what goes on behind the answers.
func (e *Engine) settle() {
	ctx := context.Background()
	_ = e.pairs.wait(ctx, every[pair])
	_ = e.purges.wait(ctx, every[purge])
	_ = e.fresh.wait(ctx, every[pair])
	_ = e.hails.wait(ctx, every[pair])
	_ = e.holds.wait(ctx, every[bridged.Binding])
	_ = e.stocks.wait(ctx, every[bridged.Binding])
}

// checkKernel holds the kernel against the state: what the whole state wants must be what the changes, one by one, led to.
func checkKernel(t testing.TB, e *Engine, h *fakeHost) {
	t.Helper()
	e.settle()
	e.mu.Lock()
	defer e.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	want := e.compiler().whole()
	if plan := diff(h.objects, want); len(plan) > 0 {
		t.Fatalf("the kernel differs from the state:\n%s", plan)
	}
	if plan := diff(want, h.objects); len(plan) > 0 {
		t.Fatalf("the state differs from the kernel:\n%s", plan)
	}
	if len(h.bound) != len(e.index.Ports) {
		t.Fatalf("%d host ports are reserved for %d published ones", len(h.bound), len(e.index.Ports))
	}
	made := 0
	for _, s := range e.index.Sandboxes {
		if s.Made {
			made++
		}
		if !s.Settled {
			t.Errorf("sandbox %s is left unsettled", s.Name)
		}
	}
	for id, s := range e.index.Sandboxes {
		if s.NSID != (bridged.NamespaceID{}) && e.index.namespaces[s.NSID] != id {
			t.Errorf("the namespace of sandbox %s is told to be %q's", s.Name, e.index.namespaces[s.NSID])
		}
	}
	for id, l := range e.index.Links {
		if l.Gone {
			t.Errorf("link %+v is left although it is gone", id)
		}
	}
	if len(h.spaces)-h.given != made {
		t.Fatalf("%d namespaces for %d sandboxes", len(h.spaces)-h.given, made)
	}
	taken := 0
	for _, addrs := range e.book.m {
		taken += len(addrs)
	}
	if taken != len(e.index.Ports) {
		t.Fatalf("%d ports are booked for %d published ones", taken, len(e.index.Ports))
	}
}

func specs(t testing.TB, specs ...string) []bridged.PortSpec {
	t.Helper()
	var all []bridged.PortSpec
	for _, s := range specs {
		p, err := bridged.ParsePortSpec(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p...)
	}
	return all
}

func TestAttachIsOneTransaction(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	if h.commits != 1 {
		t.Errorf("the first start took %d transactions, want 1", h.commits)
	}
	ctx := t.Context()
	transactions := func(what string, f func() error) {
		t.Helper()
		before := h.commits
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := h.commits - before; n != 1 {
			t.Errorf("%s took %d transactions, want 1", what, n)
		}
		checkKernel(t, e, h)
	}
	transactions("attach with ports", func() error {
		_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Ports: specs(t, "8080:80", "53:53/udp", "9000-9009:9000-9009")})
		return err
	})
	transactions("publish a range", func() error {
		_, _, err := e.AddPorts(ctx, "web", specs(t, "7000-7099:7000-7099"))
		return err
	})
	transactions("unpublish", func() error { return e.RemovePorts(ctx, "web", specs(t, "80", "7000-7099:7000-7099")) })
	transactions("create a network", func() error {
		_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "net", IPv6: true})
		return err
	})
	transactions("remove the network", func() error { return e.RemoveNetwork(ctx, "net") })
	transactions("detach", func() error { return e.RemoveSandbox(ctx, "web") })
}

func TestRestartWritesNothing(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	ctx := t.Context()
	for i := range 5 {
		_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: fmt.Sprintf("c%d", i), Ports: specs(t, fmt.Sprintf("%d:80", 8000+i))})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := e.RemoveSandbox(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	before := e.Sandboxes()
	stop()
	h.failNext(0)
	log, err := os.Stat(cfg.RunDir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	e, stop = startFake(t, cfg, h)
	defer stop()
	e.settle()
	if now, err := os.Stat(cfg.RunDir + "/log"); err != nil || !os.SameFile(log, now) || now.Size() != log.Size() || !now.ModTime().Equal(log.ModTime()) {
		t.Errorf("the restart wrote its log: %v, %v; it was %v", now, err, log)
	}
	h.mu.Lock()
	if reserved := len(e.index.Ports); h.steps != reserved {
		t.Errorf("the restart took %d steps, want only the %d reservations", h.steps, reserved)
	}
	h.mu.Unlock()
	if d := cmp.Diff(before, e.Sandboxes(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("sandboxes after the restart (-before +after):\n%s", d)
	}
	// c1's address is free, but it was given out: the next one is one that never was.
	info, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "c5"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Joined[0].Endpoint.IPv4.Addr().String(), "172.17.0.6"; got != want {
		t.Errorf("the next address is %s, want %s", got, want)
	}
	checkKernel(t, e, h)
}

// TestFailureLeavesNothing lets every step of every operation fail, one after the other.
func TestFailureLeavesNothing(t *testing.T) {
	operations := map[string]func(ctx context.Context, e *Engine) error{
		"create sandbox": func(ctx context.Context, e *Engine) error {
			_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "new", Ports: specs(t, "8081:81", "82/udp")})
			return err
		},
		"create network": func(ctx context.Context, e *Engine) error {
			_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "new", IPv6: true})
			return err
		},
		"remove network":          func(ctx context.Context, e *Engine) error { return e.RemoveNetwork(ctx, "empty") },
		"remove reserved network": func(ctx context.Context, e *Engine) error { return e.RemoveNetwork(ctx, "reserved") },
		"add ports": func(ctx context.Context, e *Engine) error {
			_, _, err := e.AddPorts(ctx, "web", specs(t, "9000-9001:90-91"))
			return err
		},
		"remove ports": func(ctx context.Context, e *Engine) error { return e.RemovePorts(ctx, "web", specs(t, "80")) },
		"add link": func(ctx context.Context, e *Engine) error {
			_, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "b", Child: "a", Ports: protoPorts(t, "22")})
			return err
		},
		"remove link":        func(ctx context.Context, e *Engine) error { return e.RemoveLink(ctx, "a", "b") },
		"join a lease":       func(ctx context.Context, e *Engine) error { _, _, err := e.JoinInterface(ctx, "lease"); return err },
		"leave a lease":      func(ctx context.Context, e *Engine) error { return e.LeaveInterface(ctx, "joined") },
		"release a lease":    func(ctx context.Context, e *Engine) error { return e.ReleaseInterface(ctx, "joined") },
		"disconnect a lease": func(ctx context.Context, e *Engine) error { return e.Disconnect(ctx, "bridge", "joined", true) },
		"name a lease":       func(ctx context.Context, e *Engine) error { return e.NameInterface(ctx, "joined", "web2") },
		"set a lease's ports": func(ctx context.Context, e *Engine) error {
			_, _, err := e.SetPorts(ctx, "joined", specs(t, "7001:81", "7002:82"))
			return err
		},
		"take a lease's ports": func(ctx context.Context, e *Engine) error { _, _, err := e.SetPorts(ctx, "joined", nil); return err },
		"publish more": func(ctx context.Context, e *Engine) error {
			_, _, err := e.AddPorts(ctx, "b", specs(t, "83"))
			return err
		},
	}
	for name, operation := range operations {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				h := newFakeHost()
				e, stop := startFake(t, testConfig(t), h)
				ctx := t.Context()
				if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Ports: specs(t, "8080:80")}); err != nil {
					t.Fatal(err)
				}
				if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "empty"}); err != nil {
					t.Fatal(err)
				}
				linkedPair(t, e)
				joinedPair(t, e)
				reservedNetwork(t, e)
				before := e.State()
				h.failNext(n)
				err := operation(ctx, e)
				if err == nil {
					stop()
					if n < 2 {
						t.Fatal("no step of the operation failed")
					}
					return // all steps had their turn
				}
				if !errors.Is(err, errFake) {
					t.Errorf("step %d: the error %q does not tell the cause", n, err)
				}
				checkKernel(t, e, h)
				if d := cmp.Diff(before, e.State(), cmp.AllowUnexported(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
					t.Errorf("step %d: the state changed (-before +after):\n%s", n, d)
				}
				stop()
			}
		})
	}
}

// TestRandomOperations walks at random; after each step the incremental path has led to what the whole state compiles to, and so it
// is after a restart.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			h, cfg := newFakeHost(), testConfig(t)
			if seed%2 == 1 {
				h.lacks = []hostcheck.FeatureName{hostcheck.NFTablesBridge}
			}
			e, stop := startFake(t, cfg, h)
			ctx := t.Context()
			pick := func(prefix string, n int) string { return fmt.Sprintf("%s%d", prefix, rnd.IntN(n)) }
			for range 300 {
				if rnd.IntN(5) == 0 {
					h.failNext(1 + rnd.IntN(8))
				} else {
					h.failNext(0)
				}
				switch rnd.IntN(19) {
				case 0, 1:
					network := ""
					if rnd.IntN(2) == 0 {
						network = pick("n", 3)
					}
					_, _ = e.CreateSandbox(ctx, bridged.SandboxSpec{Name: pick("c", 12), Network: network, Ports: specs(t, fmt.Sprintf("%d:80", 8000+rnd.IntN(30)))})
				case 2:
					_ = e.RemoveSandbox(ctx, pick("c", 12))
				case 3:
					_, _, _ = e.AddPorts(ctx, pick("c", 12), specs(t, fmt.Sprintf("%d:%d/udp", 9000+rnd.IntN(30), 1+rnd.IntN(20))))
				case 4:
					_ = e.RemovePorts(ctx, pick("c", 12), specs(t, "80"))
				case 5:
					_, _, _ = e.CreateNetwork(ctx, bridged.NetworkSpec{Name: pick("n", 3), IPv6: rnd.IntN(2) == 0, Internal: rnd.IntN(2) == 0,
						Options: map[string]string{bridged.OptionICC: fmt.Sprint(rnd.IntN(3) == 0)}})
				case 6:
					_ = e.RemoveNetwork(ctx, pick("n", 3))
				case 7:
					_, _ = e.CreateSandbox(ctx, bridged.SandboxSpec{Name: pick("c", 12), Network: "container:" + pick("c", 12)})
				case 8, 9:
					_, _ = e.AddLink(ctx, bridged.LinkSpec{Parent: pick("c", 12), Child: pick("c", 12)})
				case 10:
					_, _ = e.AddLink(ctx, bridged.LinkSpec{Parent: pick("c", 12), Child: pick("c", 12), Ports: protoPorts(t, "80", "53/udp")})
				case 11:
					for _, l := range e.State().Links {
						_ = e.RemoveLink(ctx, l.Parent, l.Child)
						break
					}
				case 12:
					randomAddressLink(ctx, e, rnd)
				case 13:
					_, _ = e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: pick("l", 6), Network: pick("n", 3)})
				case 14, 15:
					_, _, _ = e.JoinInterface(ctx, pick("l", 6))
				case 16:
					_, _, _ = e.SetPorts(ctx, pick("l", 6), randomPorts(t, rnd))
				case 17:
					leaseIsLeft(ctx, e, h, rnd, pick("l", 6))
				case 18:
					h.failNext(0)
					if rnd.IntN(4) == 0 {
						stop()
						e, stop = startFake(t, cfg, h)
					}
				}
				checkKernel(t, e, h)
			}
			stop()
		})
	}
}
