package engine

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// TestFailedStart lets every step of a start with changed flags fail, one after the other: the host is as it was, and the next start
// with the former flags has nothing to do.
func TestFailedStart(t *testing.T) {
	none := func(*Config) {}
	for name, c := range map[string]struct {
		before    func(*Config) // nil: there was no run before
		populated bool
		after     func(*Config)
	}{
		"the first start":          {after: none},
		"the first, without rules": {after: func(c *Config) { c.NoFirewall = true }},
		"ICC off":                  {before: none, populated: true, after: func(c *Config) { c.ICC = false }},
		"a smaller MTU":            {before: none, populated: true, after: func(c *Config) { c.MTU = 1300 }},
		"IPv6 on": {
			before: func(c *Config) { c.IPv6 = false }, populated: true, after: none,
		},
		"another name":       {before: none, after: func(c *Config) { c.BridgeName = "br5" }},
		"another address":    {before: none, after: func(c *Config) { c.BIP = netip.MustParsePrefix("10.9.8.7/24") }},
		"another prefix":     {before: none, after: func(c *Config) { c.BIP = netip.MustParsePrefix("172.17.42.1/24") }},
		"no default network": {before: none, after: func(c *Config) { c.Bridge = "none" }},
		"no rules":           {before: none, after: func(c *Config) { c.NoFirewall = true }},
		"rules again":        {before: func(c *Config) { c.NoFirewall = true }, after: none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := 0
			for n := 1; ; n++ {
				h, cfg := newFakeHost(), testConfig(t)
				if c.before != nil {
					former := cfg
					c.before(&former)
					runOnce(t, former, h, c.populated)
				}
				before := h.objects.clone()
				changed := cfg
				c.after(&changed)
				h.failNext(n)
				err := tryStart(t, changed, h)
				if err == nil && h.steps < n {
					break // all steps had their turn
				}
				if err == nil {
					continue // forwarding that can't be switched on, or a port that can't be reserved, is a warning
				}
				failed++
				if !errors.Is(err, errFake) {
					t.Errorf("step %d: %v", n, err)
				}
				plan := append(diff(h.objects, before), diff(before, h.objects)...)
				// Settings of IPv6 on our own bridge mean nothing while it is off there.
				plan = slices.DeleteFunc(plan, func(s step) bool {
					set, ok := s.(setSysctl)
					return ok && strings.HasPrefix(set.Path, "net/ipv6/conf/docker0/accept_")
				})
				if len(plan) > 0 {
					t.Errorf("step %d: what it takes to the state before, and back:\n%s", n, plan)
				}
			}
			if failed == 0 {
				t.Error("no step of the start failed")
			}
		})
	}
}

// runOnce runs an engine that makes a sandbox or not.
func runOnce(t *testing.T, cfg Config, h *fakeHost, populate bool) {
	t.Helper()
	e, stop := startFake(t, cfg, h)
	defer stop()
	if !populate {
		return
	}
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web", Ports: specs(t, "8080:80")}); err != nil {
		t.Fatal(err)
	}
	e.settle()
}

// tryStart starts an engine and stops it again; the error is why it did not start.
func tryStart(t *testing.T, cfg Config, h *fakeHost) error {
	t.Helper()
	e := openFake(t, cfg, h)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	select {
	case <-e.Ready():
		cancel()
		return <-done
	case err := <-done:
		return err
	}
}
