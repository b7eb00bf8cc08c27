package engine

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// grow has the log say the same again and again, until most of it is history.
func grow(t *testing.T, e *Engine) {
	t.Helper()
	for !e.store.Grown() {
		c := bridged.Change{Sandboxes: make(map[string]*bridged.Sandbox)}
		for id, s := range e.State().Sandboxes {
			c.Sandboxes[id] = &s
		}
		if err := e.store.Append(c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLogThatStays: a log that can't be written anew is tried with each sweep, and not with each request, which would take the whole state each time.
func TestLogThatStays(t *testing.T) {
	var log bytes.Buffer
	cfg := testConfig(t)
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	e, stop := startFake(t, cfg, newFakeHost())
	defer stop()
	requests := func() {
		for range 3 {
			if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "a"}); err != nil {
				t.Fatal(err)
			}
			if err := e.RemoveSandbox(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			e.settle()
		}
	}
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	e.settle()
	grow(t, e)
	gone := cfg.RunDir + ".gone" // what is written anew begins as another file there
	if err := os.Rename(cfg.RunDir, gone); err != nil {
		t.Fatal(err)
	}
	for attempts := range 2 {
		requests()
		if told := strings.Count(log.String(), `msg="cannot compact the log"`); told != attempts+1 || !e.store.Grown() {
			t.Errorf("after %d sweeps it is tried %d times:\n%s", attempts, told, &log)
		}
		e.sweepThrough()
	}
	if err := os.Rename(gone, cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	requests()
	if e.store.Grown() {
		t.Errorf("the log stays as it was:\n%s", &log)
	}
}
