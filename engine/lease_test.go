package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// joinedPair makes two leases, "lease" and, with a link and a port, "joined".
func joinedPair(t testing.TB, e *Engine) {
	t.Helper()
	for _, key := range []string{"lease", "joined"} {
		allocate(t, e, key)
	}
	_, _, err := e.JoinInterface(t.Context(), "joined")
	if err == nil {
		_, _, err = e.SetPorts(t.Context(), "joined", specs(t, "7000:80", "7001:80/udp"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// randomPorts are a few, some with a host port to choose.
func randomPorts(t testing.TB, rnd *rand.Rand) (ports []bridged.PortSpec) {
	for range rnd.IntN(4) {
		spec := fmt.Sprintf("%d", 1+rnd.IntN(5))
		switch rnd.IntN(3) {
		case 0:
			spec = fmt.Sprintf("%d:%s", 7000+rnd.IntN(10), spec)
		case 1:
			spec = "7000-7009:" + spec
		}
		ports = append(ports, specs(t, spec)...)
	}
	return ports
}

// leaseIsLeft ends the link of a lease in one of the ways there are, or all that are there.
func leaseIsLeft(ctx context.Context, e *Engine, h *fakeHost, rnd *rand.Rand, key string) {
	switch rnd.IntN(4) {
	case 0:
		_ = e.LeaveInterface(ctx, key)
	case 1:
		_ = e.ReleaseInterface(ctx, key)
	case 2:
		_ = e.NameInterface(ctx, key, fmt.Sprintf("name%d", rnd.IntN(3)))
	case 3:
		h.failNext(0)
		e.settle()
		for _, end := range h.loseLeases() {
			e.suspect(suspicion{link: end})
		}
		_ = e.mends.wait(ctx, every[suspicion])
		_ = e.lost.wait(ctx, every[string])
	}
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

// TestSetPorts: the ports of a lease become those that are asked for, whatever they were; those that stay are not touched.
func TestSetPorts(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	for _, key := range []string{"lease", "other"} {
		allocate(t, e, key)
	}
	if _, err := e.AllocatePort(ctx, "other", specs(t, "7777:77")[0]); err != nil {
		t.Fatal(err)
	}
	chosen := make(map[string]string) // host ports by container port
	for _, step := range []struct {
		ask     string
		want    string // host port : container port / protocol, IPv4 only; "?" is one to choose, the same in all steps
		code    string
		commits uint64
	}{
		{ask: "", want: ""},
		{ask: "8080:80 90 8080:80/udp", want: "8080:80/tcp ?:90/tcp 8080:80/udp", commits: 1},
		{ask: "8080:80/udp 90 8080:80", want: "8080:80/udp ?:90/tcp 8080:80/tcp"},
		{ask: "8080:80 8080:80 90", want: "8080:80/tcp ?:90/tcp", commits: 1},
		{ask: "8080:81 90", want: "8080:81/tcp ?:90/tcp", commits: 1},                                        // leads elsewhere
		{ask: "81 8080-8090:81 90", want: "", code: "", commits: 1},                                          // see below
		{ask: "8080:81 90 7777:1", code: "conflict"},                                                         // all or nothing
		{ask: "8080:81 [::1]:90:90", code: "invalid"},                                                        // as well
		{ask: "8100-8101:1 8100:2 8101:3 90", code: "conflict"},                                              // the strict ones come first
		{ask: "8100-8102:1 8100:2 8101:3 90", want: "8102:1/tcp 8100:2/tcp 8101:3/tcp ?:90/tcp", commits: 1}, // whatever the order
		{ask: "8100-8102:1 90", want: "8102:1/tcp ?:90/tcp", commits: 1},
		{ask: "127.0.0.1:8102:1 90", code: "conflict"}, // it is in its own way
		{ask: "8100-8102:1/udp 90 91-92:91-92", want: "8100:1/udp ?:90/tcp 91:91/tcp 92:92/tcp", commits: 1},
		{ask: "", want: "", commits: 1},
	} {
		before, commits := e.State().Ports, h.commits
		ports, _, err := e.SetPorts(ctx, "lease", specs(t, strings.Fields(step.ask)...))
		if code := map[bool]string{true: "", false: bridged.Code(err)}[err == nil]; code != step.code {
			t.Fatalf("%q: %v, want %q", step.ask, err, step.code)
		}
		checkKernel(t, e, h)
		if n := h.commits - commits; n != step.commits {
			t.Errorf("%q: %d transactions, want %d", step.ask, n, step.commits)
		}
		if err != nil {
			if !maps.Equal(before, e.State().Ports) {
				t.Errorf("%q failed, and changed the ports to %v", step.ask, e.State().Ports)
			}
			continue
		}
		if n := len(e.State().Ports) - 2; n != len(ports) {
			t.Errorf("%q: %d ports are published, and %d were returned", step.ask, n, len(ports))
		}
		var got []string
		for _, p := range ports {
			if p.Binding.HostIP.Is6() {
				continue
			}
			inside, host := fmt.Sprintf("%d/%s", p.ContainerPort, p.Binding.Proto), fmt.Sprint(p.Binding.HostPort)
			if p.ContainerPort == 90 {
				if was := chosen[inside]; was != "" && was != host {
					t.Errorf("%q: the chosen port %s of %s is %s now", step.ask, was, inside, host)
				}
				chosen[inside], host = host, "?"
			}
			got = append(got, host+":"+inside)
		}
		if text := strings.Join(got, " "); text != step.want && step.want != "" {
			t.Errorf("%q: %s, want %s", step.ask, text, step.want)
		}
	}
	if _, _, err := e.SetPorts(ctx, "nobody", nil); bridged.Code(err) != "not-found" {
		t.Errorf("ports of no lease: %v", err)
	}
}

// TestDisconnectLease: a lease that its caller does not know any more goes on the user's word, by its key, its beginning, or its name.
func TestDisconnectLease(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	keys := []string{"aaaa1", "aaaa2", "bbbb1", "bbbb2"}
	for _, key := range keys {
		allocate(t, e, key)
		if err := e.NameInterface(ctx, key, "web-"+key[4:]); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := e.SetPorts(ctx, "bbbb2", specs(t, "8080:80")); err != nil {
		t.Fatal(err)
	}
	if info, err := e.Network("bridge"); err != nil || len(info.Members) != 4 || info.Members[0].SandboxName != "web-1" {
		t.Errorf("the network shows %+v (%v)", info.Members, err)
	}
	for _, try := range []struct {
		network, ref string
		force        bool
		code         string
	}{
		{"bridge", "aaaa1", false, "conflict"},
		{"bridge", "nobody", true, "not-found"},
		{"nowhere", "aaaa1", true, "not-found"},
		{"host", "aaaa1", true, "not-found"},
		{"bridge", "", true, "invalid"},
		{"bridge", "aaaa", true, "invalid"},
		{"bridge", "web-1", true, "invalid"},
		{"bridge", "aaaa1", true, ""},
		{"bridge", "aaaa1", true, "not-found"},
		{"bridge", "web-1", true, ""}, // there is one now
		{"bridge", "b", true, ""},
		{"bridge", "aaaa2", true, ""},
	} {
		err := e.Disconnect(ctx, try.network, try.ref, try.force)
		if code := map[bool]string{true: "", false: bridged.Code(err)}[err == nil]; code != try.code {
			t.Errorf("%+v: %v", try, err)
		}
		checkKernel(t, e, h)
	}
	if s := e.State(); len(s.Endpoints)+len(s.Ports) > 0 {
		t.Errorf("there are left %v and %v", s.Endpoints, s.Ports)
	}
}

// TestLeaseCalledAsAnID: a container with the name that an id begins with, as "db" or "cafe", is meant by its name, and the sandbox with that id is not
// touched.
func TestLeaseCalledAsAnID(t *testing.T) {
	e, stop := startFake(t, testConfig(t), newFakeHost())
	defer stop()
	ctx := t.Context()
	s, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Ports: specs(t, "127.0.0.1:7000:70")})
	if err != nil {
		t.Fatal(err)
	}
	allocate(t, e, "key")
	name := s.ID[:4]
	if err := e.NameInterface(ctx, "key", name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.SetPorts(ctx, "key", specs(t, "127.0.0.1:8080:80")); err != nil {
		t.Fatal(err)
	}
	shows := func(want string) {
		t.Helper()
		if ports, err := e.Ports(name); err != nil || len(ports) != 1 || ports[0].SandboxName != want {
			t.Errorf("the ports of %s are %v (%v), want those of %s", name, ports, err, want)
		}
	}
	shows(name)
	if err := e.Disconnect(ctx, "bridge", name, false); bridged.Code(err) != "conflict" {
		t.Errorf("without force: %v", err)
	}
	if err := e.Disconnect(ctx, "bridge", name, true); err != nil {
		t.Error(err)
	}
	if _, _, there := e.Interface("key"); there {
		t.Error("the lease is still there")
	}
	shows("web") // whose id begins so
	if s, err := e.Sandbox("web"); err != nil || len(s.Joined) != 1 {
		t.Errorf("the sandbox is in %v (%v)", s.Joined, err)
	}
}

// TestLeaseEvents: what becomes of a lease is told.
func TestLeaseEvents(t *testing.T) {
	e, stop := startFake(t, testConfig(t), newFakeHost())
	defer stop()
	ctx, first := t.Context(), len(kept(e))
	allocate(t, e, "key")
	_, _, err := e.JoinInterface(ctx, "key")
	_, _, portErr := e.SetPorts(ctx, "key", specs(t, "127.0.0.1:8080:80"))
	err = errors.Join(err, portErr, e.NameInterface(ctx, "key", "web"), e.NameInterface(ctx, "key", "web"), e.LeaveInterface(ctx, "key"), e.ReleaseInterface(ctx, "key"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"lease allocate key", "lease join key", "port publish key", "lease rename web", "lease leave web", "port unpublish web", "lease release web"}
	if d := cmp.Diff(want, headlines(kept(e)[first:])); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}
