package test

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// The harness itself: a flow that works is seen to work, one that is dropped is seen to be dropped, and a proof of absence
// fails where the flow is there.
func TestHarness(t *testing.T) {
	w := newWorld(t)
	w.host.Sysctl(t, "net/ipv4/ip_forward", "1")
	w.host.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	flowtest.Serve(t, w.far, 80, 81)
	flowtest.Serve(t, w.lan, 80)
	for _, far := range []netip.Addr{far4, far6} {
		for _, proto := range []string{"tcp", "udp"} {
			to := netip.AddrPortFrom(far, 80)
			ctl := flowtest.Via(w.lan, netip.AddrPortFrom(far, 81))
			if a := flowtest.Reaches(t, w.lan, proto, to, "far"); a.Source.Addr() != lan4 && a.Source.Addr() != lan6 {
				t.Errorf("far saw %s", a.Source)
			}
			if !failsIn(func(t testing.TB) { flowtest.Lost(t, w.lan, proto, to, w.far, 80, ctl) }) {
				t.Errorf("a %s flow to %s that arrives counts as lost", proto, far)
			}
			w.host.Input(t, "table inet x { chain f { type filter hook forward priority 0; "+proto+" dport 80 drop; }; }",
				"nft", "-f", "-")
			flowtest.Lost(t, w.lan, proto, to, w.far, 80, ctl)
			w.host.Output(t, "nft", "delete", "table", "inet", "x")
		}
	}
}

// failsIn reports whether f fails the test that it is given.
func failsIn(f func(testing.TB)) bool {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	r.end()
	return r.failed
}

// A transaction is counted once, with what it changes.
func TestHarnessGenerations(t *testing.T) {
	w := newWorld(t)
	g := w.generations()
	w.host.Input(t, "add table inet x\nadd set inet x s { type ifname; }\nadd element inet x s { a, b }\n", "nft", "-f", "-")
	if b := g.one(t, "three commands"); b["new table"] != 1 || b["new set"] != 1 || b["new element"] == 0 {
		t.Errorf("got %v", b)
	}
	w.host.Output(t, "nft", "list", "ruleset")
	if all := g.take(t); len(all) != 0 {
		t.Errorf("listing made %d transactions", len(all))
	}
}
