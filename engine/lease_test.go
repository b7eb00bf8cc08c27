package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// leaseKey is a key as Docker's endpoint ids are.
func leaseKey(n int) string { return fmt.Sprintf("%064x", n) }

// allocate gives a lease on the default network.
func allocate(t testing.TB, e *Engine, key string) bridged.Joined {
	t.Helper()
	j, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: key})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// joinIn makes the link of a lease and gives its other end to the namespace at path, as Docker's engine does: moved, renamed, with the
// addresses of the lease.
func joinIn(t testing.TB, e *Engine, host, path, key string) bridged.Joined {
	t.Helper()
	j, peer, err := e.JoinInterface(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	in(t, host, "ip", "link", "set", peer, "netns", path)
	setUp := []string{"link set lo up", "link set " + peer + " name eth0", "link set eth0 up"}
	for _, p := range []string{j.Endpoint.IPv4.String(), j.Endpoint.IPv6.String()} {
		if !strings.HasPrefix(p, "invalid") {
			setUp = append(setUp, "addr add "+p+" dev eth0 nodad")
		}
	}
	if !j.Network.Internal {
		setUp = append(setUp, "route add default via "+j.Network.IPv4.Gateway.String())
	}
	for _, command := range setUp {
		in(t, path, "ip", strings.Fields(command)...)
	}
	return j
}

// TestJoinInterface: the pair of a lease is a port of the bridge with all that a sandbox's has, and its other end waits in the daemon's
// namespace for the caller. All of it can be asked for again.
func TestJoinInterface(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	defer func() { stop() }()
	ctx, key := t.Context(), leaseKey(1)
	if _, _, err := e.JoinInterface(ctx, key); bridged.Code(err) != "not-found" {
		t.Errorf("joining without a lease: %v", err)
	}
	if err := e.LeaveInterface(ctx, key); bridged.Code(err) != "not-found" {
		t.Errorf("leaving without a lease: %v", err)
	}
	lease := allocate(t, e, key)
	j, peer, err := e.JoinInterface(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, again, err := e.JoinInterface(ctx, key); err != nil || again != peer {
		t.Errorf("joining again gives %s (%v), after %s", again, err, peer)
	}
	show := in(t, host, "ip", "-d", "link", "show", peer)
	for _, want := range []string{"state DOWN", lease.Endpoint.MAC.String(), fmt.Sprintf("mtu %d", j.Network.MTU), peer + "@" + j.Endpoint.HostInterface} {
		if !strings.Contains(show, want) {
			t.Errorf("the caller's end has no %q:\n%s", want, show)
		}
	}
	if port := in(t, host, "ip", "-d", "link", "show", j.Endpoint.HostInterface); !strings.Contains(port, "master docker0") || !strings.Contains(port, "hairpin on") ||
		!strings.Contains(port, "key="+key) {
		t.Errorf("the host's end is no port as it should be:\n%s", port)
	}
	inside := giveNamespace(t)
	joinIn(t, e, host, inside, key)
	in(t, inside, "ping", "-c1", "-W2", lease.Network.IPv4.Gateway.String())
	checkEqual(t, e, "joined")
	for range 2 {
		if err := e.LeaveInterface(ctx, key); err != nil {
			t.Error(err)
		}
		checkEqual(t, e, "left")
		if links := in(t, host, "ip", "-br", "link"); strings.Contains(links, "bv") {
			t.Errorf("the pair is left:\n%s", links)
		}
	}
	if got, _, ok := e.Interface(key); !ok || got.Endpoint.IPv4 != lease.Endpoint.IPv4 || got.Endpoint.Peer != "" {
		t.Errorf("the lease that was left is %+v, %t", got, ok)
	}
	if err := e.ReleaseInterface(ctx, key); err != nil {
		t.Error(err)
	}
	checkEqual(t, e, "released")
}

// checkEqual holds the kernel against the state.
func checkEqual(t testing.TB, e *Engine, when string) {
	t.Helper()
	e.settled()
	e.world.Lock() // nobody repairs meanwhile
	defer e.world.Unlock()
	plan, lost, err := e.difference(t.Context(), nil)
	if err != nil || len(plan) > 0 || len(lost) > 0 {
		t.Errorf("%s: the kernel differs from the state (%v, lost %v):\n%s", when, err, lost, plan)
	}
}
