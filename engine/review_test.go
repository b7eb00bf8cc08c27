package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// hindered is a host on which steps fail that somebody chooses, and paths can't be opened when somebody says so.
type hindered struct {
	host
	fails   atomic.Pointer[func(step) bool]
	noFiles atomic.Bool
}

func (h *hindered) do(ctx context.Context, s step) error {
	if fails := h.fails.Load(); fails != nil && (*fails)(s) {
		return errFake
	}
	return h.host.do(ctx, s)
}

func (h *hindered) namespace(path string, pid int) (bridged.NamespaceID, error) {
	if h.noFiles.Load() {
		return bridged.NamespaceID{}, bridged.Errorf(bridged.ErrInvalid, "%s: %w", path, unix.EMFILE)
	}
	return h.host.namespace(path, pid)
}

// TestIDsComeBeforeNames: what is called as another one's id does not take its place. Docker's engine knows its networks by nothing else.
func TestIDsComeBeforeNames(t *testing.T) {
	e, stop := startFake(t, testConfig(t), newFakeHost())
	defer stop()
	ctx := t.Context()
	id, other := leaseKey(1), leaseKey(2)
	for _, n := range []bridged.NetworkSpec{{Name: "docker-1", ID: id}, {Name: id, ID: other}} {
		if _, _, err := e.CreateNetwork(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := e.FindNetwork(id); err != nil || n.Name != "docker-1" {
		t.Errorf("by the id: %s, %v", n.Name, err)
	}
	if j, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "key", Network: id}); err != nil || j.Network.ID != id {
		t.Errorf("a lease on network %s, %v", j.Network.Name, err)
	}
	if err := e.RemoveNetwork(ctx, id); bridged.Code(err) != "conflict" {
		t.Errorf("removing a network in use: %v", err)
	}
}

// TestFailedMoveKeepsTheDefaultRoute: a default route that took the place of another one gives it back when the operation fails behind it.
func TestFailedMoveKeepsTheDefaultRoute(t *testing.T) {
	e, err := openIn(t, giveNamespace(t), testConfig(t), less{})
	if err != nil {
		t.Fatal(err)
	}
	host := &hindered{host: e.host}
	e.host = host
	e, stop := run(t, e)
	defer stop()
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
	failing := func(fails func(step) bool, do func() error) {
		t.Helper()
		host.fails.Store(&fails)
		err := do()
		host.fails.Store(nil)
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
	}, func() error { return e.Disconnect(ctx, "a", "web", false) })
	if now := defaults(); now != before {
		t.Errorf("after a failed disconnect the default routes are\n%swant\n%s", now, before)
	}
}

// TestNobodyIsCollectedForWantOfFiles: who is at a path is not known when it can't be opened.
func TestNobodyIsCollectedForWantOfFiles(t *testing.T) {
	h := newFakeHost()
	host := &hindered{host: h}
	e := openFake(t, testConfig(t), h)
	e.host = host
	e, stop := run(t, e)
	defer stop()
	info, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "none", Network: "none"})
	if err != nil {
		t.Fatal(err)
	}
	host.noFiles.Store(true)
	e.findLost([]string{info.ID})
	if reason, err := e.whyLost(info.Sandbox, nil, e.inhabited()); reason != "" || err == nil {
		t.Errorf("a start says %q (%v)", reason, err)
	}
	host.noFiles.Store(false)
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
			e.sweepThrough()
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

// TestUnpurgedIsNotForgotten: connections that could not be ended before the daemon was, are ended by the next one.
func TestUnpurgedIsNotForgotten(t *testing.T) {
	ctx := t.Context()
	h, cfg := newFakeHost(), testConfig(t)
	e, stop := startFake(t, cfg, h)
	defer func() { stop() }()
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Ports: specs(t, "8080:80/udp")}); err != nil {
		t.Fatal(err)
	}
	e.settle()
	h.mu.Lock()
	h.purgeErr, h.purged = unix.EMFILE, nil
	h.mu.Unlock()
	if err := e.RemovePorts(ctx, "web", specs(t, "8080:80/udp")); err != nil {
		t.Fatal(err)
	}
	stop()
	h.purgeErr = nil
	e, stop = startFake(t, cfg, h)
	if len(h.purged) == 0 {
		t.Error("the connections of the removed port go on")
	}
	checkKernel(t, e, h)
}

// TestWaitingPortsSurviveADamagedLog: a port of a sandbox that is in no network has no element in the kernel.
func TestWaitingPortsSurviveADamagedLog(t *testing.T) {
	f := newRuins()
	s, e := f.add(1, nil)
	p := bridged.Port{
		Binding: bridged.Binding{HostIP: netip.IPv6Unspecified(), Proto: bridged.TCP, HostPort: 8080}, Sandbox: s.ID, ContainerPort: 80,
	}
	f.known(s, e, p)
	f.run()
	if _, there := f.x.Ports[p.Binding]; !there {
		t.Error("the port that waits for a network is lost")
	}
}

// TestOtherPathOfTheSameNamespace: a namespace that was just given back can be given again by another path.
func TestOtherPathOfTheSameNamespace(t *testing.T) {
	e, stop := startIn(t, giveNamespace(t), testConfig(t))
	defer stop()
	ctx := t.Context()
	path := giveNamespace(t)
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	other := filepath.Join(t.TempDir(), "other")
	if err := ns.Mount(other, ""); err != nil {
		t.Fatal(err)
	}
	defer netns.Remove(other)
	for i := range 6 {
		if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", NetNS: []string{path, other}[i%2]}); err != nil {
			t.Fatal(err)
		}
		if err := e.RemoveSandbox(ctx, "web"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRoutesLikeOurs: a container that makes many routes that look like ours does not keep a repair of everything busy.
func TestRoutesLikeOurs(t *testing.T) {
	e, stop := startIn(t, giveNamespace(t), testConfig(t))
	defer stop()
	ctx := t.Context()
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "m", Subnets: subnet("10.1.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	inside := giveNamespace(t)
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", NetNS: inside}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Connect(ctx, bridged.ConnectSpec{Network: "m", Sandbox: "web"}); err != nil {
		t.Fatal(err)
	}
	in(t, inside, "sh", "-c", fmt.Sprintf(
		"for i in $(seq %d); do echo route add 10.9.$((i / 250)).$((i %% 250)) dev eth0 proto %d; done | ip -batch -", 2*mostStrays, routeProtocol))
	plan, _, err := e.difference(ctx, nil)
	if err != nil || len(plan) != mostStrays {
		t.Errorf("there are %d steps to be made, want %d (%v)", len(plan), mostStrays, err)
	}
}

// TestMovedPortsConnectionsGoOn: a port that moved to another network of its sandbox has not departed; a start ends no connection of it.
func TestMovedPortsConnectionsGoOn(t *testing.T) {
	x := newIndex()
	x.departed = newDeparted()
	endpoint := func(id, network, address string) *bridged.Endpoint {
		return &bridged.Endpoint{ID: id, Network: network, Sandbox: "web", HostInterface: "bv" + id, IPv4: netip.MustParsePrefix(address)}
	}
	b := bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: 8080}
	port := func(endpoint string) map[bridged.Binding]*bridged.Port {
		return map[bridged.Binding]*bridged.Port{b: {Binding: b, Sandbox: "web", Endpoint: endpoint, ContainerPort: 80}}
	}
	x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{"e1": endpoint("e1", "m", "10.1.0.2/24")}, Ports: port("e1")})
	x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{"e2": endpoint("e2", "a", "10.2.0.2/24")}, Ports: port("e2")})
	if ends := x.departed.purges(x); len(ends) > 0 {
		t.Errorf("a start would end %+v", ends)
	}
	x.apply(bridged.Change{Endpoints: map[string]*bridged.Endpoint{"e2": nil}, Ports: port("e1")})
	if ends := x.departed.purges(x); len(ends) == 0 {
		t.Error("the connections of the endpoint that left would go on")
	}
}

// A namespace stays one sandbox's, however often others are refused it.
func TestNamespaceTaken(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	path := h.give()
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "one", NetNS: path}); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"none", "bridge"} {
		for _, name := range []string{"two", "three"} {
			_, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: name, NetNS: path, Network: network})
			if !errors.Is(err, bridged.ErrConflict) || !strings.Contains(err.Error(), "sandbox one already") {
				t.Errorf("%s in network %s: %v", name, network, err)
			}
			checkKernel(t, e, h)
		}
	}
	if err := e.RemoveSandbox(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "two", NetNS: path, Network: "none"}); err != nil {
		t.Errorf("when it is free: %v", err)
	}
	checkKernel(t, e, h)
}
