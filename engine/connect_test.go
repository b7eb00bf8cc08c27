package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
)

// ways are a sandbox's interfaces with their networks, in the order of joining, its default routes, and where its ports lead.
func ways(t testing.TB, e *Engine, h *fakeHost, name string) (interfaces, routes, ports []string) {
	t.Helper()
	s, err := e.Sandbox(name)
	if err != nil {
		t.Fatal(err)
	}
	networks := make(map[string]string) // by endpoint and by host end
	for _, j := range s.Joined {
		interfaces = append(interfaces, j.Endpoint.Interface+" "+j.Network.Name)
		networks[j.Endpoint.ID], networks[j.Endpoint.HostInterface] = j.Network.Name, j.Network.Name
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, r := range h.objects.routes {
		if network, ours := networks[id.host]; ours && id.dst.Bits() == 0 {
			routes = append(routes, fmt.Sprintf("%s %s", network, r.gateway))
		}
	}
	for _, p := range s.Ports {
		ports = append(ports, fmt.Sprintf("%s %s", p.Binding, networks[p.Endpoint]))
	}
	slices.Sort(routes)
	return interfaces, routes, ports
}

// TestConnectMovesTheGateway: the default route and the ports are with the gateway, wherever it moves, and each step is one transaction.
func TestConnectMovesTheGateway(t *testing.T) {
	ctx := context.Background()
	h := newFakeHost()
	cfg := testConfig(t)
	e, stop := startFake(t, cfg, h)
	defer func() { stop() }()
	for _, n := range []bridged.NetworkSpec{
		{Name: "m", Subnets: subnet("10.1.0.0/24")},
		{Name: "a", Subnets: subnet("10.2.0.0/24")},
		{Name: "z", Subnets: subnet("10.3.0.0/24"), IPv6: true, Options: map[string]string{bridged.OptionInterfacePrefix: "net"}},
		{Name: "inner", Subnets: subnet("10.4.0.0/24"), Internal: true},
	} {
		if _, _, err := e.CreateNetwork(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Network: "m", Ports: specs(t, "8080:80", "8081:81/udp")}); err != nil {
		t.Fatal(err)
	}
	type look struct{ Interfaces, Routes, Ports []string }
	on := func(network string) []string {
		return []string{strings.TrimSuffix("0.0.0.0:8080/tcp "+network, ""), "0.0.0.0:8081/udp " + network}
	}
	connect := func(network string, priority int) func() error {
		return func() error {
			_, err := e.Connect(ctx, bridged.ConnectSpec{Network: network, Sandbox: "web", Priority: priority})
			return err
		}
	}
	disconnect := func(network string) func() error {
		return func() error { return e.Disconnect(ctx, network, "web", false) }
	}
	for _, step := range []struct {
		name string
		do   func() error
		want look
	}{
		{"at first", func() error { return nil }, look{[]string{"eth0 m"}, []string{"m 10.1.0.1"}, on("m")}},
		{"a later name", connect("z", 0), look{[]string{"eth0 m", "net0 z"}, []string{"m 10.1.0.1", "z " + gateway6(t, e, "z")}, on("m")}},
		{"an internal one", connect("inner", 9), look{[]string{"eth0 m", "net0 z", "eth1 inner"}, []string{"m 10.1.0.1", "z " + gateway6(t, e, "z")}, on("m")}},
		{"an earlier name", connect("a", 0), look{[]string{"eth0 m", "net0 z", "eth1 inner", "eth2 a"}, []string{"a 10.2.0.1", "z " + gateway6(t, e, "z")}, on("a")}},
		{"without m", disconnect("m"), look{[]string{"net0 z", "eth1 inner", "eth2 a"}, []string{"a 10.2.0.1", "z " + gateway6(t, e, "z")}, on("a")}},
		{"a higher priority", connect("m", 1), look{[]string{"net0 z", "eth1 inner", "eth2 a", "eth0 m"}, []string{"m 10.1.0.1", "z " + gateway6(t, e, "z")}, on("m")}},
		{"without it again", disconnect("m"), look{[]string{"net0 z", "eth1 inner", "eth2 a"}, []string{"a 10.2.0.1", "z " + gateway6(t, e, "z")}, on("a")}},
		{"without a", disconnect("a"), look{[]string{"net0 z", "eth1 inner"}, []string{"z 10.3.0.1", "z " + gateway6(t, e, "z")}, on("z")}},
		{"only internal", disconnect("z"), look{[]string{"eth1 inner"}, nil, on("inner")}},
		{"nowhere", disconnect("inner"), look{nil, nil, on("")}},
		{"back", connect("m", 0), look{[]string{"eth0 m"}, []string{"m 10.1.0.1"}, on("m")}},
	} {
		commits := h.commits
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if n := h.commits - commits; n > 1 {
			t.Errorf("%s: it took %d transactions", step.name, n)
		}
		var got look
		got.Interfaces, got.Routes, got.Ports = ways(t, e, h, "web")
		if d := cmp.Diff(step.want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", step.name, d)
		}
		checkKernel(t, e, h)
	}
	before := h.steps
	interfaces, _, _ := ways(t, e, h, "web")
	stop()
	e, stop = startFake(t, cfg, h)
	e.settle() // they are held behind the readiness
	if n := h.steps - before; n != len(e.State().Ports) {
		t.Errorf("a restart made %d steps, want only its reservations", n)
	}
	if again, _, _ := ways(t, e, h, "web"); !slices.Equal(again, interfaces) {
		t.Errorf("after a restart the interfaces are %v, want %v", again, interfaces)
	}
}

func subnet(prefix string) []bridged.Subnet {
	return []bridged.Subnet{{Prefix: netip.MustParsePrefix(prefix)}}
}

func gateway6(t testing.TB, e *Engine, network string) string {
	t.Helper()
	n, err := e.Network(network)
	if err != nil {
		t.Fatal(err)
	}
	return n.IPv6.Gateway.String()
}

// TestConnectRefusals: each with its kind, and nothing changes.
func TestConnectRefusals(t *testing.T) {
	ctx := context.Background()
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "blue", Subnets: subnet("10.1.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []bridged.SandboxSpec{
		{Name: "web"}, {Name: "side", Network: "container:web"}, {Name: "hosted", Network: "host"}, {Name: "none", Network: "none"}, {Name: "db", Network: "blue"},
	} {
		if _, err := e.CreateSandbox(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	db, err := e.Sandbox("db")
	if err != nil {
		t.Fatal(err)
	}
	taken := db.Joined[0].Endpoint
	state := e.State()
	for _, tt := range []struct {
		spec bridged.ConnectSpec
		code string
		says string
	}{
		{bridged.ConnectSpec{Network: "bridge", Sandbox: "web"}, "conflict", "sandbox web already connected to network bridge"},
		{bridged.ConnectSpec{Network: "red", Sandbox: "web"}, "not-found", "network red not found"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "wob"}, "not-found", "sandbox wob not found"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "side"}, "conflict", "web"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "hosted"}, "conflict", "host's network stack"},
		{bridged.ConnectSpec{Network: "host", Sandbox: "web"}, "invalid", "network host"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "web", IPv4: taken.IPv4.Addr()}, "conflict", taken.IPv4.Addr().String()},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "web", IPv4: netip.MustParseAddr("10.9.0.1")}, "invalid", "10.9.0.1"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "web", MAC: taken.MAC}, "conflict", taken.MAC.String()},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "web", Aliases: []string{"a b"}}, "invalid", "alias"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "web", Options: map[string]string{bridged.OptionInterface: "eth0"}}, "conflict", "eth0"},
		{bridged.ConnectSpec{Network: "blue", Sandbox: "web", Options: map[string]string{"bridged.nosuch": "1"}}, "invalid", "bridged.nosuch"},
	} {
		_, err := e.Connect(ctx, tt.spec)
		if bridged.Code(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("connecting %+v: %v; want %s that says %q", tt.spec, err, tt.code, tt.says)
		}
	}
	for _, tt := range []struct{ network, sandbox, code string }{
		{"blue", "web", "not-found"}, {"red", "web", "not-found"}, {"blue", "wob", "not-found"}, {"bridge", "side", "conflict"}, {"host", "hosted", "conflict"},
	} {
		if err := e.Disconnect(ctx, tt.network, tt.sandbox, false); bridged.Code(err) != tt.code {
			t.Errorf("disconnecting %s from %s: %v; want %s", tt.sandbox, tt.network, err, tt.code)
		}
	}
	if d := cmp.Diff(state, e.State(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("what was refused changed something:\n%s", d)
	}
	if _, err := e.Connect(ctx, bridged.ConnectSpec{Network: "blue", Sandbox: "none", Options: map[string]string{bridged.OptionInterface: "lan"}}); err != nil {
		t.Error(err)
	}
	checkKernel(t, e, h)
	if err := e.RemoveNetwork(ctx, "blue"); bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "db, none") {
		t.Errorf("removing a network in use: %v", err)
	}
}
