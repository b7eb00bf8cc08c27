package engine

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
)

func protoPorts(t testing.TB, texts ...string) []bridged.ProtoPort {
	t.Helper()
	var all []bridged.ProtoPort
	for _, text := range texts {
		p, err := bridged.ParseProtoPort(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// linkedPair makes the network "apart", without ICC, with the sandboxes a and b, and a link from a to b, which publishes a port.
func linkedPair(t testing.TB, e *Engine) {
	t.Helper()
	ctx := context.Background()
	_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "apart", IPv6: true, Options: map[string]string{bridged.OptionICC: "false"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, ports := range map[string][]bridged.PortSpec{"a": nil, "b": specs(t, "7080:80")} {
		if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, Network: "apart", Ports: ports}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "a", Child: "b"}); err != nil {
		t.Fatal(err)
	}
}

// randomAddressLink adds or removes a link between two addresses that somebody has.
func randomAddressLink(ctx context.Context, e *Engine, rnd *rand.Rand) {
	var addrs []netip.Addr
	for _, ep := range e.State().Endpoints {
		addrs = append(addrs, ep.Addrs()...)
	}
	if len(addrs) == 0 {
		return
	}
	action, ports := bridged.LinkAdd, []bridged.ProtoPort{{Proto: bridged.TCP, Port: uint16(80 + rnd.IntN(2))}}
	if rnd.IntN(3) == 0 {
		action = bridged.LinkRemove
	}
	if rnd.IntN(3) == 0 {
		ports = nil
	}
	_ = e.Link(ctx, action, addrs[rnd.IntN(len(addrs))], addrs[rnd.IntN(len(addrs))], ports)
}

// permitted are the links that the fake kernel lets pass, as "a -> b:80/tcp", once for both families, and the routes of sandboxes,
// as "a: b", by the names of their ends.
func permitted(t testing.TB, e *Engine, h *fakeHost) (flows, routes []string) {
	t.Helper()
	e.settle()
	e.mu.Lock()
	defer e.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	names, hosts := make(map[netip.Addr]string), make(map[string]string)
	for _, ep := range e.index.Endpoints {
		name := e.index.stackName(ep.Sandbox)
		hosts[ep.HostInterface] = name
		for _, a := range ep.Addrs() {
			names[a] = name
		}
	}
	for el := range h.objects.elements {
		if parent, child, port, ok := forwarding.ParseLink(el); ok {
			flows = append(flows, names[parent]+" -> "+names[child]+":"+port.String())
		}
	}
	for id, r := range h.objects.routes {
		if id.dst.Bits() == 0 {
			continue // the default route is no link's
		}
		if !r.gateway.IsValid() || r.gateway == id.dst.Addr() {
			t.Errorf("the route to %s has the gateway %s", id.dst, r.gateway)
		}
		routes = append(routes, hosts[id.host]+": "+names[id.dst.Addr()])
	}
	slices.Sort(flows)
	slices.Sort(routes)
	return slices.Compact(flows), slices.Compact(routes)
}

// TestLinkLife follows a link from its making to its end, through changes of the ports and of the other links between the two.
func TestLinkLife(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	defer func() { stop() }()
	ctx := t.Context()
	linkedPair(t, e)
	step := func(what string, transactions uint64, do func() error, flows, routes string) {
		t.Helper()
		before := h.commits
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := h.commits - before; n != transactions {
			t.Errorf("%s: %d transactions, want %d", what, n, transactions)
		}
		gotFlows, gotRoutes := permitted(t, e, h)
		if got := strings.Join(gotFlows, ", "); got != flows {
			t.Errorf("%s: it is permitted: %s; want %s", what, got, flows)
		}
		if got := strings.Join(gotRoutes, ", "); got != routes {
			t.Errorf("%s: there are routes %s; want %s", what, got, routes)
		}
		checkKernel(t, e, h)
	}
	const both = "a: b, b: a"
	nothing := func() error { return nil }
	restart := func() error {
		stop()
		h.failNext(0)
		e, stop = startFake(t, cfg, h)
		e.settle()
		if h.steps != len(e.index.Ports) {
			t.Errorf("the restart took %d steps, want only the reservations", h.steps)
		}
		return nil
	}
	step("a link", 0, nothing, "a -> b:80/tcp", both)
	step("publish", 1, func() error { _, _, err := e.AddPorts(ctx, "b", specs(t, "7053:53/udp")); return err }, "a -> b:53/udp, a -> b:80/tcp", both)
	step("publish the parent's", 1, func() error { _, _, err := e.AddPorts(ctx, "a", specs(t, "7000:70")); return err },
		"a -> b:53/udp, a -> b:80/tcp", both)
	step("unpublish", 1, func() error { return e.RemovePorts(ctx, "b", specs(t, "80")) }, "a -> b:53/udp", both)
	step("restart", 0, restart, "a -> b:53/udp", both)
	step("the other way", 1, func() error {
		_, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "b", Child: "a", Ports: protoPorts(t, "22", "22/tcp")})
		return err
	}, "a -> b:53/udp, b -> a:22/tcp", both)
	step("the one way gone", 1, func() error { return e.RemoveLink(ctx, "a", "b") }, "b -> a:22/tcp", both)
	step("the other way gone", 1, func() error { return e.RemoveLink(ctx, "b", "a") }, "", "")
	step("again", 1, func() error { _, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "a", Child: "b"}); return err }, "a -> b:53/udp", both)
	step("a third", 1, func() error {
		_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "c", Network: "apart"})
		return err
	}, "a -> b:53/udp", both)
	step("linked too", 1, func() error { _, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "c", Child: "b"}); return err },
		"a -> b:53/udp, c -> b:53/udp", "a: b, b: a, b: c, c: b")
	step("the child goes", 1, func() error { return e.RemoveSandbox(ctx, "b") }, "", "")
	if links, err := e.Links(""); err != nil || len(links) != 0 {
		t.Errorf("links are left: %+v, %v", links, err)
	}
}

// TestLinkWithICC: where all may talk to one another there is nothing to open, and no detour.
func TestLinkWithICC(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	for _, name := range []string{"a", "b"} {
		if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: name, Ports: specs(t, "80")}); err != nil {
			t.Fatal(err)
		}
	}
	l, err := e.AddLink(t.Context(), bridged.LinkSpec{Parent: "a", Child: "b", Alias: "db"})
	if err != nil || l.ParentName != "a" || l.ChildName != "b" || l.Alias != "db" {
		t.Fatalf("%+v, %v", l, err)
	}
	if flows, routes := permitted(t, e, h); len(flows)+len(routes) > 0 {
		t.Errorf("permitted: %v, routes: %v", flows, routes)
	}
	for _, name := range []string{"a", "b"} {
		if s, err := e.Sandbox(name); err != nil || len(s.Links) != 1 || s.Links[0].ChildName != "b" {
			t.Errorf("%s shows the links %+v, %v", name, s.Links, err)
		}
		if links, err := e.Links(name); err != nil || len(links) != 1 {
			t.Errorf("the links of %s: %+v, %v", name, links, err)
		}
	}
	checkKernel(t, e, h)
}

// TestICCSwitchedAtStart: a link opens what a restart without ICC closes, and a restart with ICC leaves nothing of it.
func TestICCSwitchedAtStart(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	for _, name := range []string{"a", "b"} {
		if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.AddLink(t.Context(), bridged.LinkSpec{Parent: "a", Child: "b", Ports: protoPorts(t, "80")}); err != nil {
		t.Fatal(err)
	}
	for _, icc := range []bool{false, true} {
		stop()
		cfg.ICC = icc
		e, stop = startFake(t, cfg, h)
		checkKernel(t, e, h)
		if flows, routes := permitted(t, e, h); len(flows) == 0 != icc || len(routes) == 0 != icc {
			t.Errorf("ICC %t: permitted: %v, routes: %v", icc, flows, routes)
		}
	}
	stop()
}

// TestLinkGoingAtStart: the daemon ended when a link was recorded as going and nothing of it was gone yet.
func TestLinkGoingAtStart(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	linkedPair(t, e)
	e.mu.Lock()
	a := e.index.sandboxNames["a"]
	c := bridged.Change{Links: e.index.going(a, every)}
	e.index.apply(c)
	err := e.record(c)
	e.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if links, _ := e.Links(""); len(links) != 0 {
		t.Errorf("a link that is gone is shown: %+v", links)
	}
	stop()
	h.purged = nil
	e, stop = startFake(t, cfg, h)
	defer stop()
	checkKernel(t, e, h)
	if flows, routes := permitted(t, e, h); len(flows)+len(routes) > 0 {
		t.Errorf("permitted: %v, routes: %v", flows, routes)
	}
	if len(h.purged) == 0 {
		t.Error("connections through the link go on")
	}
}

// TestLinkPurges: what goes takes its connections along, exactly.
func TestLinkPurges(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	linkedPair(t, e)
	a, _ := e.Sandbox("a")
	b, _ := e.Sandbox("b")
	if _, _, err := e.AddPorts(ctx, "b", specs(t, "7053:53/udp")); err != nil {
		t.Fatal(err)
	}
	e.settle()
	ended := func() []string {
		e.settle()
		h.mu.Lock()
		defer h.mu.Unlock()
		var all []string
		for _, f := range h.purged {
			if f.Source.IsValid() {
				all = append(all, f.Source.String()+">"+f.HostIP.String()+" "+bridged.ProtoPort{Proto: bridged.Proto(f.Proto), Port: f.HostPort}.String())
			}
		}
		h.purged = nil
		slices.Sort(all)
		return all
	}
	want := func(port string) []string {
		from, to := a.Joined[0].Endpoint, b.Joined[0].Endpoint
		both := []string{from.IPv4.Addr().String() + ">" + to.IPv4.Addr().String() + " " + port,
			from.IPv6.Addr().String() + ">" + to.IPv6.Addr().String() + " " + port}
		slices.Sort(both)
		return both
	}
	ended()
	if err := e.RemovePorts(ctx, "b", specs(t, "53/udp")); err != nil {
		t.Fatal(err)
	}
	if got := ended(); !slices.Equal(got, want("53/udp")) {
		t.Errorf("unpublishing ended %q, want %q", got, want("53/udp"))
	}
	if err := e.RemoveLink(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if got := ended(); !slices.Equal(got, want("80/tcp")) {
		t.Errorf("the link's end ended %q, want %q", got, want("80/tcp"))
	}
}

func TestLinkRefusals(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	linkedPair(t, e)
	for name, network := range map[string]string{"host": "host", "none": "none", "other": "", "sharing": "container:b"} {
		if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, Network: network}); err != nil {
			t.Fatal(err)
		}
	}
	before := e.State()
	for _, tt := range []struct {
		parent, child, alias, code, says string
	}{
		{"a", "a", "", "invalid", "itself"},
		{"a", "nobody", "", "not-found", "nobody"},
		{"nobody", "b", "", "not-found", "nobody"},
		{"a", "", "", "invalid", "no sandbox was named"},
		{"a", "b", "", "conflict", "already"},
		{"a", "host", "", "conflict", "host's network stack"},
		{"none", "b", "", "conflict", "in no network"},
		{"a", "sharing", "", "conflict", "network stack of b"},
		{"sharing", "b", "", "conflict", "network stack of b"},
		{"a", "other", "", "conflict", "no network in common"},
		{"b", "a", "not/a/name", "invalid", "alias"},
	} {
		_, err := e.AddLink(ctx, bridged.LinkSpec{Parent: tt.parent, Child: tt.child, Alias: tt.alias})
		if bridged.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s -> %s: %v; want %s that says %q", tt.parent, tt.child, err, tt.code, tt.says)
		}
	}
	for _, tt := range []struct{ parent, child, code, says string }{
		{"b", "a", "not-found", "b is not linked to a"},
		{"a", "nobody", "not-found", "nobody"},
		{"a", "a", "invalid", "itself"},
		{"a", "sharing", "conflict", "network stack of b"},
	} {
		err := e.RemoveLink(ctx, tt.parent, tt.child)
		if bridged.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("rm %s %s: %v; want %s that says %q", tt.parent, tt.child, err, tt.code, tt.says)
		}
	}
	if _, err := e.Links("nobody"); bridged.Code(err) != "not-found" {
		t.Errorf("links of nobody: %v", err)
	}
	if got := e.State(); len(got.Links) != len(before.Links) {
		t.Errorf("a refusal changed the links: %v", got.Links)
	}
	checkKernel(t, e, h)
}

// TestLinkOfSharedStack: a link belongs to the stack, and stays until its last user goes.
func TestLinkOfSharedStack(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	linkedPair(t, e)
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "user", Network: "container:b"}); err != nil {
		t.Fatal(err)
	}
	if err := e.RemoveSandbox(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	checkKernel(t, e, h)
	if flows, _ := permitted(t, e, h); !slices.Equal(flows, []string{"a -> user:80/tcp"}) {
		t.Errorf("permitted: %v", flows)
	}
	if s, _ := e.Sandbox("user"); len(s.Links) != 1 || s.Links[0].ChildName != "user" {
		t.Errorf("the user's links are %+v", s.Links)
	}
	if err := e.RemoveSandbox(ctx, "user"); err != nil {
		t.Fatal(err)
	}
	checkKernel(t, e, h)
	if links, _ := e.Links(""); len(links) != 0 {
		t.Errorf("links are left: %+v", links)
	}
}

// TestLinkWithoutFirewall: a link would be a promise that nobody keeps.
func TestLinkWithoutFirewall(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	for _, name := range []string{"a", "b"} {
		if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.AddLink(t.Context(), bridged.LinkSpec{Parent: "a", Child: "b"}); err != nil {
		t.Fatal(err)
	}
	err := (&Engine{cfg: Config{NoFirewall: true, FirewallFlag: "iptables"}, index: e.index}).checkFirewallOff()
	if bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "link a -> b") || !strings.Contains(err.Error(), "--iptables=false") {
		t.Errorf("taking the rules away: %v", err)
	}
	if err := e.RemoveLink(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	stop()
	cfg.NoFirewall, cfg.FirewallFlag = true, "iptables"
	e, stop = startFake(t, cfg, h)
	defer stop()
	_, added := e.AddLink(t.Context(), bridged.LinkSpec{Parent: "a", Child: "b"})
	handled := e.Link(t.Context(), bridged.LinkAdd, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("172.17.0.3"), nil)
	for _, err := range []error{added, handled} {
		if bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "--iptables=false") {
			t.Errorf("a link without a packet filter: %v", err)
		}
	}
}
