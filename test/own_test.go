package test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// foreignRules is what an administrator's firewall loads: it begins with a flush of everything that it may flush.
const foreignRules = `flush ruleset
table inet firewall {
	set allowed { type inet_service; elements = { 22, 80, 443 }; }
	chain input { type filter hook input priority filter; policy accept; tcp dport @allowed counter accept comment "theirs"; }
	chain forward { type filter hook forward priority filter; policy accept; ct state invalid counter; }
	chain postrouting { type nat hook postrouting priority srcnat; policy accept; oifname "nothing" masquerade; }
}
`

// A thousand requests a second go on while others flush the ruleset, delete our tables and reload their own, again and again; what
// must not get through does not meanwhile.
func TestOwnedTables(t *testing.T) {
	h := newHall(t, true, false)
	a := h.ambush(t, h.c2.Space)
	flows := h.busy(t)
	before, filter := decode[statusJSON](h.world, "status", "--json"), h.filter()
	if before.Protection != "owner+persist" {
		t.Fatalf("the tables are protected by %q", before.Protection)
	}
	l := h.load(t, 1000, flows...)
	var vandals sync.WaitGroup
	done := make(chan struct{})
	vandals.Go(func() {
		defer close(done)
		for range 100 {
			h.vandalise(t)
		}
	})
	rounds := 0
	for running := true; running || rounds == 0; rounds++ {
		t.Run(fmt.Sprint(rounds), func(t *testing.T) { a.forbidden(t, rounds) })
		select {
		case <-done:
			running = false
		default:
		}
	}
	vandals.Wait()
	l.end(t)
	t.Logf("%d rounds of forbidden flows", rounds)
	a.unmoved(t)
	for mark := range a.marks {
		a.silent(t, mark)
	}
	h.settled()
	same(t, "the packet filter", filter, h.filter())
	after := decode[statusJSON](h.world, "status", "--json")
	if after.Protection != "owner+persist" || after.Repairs != 0 || after.Transactions != before.Transactions {
		t.Errorf("the status was %+v, and is %+v", before, after)
	}
	if !strings.Contains(h.nft("list", "ruleset"), `comment "theirs"`) {
		t.Error("the foreign ruleset was not loaded")
	}
}

// busy is a network of its own with two sandboxes, a neighbour outside, and the flows between them. Nobody observes them, so that much may
// go on there.
func (w *world) busy(t testing.TB) []flow {
	t.Helper()
	w.bridged("network", "create", "--ipv6", "busy")
	c6 := w.member("c6", "busy", "-p", "8090:80", "-p", "8090:80/udp")
	c7 := w.member("c7", "busy")
	out := flowtest.NewSpace(t, "out", false)
	w.host.Join(t, "out0", out, "203.0.113", "2001:db8:3")
	for _, s := range []*flowtest.Space{c6.Space, c7.Space, out} {
		flowtest.Serve(t, s, 80)
	}
	var flows []flow
	for _, f := range families {
		host := pick(f, netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:3::1"))
		outside := pick(f, netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8:3::2"))
		for _, proto := range []string{"tcp", "udp"} {
			for _, to := range []flow{
				{from: out, to: netip.AddrPortFrom(host, 8090), server: "c6"},
				{from: c6.Space, to: netip.AddrPortFrom(c7.addr(f), 80), server: "c7"},
				{from: c7.Space, to: netip.AddrPortFrom(outside, 80), server: "out"},
			} {
				to.proto = proto
				flows = append(flows, to)
				to.stands = true
				flows = append(flows, to)
			}
		}
	}
	return flows
}

// vandalise does once what others may do to the packet filter.
func (h *hall) vandalise(t testing.TB) {
	t.Helper()
	try := func(allowed bool, stdin string, args ...string) {
		t.Helper()
		err := h.host.Do(func() error {
			cmd := exec.Command("nft", args...)
			cmd.Stdin = strings.NewReader(stdin)
			out, err := cmd.CombinedOutput()
			if denied := strings.Contains(string(out), "Operation not permitted"); denied == allowed || (err == nil) != allowed {
				return fmt.Errorf("nft %v: %v\n%s", args, err, out)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	try(true, "", "flush", "ruleset")
	try(false, "", "delete", "table", "inet", "bridged")
	try(false, "", "delete", "table", "bridge", "bridged")
	try(true, foreignRules, "-f", "-")
}

// forbidden tries a part of what must not get through, another one each time: raw frames of an attacker and its sockets.
func (a *ambush) forbidden(t *testing.T, round int) {
	for i, f := range families {
		proto := []string{"tcp", "udp"}[(round+i)%2]
		t.Run(familyName(f)+"/"+proto, func(t *testing.T) { a.closed(t, f, proto, false) })
	}
	var attacks []attack
	for _, f := range families {
		attacks = append(attacks, a.forgedSources(f, false)...)
		attacks = append(attacks, a.loopbacks(f)...)
		attacks = append(attacks, a.strayed(f, false)...)
	}
	for _, k := range slices.Concat(a.forgedARP(), a.forgedNeighbours(), a.otherFrames()) {
		k.control, k.arrives = a.toLAN, a.lan
		attacks = append(attacks, k)
	}
	const parts = 4
	for i, k := range attacks {
		if i%parts == round%parts {
			a.run(t, k)
		}
	}
}
