package engine

import (
	"context"
	"testing"

	"github.com/bridged/bridged"
)

// TestFailedRepairIsMadeUpFor: a sandbox's link that could not be put back is when the next sweep comes by, without another event. The status
// warns of it until then, or until its sandbox is removed.
func TestFailedRepairIsMadeUpFor(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "a", Ports: specs(t, "8080:80")}); err != nil {
		t.Fatal(err)
	}
	there := func() bool { return len(h.links()) == 1 }
	warned := func(times int) {
		t.Helper()
		if w := e.Status().Warnings; len(w) != times {
			t.Errorf("the status warns %d times, not %d: %q", len(w), times, w)
		}
	}
	lose := func(failed int) {
		e.settled()
		_ = h.delPairs([]string{h.links()[0].Name})
		h.failNext(1 + failed)
		e.suspect(suspicion{})
		_ = e.repairs.wait(t.Context(), every[struct{}])
		e.settle()
	}
	for failed, what := range []string{"making it", "setting it up"} {
		lose(failed)
		if there() {
			t.Fatalf("%s did not fail", what)
		}
		warned(1)
		e.sweepThrough()
		_ = e.mends.wait(t.Context(), every[suspicion])
		if !there() {
			t.Errorf("%s failed, and nobody tried again", what)
		}
		warned(0)
		checkKernel(t, e, h)
	}
	lose(0)
	warned(1)
	if err := e.RemoveSandbox(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	e.sweepThrough()
	warned(0)
}

// sweepThrough is a sweep, and what it finds.
func (e *Engine) sweepThrough() {
	e.sweep()
	_ = e.lost.wait(context.Background(), every[string])
}
