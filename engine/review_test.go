package engine

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
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

// withoutFiles is a host on which no file can be opened.
type withoutFiles struct{ host }

func (withoutFiles) namespace(path string, _ int) (bridged.NamespaceID, error) {
	return bridged.NamespaceID{}, bridged.Errorf(bridged.ErrInvalid, "%s: %w", path, unix.EMFILE)
}

// TestNobodyIsCollectedForWantOfFiles: who is at a path is not known when it can't be opened.
func TestNobodyIsCollectedForWantOfFiles(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	info, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "none", Network: "none"})
	if err != nil {
		t.Fatal(err)
	}
	e.host = withoutFiles{h}
	e.findLost([]string{info.ID})
	if reason, err := e.lost(info.Sandbox, e.inhabited()); reason != "" || err == nil {
		t.Errorf("a start says %q (%v)", reason, err)
	}
	e.host = h
	if _, err := e.Sandbox("none"); err != nil {
		t.Error(err)
	}
	checkKernel(t, e, h)
}

// TestOwnPathTakenByOthers: a namespace that we made, and a process is in, is followed although somebody else has its path; that one keeps it.
func TestOwnPathTakenByOthers(t *testing.T) {
	for _, how := range []string{"sweep", "start"} {
		t.Run(how, func(t *testing.T) {
			ctx := t.Context()
			h, cfg := newFakeHost(), testConfig(t)
			e, stop := startFake(t, cfg, h)
			defer func() { stop() }()
			web, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "side", Network: "container:web"}); err != nil {
				t.Fatal(err)
			}
			theirs := bridged.NamespaceID{Dev: 4, Ino: 7}
			h.mu.Lock()
			h.spaces["/proc/1/ns/net"], h.spaces[web.NetNS] = web.NSID, theirs
			h.mu.Unlock()
			if how == "start" {
				stop()
				e, stop = startFake(t, cfg, h)
			}
			e.sweep()
			for _, name := range []string{"web", "side"} {
				if now, err := e.Sandbox(name); err != nil || h.spaces[now.NetNS] != web.NSID || now.NetNS != lastingPath(web.Sandbox) {
					t.Errorf("sandbox %s is at %s (%v)", name, now.NetNS, err)
				}
			}
			stop()
			e, stop = startFake(t, cfg, h)
			for _, name := range []string{"web", "side"} {
				if err := e.RemoveSandbox(ctx, name); err != nil {
					t.Error(err)
				}
			}
			delete(h.spaces, "/proc/1/ns/net")
			if len(h.spaces) != 1 || h.spaces[web.NetNS] != theirs {
				t.Errorf("the namespaces are %v", h.spaces)
			}
			delete(h.spaces, web.NetNS)
			checkKernel(t, e, h)
		})
	}
}

// TestOwnFileIsNotInTheWay: who unmounts a namespace that we made leaves the file that it was mounted over.
func TestOwnFileIsNotInTheWay(t *testing.T) {
	e, stop := startIn(t, giveNamespace(t), testConfig(t))
	defer stop()
	dir := t.TempDir()
	s := bridged.Sandbox{ID: bridged.NewID(), Name: "web", Made: true, NetNS: filepath.Join(dir, "web")}
	ns, err := netns.Make(s.NetNS, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if s.NSID, err = identity(ns); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := ns.Mount(elsewhere, ""); err != nil {
		t.Fatal(err)
	}
	defer netns.Remove(elsewhere)
	defer netns.Remove(s.NetNS)
	if err := unix.Unmount(s.NetNS, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := e.follow(s, elsewhere, nil); err != nil {
		t.Fatal(err)
	}
	if now, err := e.host.namespace(s.NetNS, 0); err != nil || now != s.NSID {
		t.Errorf("at the path is %+v (%v)", now, err)
	}
	// A path that led to it may lead to another one by the time that it is used: to the daemon's own, in the worst case.
	further := filepath.Join(dir, "further")
	if err := e.host.mountNamespace(s, "/proc/self/ns/net", further); err == nil || e.host.exists(further) {
		t.Errorf("another namespace was mounted for the sandbox: %v", err)
	}
}
