package engine

import (
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/nft"
)

// Somebody's chain that stops forwarded packets is found, with the bridges that it stops them for, also those that came after the start.
func TestFindings(t *testing.T) {
	h := newFakeHost()
	e, _ := startFake(t, testConfig(t), h)
	if all := e.Findings(); len(all) != 0 {
		t.Errorf("nothing is in the way, and found is %v", all)
	}
	if _, _, err := e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "backend"}); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock() // the start may still be looking
	h.others.Tables = []hostcheck.Table{{ID: nft.TableID{Family: nft.IPv4, Name: "t"}, Chains: []hostcheck.Chain{{
		Name: "forward", Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Forward, Priority: nft.PriorityFilter}, Policy: hostcheck.Drop}}}}
	h.mu.Unlock()
	all := e.Findings()
	if len(all) != 1 || all[0].Kind != hostcheck.ForwardDrop {
		t.Fatalf("found is %v", all)
	}
	for _, n := range e.State().Networks {
		if n.Bridge != "" && !strings.Contains(all[0].Title, n.Bridge) {
			t.Errorf("%q does not name %s", all[0].Title, n.Bridge)
		}
	}
}
