package engine

import (
	"testing"

	"github.com/bridged/bridged"
)

// TestBridgeMTUFollowsItsMembers: the bridge has the least of its members' while such a one is there, and its network's again when it goes.
func TestBridgeMTUFollowsItsMembers(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	cfg.MTU = 1300
	e, stop := startFake(t, cfg, h)
	defer func() { stop() }()
	ctx := t.Context()
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "small"}); err != nil {
		t.Fatal(err)
	}
	stop()
	cfg.MTU = 1400
	e, stop = startFake(t, cfg, h)
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "large"}); err != nil {
		t.Fatal(err)
	}
	mtu := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.objects.bridges["docker0"].MTU
	}
	if mtu := mtu(); mtu != 1300 {
		t.Errorf("beside a member with 1300 the bridge has %d", mtu)
	}
	if err := e.RemoveSandbox(ctx, "small"); err != nil {
		t.Fatal(err)
	}
	if mtu := mtu(); mtu != 1400 {
		t.Errorf("without it the bridge has %d, want the network's 1400", mtu)
	}
	checkKernel(t, e, h)
}
