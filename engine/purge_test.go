package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// TestScarcePurgeIsMadeUpFor: without descriptors connections can't be purged; a port that they lead to is given out no sooner than they are.
func TestScarcePurgeIsMadeUpFor(t *testing.T) {
	ctx := context.Background()
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "a", Ports: specs(t, "8080:80/udp")}); err != nil {
		t.Fatal(err)
	}
	e.settle()
	setErr := func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.purgeErr = err
	}
	setErr(unix.EMFILE)
	purged := len(h.purged)
	if err := e.RemovePorts(ctx, "a", specs(t, "8080:80/udp")); err != nil {
		t.Fatal(err)
	}
	early, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := e.AddPorts(early, "a", specs(t, "8080:80/udp")); err == nil {
		t.Error("a port was given out while its old connections were there")
	}
	setErr(nil)
	if _, _, err := e.AddPorts(ctx, "a", specs(t, "8080:80/udp")); err != nil {
		t.Error(err)
	}
	e.settle()
	if len(h.purged) == purged {
		t.Error("nothing was purged")
	}
	checkKernel(t, e, h)
}

// TestStopWithoutPurge: where connections can't be purged, who waits for their end waits as long as the engine goes on, and does not keep it from
// ending; the next one knows of them.
func TestStopWithoutPurge(t *testing.T) {
	udp := specs(t, "8080:80/udp")
	for what, ask := range map[string]func(e *Engine) error{
		"a port": func(e *Engine) error {
			_, _, err := e.AddPorts(context.Background(), "a", udp)
			return err
		},
		"an address": func(e *Engine) error {
			return e.RemoveNetwork(context.Background(), "n")
		},
		"a link's end": func(e *Engine) error { return e.RemoveLink(context.Background(), "a", "b") },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, h, cfg := t.Context(), newFakeHost(), testConfig(t)
			e, stop := startFake(t, cfg, h)
			for _, name := range []string{"m", "n"} {
				if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: name, Options: map[string]string{bridged.OptionICC: "false"}}); err != nil {
					t.Fatal(err)
				}
			}
			for name, network := range map[string]string{"a": "m", "b": "m", "c": "n"} {
				if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, Network: network}); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := e.AddPorts(ctx, "a", udp); err != nil {
				t.Fatal(err)
			}
			if _, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "a", Child: "b", Ports: []bridged.ProtoPort{{Proto: bridged.TCP, Port: 80}}}); err != nil {
				t.Fatal(err)
			}
			e.settle()
			h.mu.Lock()
			h.purgeErr, h.purged = unix.EMFILE, nil
			h.mu.Unlock()
			if err := errors.Join(e.RemovePorts(ctx, "a", udp), e.RemoveSandbox(ctx, "c")); err != nil {
				t.Fatal(err)
			}
			asked := make(chan error, 1)
			go func() { asked <- ask(e) }()
			synctest.Wait()
			if len(asked) > 0 {
				t.Fatalf("%s: is had while connections are left: %v", what, <-asked)
			}
			stop()
			if err := <-asked; !errors.Is(err, bridged.ErrUnavailable) {
				t.Errorf("%s: at the end: %v", what, err)
			}
			h.purgeErr = nil
			e, stop = startFake(t, cfg, h)
			defer stop()
			if len(h.purged) == 0 {
				t.Errorf("%s: nothing is purged by the next engine", what)
			}
			if left := e.State().Links; what == "a link's end" && len(left) > 0 {
				t.Errorf("links that are gone are left: %v", left)
			}
			checkKernel(t, e, h)
		})
	}
}

// TestRemovalIsRemembered: a log that is written anew while a port goes still says that there was one, until its connections have ended.
func TestRemovalIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heldHost{fakeHost: newFakeHost()}
		cfg := testConfig(t)
		e := openFake(t, cfg, h.fakeHost)
		e.host = h
		e, stop := run(t, e)
		defer stop()
		ctx := t.Context()
		udp := specs(t, "5353:53/udp")
		for _, spec := range []bridged.SandboxSpec{{Name: "a", Ports: udp}, {Name: "b"}} {
			if _, err := e.CreateSandbox(ctx, spec); err != nil {
				t.Fatal(err)
			}
		}
		grow(t, e) // for the removal itself
		e.settle()
		outcome, purged := make(chan error), make(chan error)
		h.commit, h.purged = outcome, purged
		removed := make(chan error, 1)
		go func() { removed <- e.RemovePorts(ctx, "a", udp) }()
		synctest.Wait()
		grow(t, e) // for another one that comes while it is under way
		if _, _, err := e.AddPorts(ctx, "b", specs(t, "8080:80")); err != nil {
			t.Error(err)
		}
		outcome <- nil
		if err := <-removed; err != nil {
			t.Error(err)
		}
		if log, err := os.ReadFile(filepath.Join(cfg.RunDir, "log")); err != nil || !strings.Contains(string(log), "5353") {
			t.Errorf("the log has forgotten the port whose connections are not purged yet: %v", err)
		}
		close(purged)
		e.settle()
		if _, _, err := e.AddPorts(ctx, "b", specs(t, "8081:80")); err != nil {
			t.Error(err)
		}
		if e.store.Grown() {
			t.Error("the log is not written anew when nothing waits any more")
		}
	})
}
