package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// needRoot skips on a laptop and fails in CI.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root: it works in network namespaces of its own")
}

// giveNamespace makes a network namespace for the test and returns its path.
func giveNamespace(t testing.TB) string {
	t.Helper()
	needRoot(t)
	path := filepath.Join(t.TempDir(), "ns")
	ns, err := netns.Make(path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(path)); err != nil {
			t.Error(err)
		}
	})
	return path
}

// startReal runs an engine on the kernel, in a network namespace of its own.
func startReal(t testing.TB, cfg Config) *Engine {
	t.Helper()
	host := giveNamespace(t)
	e, stop := startIn(t, host, cfg)
	t.Cleanup(func() {
		for _, s := range e.Sandboxes() {
			if err := e.RemoveSandbox(context.Background(), s.ID); err != nil {
				t.Error(err)
			}
		}
		stop()
	})
	return e
}

// startIn runs an engine in the namespace at path and returns what stops it; the namespace holds everything afterwards.
func startIn(t testing.TB, path string, cfg Config) (*Engine, func()) {
	t.Helper()
	return startLess(t, path, cfg, less{})
}

// openIn opens an engine in the namespace at path, on a kernel with less.
func openIn(t testing.TB, path string, cfg Config, less less) (e *Engine, err error) {
	t.Helper()
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = ns.Do(func() (err error) { e, err = open(cfg, less); return err })
	return e, err
}

// startLess is startIn on a kernel with less.
func startLess(t testing.TB, path string, cfg Config, less less) (*Engine, func()) {
	t.Helper()
	e, err := openIn(t, path, cfg, less)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, e)
}

// in runs a command in the namespace at path and returns what it prints.
func in(t testing.TB, path, name string, args ...string) string {
	t.Helper()
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var out []byte
	err = ns.Do(func() (err error) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestKernelEqualsState holds the engine against the kernel and against nft: after operations, and after a restart.
func TestKernelEqualsState(t *testing.T) {
	host := giveNamespace(t)
	cfg := testConfig(t)
	e, stop := startIn(t, host, cfg)
	ctx := t.Context()
	check := func(when string) {
		t.Helper()
		e.settle()
		text, differs, err := e.Ruleset(ctx, bridged.RulesetDiff)
		if err != nil || differs {
			t.Fatalf("%s: the kernel differs (%v):\n%s", when, err, text)
		}
		desired, _, err := e.Ruleset(ctx, bridged.RulesetDesired)
		if err != nil {
			t.Fatal(err)
		}
		kernel, _, err := e.Ruleset(ctx, bridged.RulesetKernel)
		if err != nil {
			t.Fatal(err)
		}
		if desired != kernel {
			t.Errorf("%s: desired and kernel print differently:\n%s\n---\n%s", when, desired, kernel)
		}
	}
	check("at the start")
	if links := in(t, host, "ip", "-br", "link", "show", "docker0"); !strings.Contains(links, "docker0") {
		t.Errorf("no docker0: %s", links)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "c1", NetNS: giveNamespace(t), Ports: specs(t, "8080:80", "53:53/udp")}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "inner", IPv6: true, Internal: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "c2", Network: "inner", NetNS: giveNamespace(t)}); err != nil {
		t.Fatal(err)
	}
	check("with two sandboxes")
	if list := in(t, host, "nft", "list", "map", "inet", "bridged", "publish4any"); !strings.Contains(list, "tcp . 8080") {
		t.Errorf("nft does not show the port:\n%s", list)
	}
	stop()
	e, stop = startIn(t, host, cfg)
	if n := e.Status().Transactions; n != 1 {
		t.Errorf("the restart took %d transactions, want 1: the adoption", n)
	}
	check("after a restart")
	for _, name := range []string{"c1", "c2"} {
		if err := e.RemoveSandbox(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if err := e.RemoveNetwork(ctx, "inner"); err != nil {
		t.Error(err)
	}
	check("after everything was removed")
	if links := in(t, host, "ip", "-br", "link"); strings.Contains(links, "bv") || strings.Contains(links, "bd") {
		t.Errorf("links are left:\n%s", links)
	}
	stop()
}
