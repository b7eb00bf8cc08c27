package engine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
)

// TestSubnetInUse: a subnet that the host uses is refused with what is there, unless the user wants it so; one that another network has is refused always.
func TestSubnetInUse(t *testing.T) {
	h := newFakeHost()
	h.use = hostcheck.Taken{
		Nameservers: []netip.Addr{netip.MustParseAddr("10.1.0.53")},
		Routes:      []addr.Route{{Dst: netip.MustParsePrefix("10.2.0.0/15"), Link: 7}, {Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: 7}},
		Links:       map[int]string{7: "tun0"},
	}
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	allow := map[string]string{bridged.OptionAllowOverlap: "true"}
	for _, tt := range []struct {
		name, subnet string
		options      map[string]string
		refused      string // what the error says; "": it is made
		warns        string
	}{
		{name: "beside", subnet: "10.0.0.0/24"},
		{name: "server", subnet: "10.1.0.0/24", refused: "overlaps with nameserver 10.1.0.53"},
		{name: "route", subnet: "10.3.0.0/24", refused: "requested network 10.3.0.0/24 overlaps with route 10.2.0.0/15 dev tun0"},
		{name: "wanted", subnet: "10.3.0.0/24", options: allow, warns: "10.2.0.0/15 dev tun0"},
		{name: "server-wanted", subnet: "10.1.0.0/24", options: allow, warns: "10.1.0.53"},
		{name: "network", subnet: "10.0.0.0/16", refused: "overlaps with 10.0.0.0/24 of network beside"},
		{name: "network-wanted", subnet: "10.0.0.0/16", options: allow, refused: "overlaps with 10.0.0.0/24 of network beside"},
		{name: "pair", subnet: "10.9.0.0/31"},
	} {
		_, warnings, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: tt.name, Subnets: subnet(tt.subnet), Options: tt.options})
		switch {
		case tt.refused == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.refused != "" && (bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), tt.refused)):
			t.Errorf("%s: %v; want a conflict that says %q", tt.name, err, tt.refused)
		case tt.warns == "" && len(warnings) > 0 || !strings.Contains(strings.Join(warnings, "\n"), tt.warns):
			t.Errorf("%s warns %q, want %q in it", tt.name, warnings, tt.warns)
		}
	}
	// A network of two addresses: one is the gateway's.
	if info, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "one", Network: "pair"}); err != nil || info.Joined[0].Endpoint.IPv4.String() != "10.9.0.1/31" {
		t.Errorf("the other address of a /31: %+v, %v", info.Joined, err)
	}
	_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "two", Network: "pair"})
	if bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "network pair has no free address") {
		t.Errorf("a third one: %v", err)
	}
	checkKernel(t, e, h)
}

// TestKeptOverlap: what existed is kept by a start although the host uses its subnet now, with a warning and an event that name both.
func TestKeptOverlap(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	if _, _, err := e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "kept", Subnets: subnet("10.5.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	stop()
	h.use = hostcheck.Taken{Routes: []addr.Route{{Dst: netip.MustParsePrefix("10.0.0.0/8"), Link: 7}}, Links: map[int]string{7: "tun0"}}
	e, stop = startFake(t, cfg, h)
	defer stop()
	wantWarning(t, e, "network kept is kept as it was")
	for _, event := range kept(e) {
		if event.Action == "overlap" && event.Name == "kept" && event.Attributes["subnet"] == "10.5.0.0/24" &&
			strings.Contains(event.Attributes["reason"], "10.0.0.0/8 dev tun0") {
			checkKernel(t, e, h)
			return
		}
	}
	t.Errorf("no event of the overlap among %v", kept(e))
}

// TestHostUseIsFresh: routes of the host are listed when one came or went, and a route that leads away what is meant for a network is an event.
func TestHostUseIsFresh(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.start()
	await := followEvents(t, w.engine)
	ctx := t.Context()
	create := func(name string) error {
		_, _, err := w.engine.CreateNetwork(ctx, bridged.NetworkSpec{Name: name, Subnets: subnet("10.77.0.0/16")})
		return err
	}
	if err := create("n"); err != nil {
		t.Fatal(err)
	}
	w.host.run("ip route add 10.77.3.0/24 dev eth0")
	await(bridged.EventNetwork, "shadow", "n", "10.77.3.0/24 dev eth0")
	w.host.run("ip route add 10.77.0.0/16 dev eth0 metric 100")
	w.host.run("ip route add blackhole 10.77.4.0/24")
	await(bridged.EventNetwork, "shadow", "n", "blackhole 10.77.4.0/24")
	if err := w.engine.RemoveNetwork(ctx, "n"); err != nil {
		t.Fatal(err)
	}
	if err := create("n"); bridged.Code(err) != "conflict" || !strings.Contains(err.Error(), "10.77.") {
		t.Errorf("on routes that came: %v", err)
	}
	w.host.run("ip route del 10.77.3.0/24 dev eth0")
	w.host.run("ip route del 10.77.0.0/16 dev eth0 metric 100")
	w.host.run("ip route del blackhole 10.77.4.0/24")
	// What the kernel told in this order is known when the last of it is.
	if _, _, err := w.engine.CreateNetwork(ctx, bridged.NetworkSpec{Name: "m", Subnets: subnet("10.78.0.0/16")}); err != nil {
		t.Fatal(err)
	}
	w.host.run("ip route add 10.78.1.0/24 dev eth0")
	await(bridged.EventNetwork, "shadow", "m", "10.78.1.0/24 dev eth0")
	if err := create("n"); err != nil {
		t.Errorf("when the routes are gone: %v", err)
	}
	w.end()
}
