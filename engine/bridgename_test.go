package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/bridged/bridged"
)

// TestBridgeTaken: a request for another network's bridge is refused before it touches that bridge, which still is looked after.
func TestBridgeTaken(t *testing.T) {
	host := giveNamespace(t)
	e, stop := startIn(t, host, testConfig(t))
	defer stop()
	spec := podnet("c", giveNamespace(t))
	mustAttach(t, e, spec)
	shown := func() string { // who asks for a link makes the kernel look after its carrier, which it would do in its own time else
		return in(t, host, "ip", "link", "show", "cni0") + in(t, host, "ip", "address", "show", "cni0")
	}
	before := shown()
	_, _, err := e.CreateNetwork(t.Context(), bridged.NetworkSpec{Name: "other", Options: map[string]string{bridged.OptionBridgeName: "cni0"}})
	if !errors.Is(err, bridged.ErrConflict) {
		t.Errorf("a second network on a bridge: %v", err)
	}
	if after := shown(); after != before {
		t.Errorf("the bridge has become\n%sfrom\n%s", after, before)
	}
	begin := time.Now()
	in(t, host, "ip", "link", "delete", "cni0")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for event := range e.Events(ctx, begin) {
		if event.Action == "repair" && e.CheckAttachment(t.Context(), spec) == nil {
			return
		}
	}
	t.Errorf("the bridge does not come back: %v", e.CheckAttachment(t.Context(), spec))
}

// TestBridgeRace: several networks want one bridge at once. One has it, whose attachment is as it must be.
func TestBridgeRace(t *testing.T) {
	e, stop := startIn(t, giveNamespace(t), testConfig(t))
	defer stop()
	for round := range 10 {
		var all sync.WaitGroup
		specs, errs := make([]bridged.AttachmentSpec, 4), make([]error, 4)
		for i := range specs {
			specs[i] = podnet(fmt.Sprintf("c%d-%d", round, i), giveNamespace(t))
			specs[i].Key.Network, specs[i].Network.Bridge = fmt.Sprintf("net%d-%d", round, i), fmt.Sprintf("cni%d", round)
			specs[i].Network.IPv4.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(round), byte(i), 0}), 24)
			specs[i].Network.IPv6 = bridged.Subnet{}
			all.Go(func() { _, errs[i] = e.Attach(t.Context(), specs[i]) })
		}
		all.Wait()
		made := 0
		for i, err := range errs {
			switch {
			case err == nil:
				made++
				if err := e.CheckAttachment(t.Context(), specs[i]); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, bridged.ErrConflict):
				t.Error(err)
			}
		}
		if made != 1 {
			t.Errorf("%d networks have the bridge", made)
		}
	}
}
