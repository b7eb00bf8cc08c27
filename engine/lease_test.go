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

// lease gives a container all that Docker's engine has us give it: addresses, a link, published ports.
func lease(t testing.TB, e *Engine, host string, spec bridged.SandboxSpec) bridged.Joined {
	t.Helper()
	_, err := e.AllocateInterface(t.Context(), bridged.InterfaceSpec{ID: spec.Name, Network: spec.Network, IPv4: spec.IPv4, IPv6: spec.IPv6, MAC: spec.MAC})
	if err != nil {
		t.Fatal(err)
	}
	j := joinIn(t, e, host, spec.NetNS, spec.Name)
	if _, _, err := e.SetPorts(t.Context(), spec.Name, spec.Ports); err != nil {
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
	for _, a := range j.Endpoint.Addrs() {
		s := j.Network.Subnet(a.Is6())
		setUp = append(setUp, fmt.Sprintf("addr add %s/%d dev eth0%s", a, s.Prefix.Bits(), map[bool]string{true: " nodad"}[a.Is6()]))
		if !j.Network.Internal {
			setUp = append(setUp, "route add default via "+s.Gateway.String())
		}
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

// TestLeasesFlow: the promises about who reaches whom hold for leases with a link as they do for sandboxes, on kernels with less, too, and
// after a restart.
func TestLeasesFlow(t *testing.T) {
	for _, k := range lesserKernels {
		for _, brNetfilter := range []string{"0", "1"} {
			t.Run(k.name+"/br_netfilter="+brNetfilter, func(t *testing.T) {
				cfg := testConfig(t)
				cfg.IPv6 = !k.noIPv6
				w := newWorld(t, cfg, k.less)
				w.leased = true
				if k.prepare != nil {
					k.prepare(w)
				}
				w.startWith(brNetfilter)
				w.equal("at the start")
				w.checkFlows()
				w.stop()
				w.start()
				w.equal("after the restart")
				w.checkFlows()
				w.end()
			})
		}
	}
}
