package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// hindered is a host on which steps fail that somebody chooses.
type hindered struct {
	host
	fails func(step) bool
}

func (h hindered) do(ctx context.Context, s step) error {
	if h.fails(s) {
		return errFake
	}
	return h.host.do(ctx, s)
}

// TestFailedMoveKeepsTheDefaultRoute: a default route that took the place of another one gives it back when the operation fails behind it.
func TestFailedMoveKeepsTheDefaultRoute(t *testing.T) {
	host := giveNamespace(t)
	e, stop := startIn(t, host, testConfig(t))
	defer func() { stop() }()
	ctx := t.Context()
	for _, n := range []bridged.NetworkSpec{
		{Name: "m", Subnets: subnet("10.1.0.0/24"), IPv6: true}, {Name: "a", Subnets: subnet("10.2.0.0/24"), IPv6: true},
	} {
		if _, _, err := e.CreateNetwork(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	inside := giveNamespace(t)
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Network: "m", NetNS: inside}); err != nil {
		t.Fatal(err)
	}
	defaults := func() string {
		return in(t, inside, "ip", "-4", "route", "show", "default") + in(t, inside, "ip", "-6", "route", "show", "default")
	}
	before := defaults()
	real := e.host
	failing := func(fails func(step) bool, do func() error) {
		t.Helper()
		e.host = hindered{real, fails}
		err := do()
		e.host = real
		e.settle()
		if !errors.Is(err, errFake) {
			t.Errorf("it should have failed: %v", err)
		}
	}
	connect := func() error {
		_, err := e.Connect(ctx, bridged.ConnectSpec{Network: "a", Sandbox: "web"})
		return err
	}
	failing(func(s step) bool { _, is := s.(delRoute); return is }, connect)
	if now := defaults(); now != before {
		t.Errorf("after a failed connect the default routes are\n%swant\n%s", now, before)
	}
	if err := connect(); err != nil {
		t.Fatal(err)
	}
	before = defaults()
	if !strings.Contains(before, "10.2.0.1") {
		t.Fatalf("the default route did not move:\n%s", before)
	}
	failing(func(s step) bool {
		r, is := s.(addRoute)
		return is && r.dst == anyPrefix6 && r.name == "eth0"
	}, func() error { return e.Disconnect(ctx, "a", "web") })
	if now := defaults(); now != before {
		t.Errorf("after a failed disconnect the default routes are\n%swant\n%s", now, before)
	}
}
