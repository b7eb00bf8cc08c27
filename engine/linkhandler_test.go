package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged"
)

// TestLinkHandler: a link between two addresses, by whoever has them, port by port.
func TestLinkHandler(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	defer func() { stop() }()
	ctx := t.Context()
	linkedPair(t, e)
	if err := e.RemoveLink(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	lease, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "a key / of mine", Network: "apart"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "other"})
	if err != nil {
		t.Fatal(err)
	}
	addrs := func(name string) (v4, v6 netip.Addr) {
		s, err := e.Sandbox(name)
		if err != nil {
			t.Fatal(err)
		}
		return s.Joined[0].Endpoint.IPv4.Addr(), s.Joined[0].Endpoint.IPv6.Addr()
	}
	a4, a6 := addrs("a")
	b4, b6 := addrs("b")
	lease4 := lease.Endpoint.IPv4.Addr()
	for _, step := range []struct {
		action        bridged.LinkAction
		parent, child netip.Addr
		ports         string
		code, says    string // of the error
		flows, routes string
	}{
		{"add", a4, b4, "80 81", "", "", "a -> b:80/tcp, a -> b:81/tcp", "a: b, b: a"},
		{"add", a4, b4, "80 82/udp", "", "", "a -> b:80/tcp, a -> b:81/tcp, a -> b:82/udp", "a: b, b: a"},
		{"add", a4, b4, "81", "conflict", "already", "a -> b:80/tcp, a -> b:81/tcp, a -> b:82/udp", "a: b, b: a"},
		{"add", a4, b4, "", "conflict", "already", "a -> b:80/tcp, a -> b:81/tcp, a -> b:82/udp", "a: b, b: a"},
		{"remove", a4, b4, "83", "not-found", "not linked to port 83/tcp", "a -> b:80/tcp, a -> b:81/tcp, a -> b:82/udp", "a: b, b: a"},
		{"remove", a4, b4, "80 82/udp", "", "", "a -> b:81/tcp", "a: b, b: a"},
		{"remove", a6, b6, "", "not-found", "not linked", "a -> b:81/tcp", "a: b, b: a"},
		{"remove", a4, b4, "81", "", "", "", ""},
		{"remove", a4, b4, "", "not-found", "not linked", "", ""},
		{"add", a6, b6, "", "", "", "a -> b:80/tcp", "a: b, b: a"}, // what b publishes
		{"add", netip.AddrFrom16(lease4.As16()), a4, "22", "", "", "a -> b:80/tcp, a key / of mine -> a:22/tcp", "a: a key / of mine, a: b, b: a"},
		{"remove", a6, b6, "", "", "", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"toggle", a4, b4, "80", "invalid", "toggle", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"add", a4, b6, "80", "invalid", "one family", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"add", a4, netip.Addr{}, "80", "invalid", "one family", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"add", a4, a4, "80", "invalid", "itself", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"add", a4, b4.Next().Next().Next(), "80", "not-found", "nobody has", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"add", netip.MustParseAddr("192.0.2.1"), b4, "80", "not-found", "192.0.2.1", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
		{"add", a4, other.Endpoint.IPv4.Addr(), "80", "conflict", "different networks, apart and bridge", "a key / of mine -> a:22/tcp", "a: a key / of mine"},
	} {
		what := fmt.Sprintf("%s %s %s %s", step.action, step.parent, step.child, step.ports)
		err := e.Link(ctx, step.action, step.parent, step.child, protoPorts(t, strings.Fields(step.ports)...))
		if step.code == "" && err != nil || step.code != "" && (bridged.Code(err) != step.code || !strings.Contains(err.Error(), step.says)) {
			t.Errorf("%s: %v; want %s that says %q", what, err, step.code, step.says)
		}
		flows, routes := permitted(t, e, h)
		if got := strings.Join(flows, ", "); got != step.flows {
			t.Errorf("%s: it is permitted: %s; want %s", what, got, step.flows)
		}
		if got := strings.Join(routes, ", "); got != step.routes {
			t.Errorf("%s: there are routes %s; want %s", what, got, step.routes)
		}
		checkKernel(t, e, h)
	}
	stop()
	e, stop = startFake(t, cfg, h)
	checkKernel(t, e, h)
	if links, _ := e.Links("a"); len(links) != 1 || links[0].ParentName != "a key / of mine" || links[0].ParentIP != lease4 {
		t.Errorf("after a restart the links of a are %+v", links)
	}
	if err := e.ReleaseInterface(ctx, "a key / of mine"); err != nil {
		t.Fatal(err)
	}
	checkKernel(t, e, h)
	if flows, routes := permitted(t, e, h); len(flows)+len(routes) > 0 {
		t.Errorf("after the release: permitted: %v, routes: %v", flows, routes)
	}
}

// TestLinkEndsAllBetween: `link rm` takes what the handler made, too.
func TestLinkEndsAllBetween(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	linkedPair(t, e)
	a, _ := e.Sandbox("a")
	b, _ := e.Sandbox("b")
	from, to := a.Joined[0].Endpoint.IPv4.Addr(), b.Joined[0].Endpoint.IPv4.Addr()
	// The same port by two links, of which one goes.
	if err := e.Link(t.Context(), bridged.LinkAdd, from, to, protoPorts(t, "80", "90")); err != nil {
		t.Fatal(err)
	}
	if err := e.RemovePorts(t.Context(), "b", specs(t, "80")); err != nil {
		t.Fatal(err)
	}
	checkKernel(t, e, h)
	if flows, _ := permitted(t, e, h); !slices.Equal(flows, []string{"a -> b:80/tcp", "a -> b:90/tcp"}) {
		t.Errorf("permitted: %v", flows)
	}
	if err := e.RemoveLink(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	checkKernel(t, e, h)
	if flows, routes := permitted(t, e, h); len(flows)+len(routes) > 0 {
		t.Errorf("permitted: %v, routes: %v", flows, routes)
	}
}

// TestLinkFollowsNetworks: on each network that both are in, as endpoints come and go.
func TestLinkFollowsNetworks(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	linkedPair(t, e)
	_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "second", Options: map[string]string{bridged.OptionICC: "false"}})
	if err != nil {
		t.Fatal(err)
	}
	connect := func(name string) {
		t.Helper()
		if _, err := e.Connect(ctx, bridged.ConnectSpec{Network: "second", Sandbox: name}); err != nil {
			t.Fatal(err)
		}
		checkKernel(t, e, h)
	}
	disconnect := func(network, name string) {
		t.Helper()
		if err := e.Disconnect(ctx, network, name, false); err != nil {
			t.Fatal(err)
		}
		checkKernel(t, e, h)
	}
	routes := func(want int) {
		t.Helper()
		h.mu.Lock()
		defer h.mu.Unlock()
		var found []routeID
		for id := range h.objects.routes {
			if id.dst.IsSingleIP() {
				found = append(found, id)
			}
		}
		if len(found) != want {
			t.Errorf("%d routes, want %d: %v", len(found), want, found)
		}
	}
	routes(4) // to either, in both families
	connect("a")
	routes(4)
	connect("b")
	routes(6)                          // and in IPv4 on the second network
	for step := 1; step <= 2; step++ { // the commit, and b's route to a
		h.failNext(step)
		if err := e.Disconnect(ctx, "second", "a", false); err == nil {
			t.Fatalf("step %d did not fail", step)
		}
		checkKernel(t, e, h)
		routes(6)
	}
	h.failNext(0)
	disconnect("second", "a")
	routes(4)
	connect("a")
	routes(6)
	// The network that they met on first.
	for _, name := range []string{"a", "b"} {
		s, _ := e.Sandbox(name)
		disconnect(s.Joined[0].Network.Name, name)
	}
	routes(2)
	disconnect("second", "b")
	routes(0)
	if links, _ := e.Links(""); len(links) != 1 {
		t.Errorf("the link did not stay: %+v", links)
	}
	disconnect("second", "a")
}

// TestLinksConcurrently: what many clients do at once to sandboxes that are linked leads to what their state wants.
func TestLinksConcurrently(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := context.Background()
	_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "apart", Options: map[string]string{bridged.OptionICC: "false"}})
	if err != nil {
		t.Fatal(err)
	}
	const sandboxes, clients, steps = 4, 8, 150
	name := func(rnd *rand.Rand) string { return fmt.Sprintf("c%d", rnd.IntN(sandboxes)) }
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(client), 7))
			for range steps {
				switch rnd.IntN(8) {
				case 0, 1:
					_, _ = e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name(rnd), Network: "apart"})
				case 2:
					_ = e.RemoveSandbox(ctx, name(rnd))
				case 3, 4:
					_, _ = e.AddLink(ctx, bridged.LinkSpec{Parent: name(rnd), Child: name(rnd)})
				case 5:
					_ = e.RemoveLink(ctx, name(rnd), name(rnd))
				case 6:
					_, _, _ = e.AddPorts(ctx, name(rnd), []bridged.PortSpec{{ContainerPort: uint16(80 + rnd.IntN(4)), Proto: bridged.TCP}})
				case 7:
					_ = e.RemovePorts(ctx, name(rnd), []bridged.PortSpec{{ContainerPort: uint16(80 + rnd.IntN(4)), Proto: bridged.TCP}})
				}
			}
		})
	}
	all.Wait()
	checkKernel(t, e, h)
	for _, s := range e.Sandboxes() {
		if err := e.RemoveSandbox(ctx, s.Name); err != nil {
			t.Error(err)
		}
	}
	checkKernel(t, e, h)
	if len(h.objects.routes) > 0 {
		t.Errorf("routes are left: %v", h.objects.routes)
	}
}
