package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// await waits for an event that happened since then.
func await(t testing.TB, e *Engine, since time.Time, headline string) bridged.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for event := range e.Events(ctx, since) {
		if event.Type+" "+event.Action == headline {
			return event
		}
	}
	t.Fatalf("there was no event %q; there were %v", headline, headlines(kept(e)))
	return bridged.Event{}
}

// mortal is a namespace that the test ends itself.
func mortal(t testing.TB) (path string, end func()) {
	t.Helper()
	needRoot(t)
	path = filepath.Join(t.TempDir(), "ns")
	ns, err := netns.Make(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		if err := netns.Remove(path); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return path, end
}

// loud keeps what is logged as a warning or worse.
func loud(cfg *Config) *bytes.Buffer {
	var b bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return &b
}

// TestLeaseLosesItsLink: a container that ends takes its end of the pair along, before anybody gives the lease back. That is no damage, is not
// fought over, and what is left is given back as ever, or gets another link.
func TestLeaseLosesItsLink(t *testing.T) {
	for _, how := range []struct {
		name string
		lose func(t *testing.T, host, inside string, end func(), e bridged.Endpoint)
	}{
		{"its namespace ends", func(_ *testing.T, _, _ string, end func(), _ bridged.Endpoint) { end() }},
		{"the caller deletes its end", func(t *testing.T, _, inside string, _ func(), _ bridged.Endpoint) {
			in(t, inside, "ip", "link", "delete", "eth0")
		}},
		{"somebody deletes the host's end", func(t *testing.T, host, _ string, _ func(), e bridged.Endpoint) {
			in(t, host, "ip", "link", "delete", e.HostInterface)
		}},
	} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/daemon running %t", how.name, running), func(t *testing.T) {
				host, cfg := giveNamespace(t), testConfig(t)
				said := loud(&cfg)
				e, stop := startIn(t, host, cfg)
				defer func() { stop() }()
				ctx := t.Context()
				inside, end := mortal(t)
				key := leaseKey(1)
				j := lease(t, e, host, bridged.SandboxSpec{Name: key, NetNS: inside, Ports: specs(t, "8080:80")})
				if !running {
					stop()
				}
				since := time.Now()
				how.lose(t, host, inside, end, j.Endpoint)
				if !running {
					awaitGone(t, host, j.Endpoint.HostInterface)
					e, stop = startIn(t, host, cfg)
				}
				if lost := await(t, e, since, "lease lost"); lost.Name != key || lost.Attributes["link"] != j.Endpoint.HostInterface {
					t.Errorf("the event is %+v", lost)
				}
				checkEqual(t, e, "without the link")
				if rules := in(t, host, "nft", "list", "ruleset"); strings.Contains(rules, j.Endpoint.HostInterface) {
					t.Errorf("elements of the link are left:\n%s", rules)
				}
				if ports, err := e.Ports(key); err != nil || len(ports) != 2 {
					t.Errorf("its ports are %v (%v)", ports, err)
				}
				again, peer, err := e.JoinInterface(ctx, key)
				if err != nil || again.Endpoint.HostInterface == j.Endpoint.HostInterface || again.Endpoint.IPv4 != j.Endpoint.IPv4 {
					t.Errorf("joining again: %+v, %v", again, err)
				}
				in(t, host, "ip", "link", "show", peer)
				in(t, host, "ip", "link", "delete", peer)
				// Whether anybody has noticed that or not:
				for _, giveBack := range []func(context.Context, string) error{e.LeaveInterface, e.ReleaseInterface} {
					if err := giveBack(ctx, key); err != nil {
						t.Error(err)
					}
				}
				checkEqual(t, e, "given back")
				stop()
				stop = func() {}
				if said.Len() > 0 {
					t.Errorf("it was logged loudly:\n%s", said)
				}
			})
		}
	}
}

// awaitGone waits until a link is gone: a namespace that ends takes its time.
func awaitGone(t testing.TB, host, name string) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		if !strings.Contains(in(t, host, "ip", "-br", "link"), name) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is still there", name)
		}
	}
}

// TestLeaseIsRepaired: what others do to the host's end is undone, wherever the caller's end is by now. What is inside is not looked at.
func TestLeaseIsRepaired(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.leased = true
	w.startWith("0")
	defer w.end()
	end := w.endpoint("c1").HostInterface
	flows := func(when string) {
		t.Helper()
		w.engine.settled()
		w.equal(when)
		w.check(flow{from: "lan", to: "host", port: 8080, server: "c1"})
		w.check(flow{from: "c1", to: "host", port: 8080, server: "c1"}) // needs hairpin mode
		w.check(flow{from: "c1", to: "lan", port: 80, server: "lan", as: "host"})
		w.check(flow{from: "lan", to: "c1", port: 80, at: "c1"})
	}
	flows("at first")
	for _, damage := range []string{
		"ip link set " + end + " nomaster",
		"ip link set " + end + " down",
		"bridge link set dev " + end + " hairpin off",
		"ip link set " + end + " alias mine",
		"ip link set " + end + " mtu 1300",
		"ip link delete docker0",
	} {
		since := time.Now()
		w.host.run(damage)
		if strings.Contains(damage, "alias") {
			w.engine.suspect(suspicion{}) // here and now
		} else {
			await(t, w.engine, since, map[bool]string{true: "network repair", false: "lease repair"}[strings.Contains(damage, "docker0")])
		}
		flows("after " + damage)
	}
	// What the caller does inside is the caller's business.
	repaired := w.engine.repaired.Load()
	w.spaces["c1"].run("ip link set eth0 down")
	w.spaces["c1"].run("ip link set eth0 name lan0")
	w.spaces["c1"].run("ip address flush dev lan0")
	w.engine.settled()
	if n := w.engine.repaired.Load(); n != repaired {
		t.Errorf("the container was repaired %d times", n-repaired)
	}
}

// TestLeaseIsGuarded: who is in the container can use no other address than its own, as in a sandbox.
func TestLeaseIsGuarded(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.leased = true
	w.startWith("0")
	defer w.end()
	c1, gateway := w.spaces["c1"], w.joined("c1").Network.IPv4.Gateway
	w.check(flow{from: "c1", to: "c2", port: 80, server: "c2", as: "c1"})
	c1.run("ip address add 172.17.0.99/16 dev eth0")
	c1.run("ip route replace default via " + gateway.String() + " src 172.17.0.99")
	c1.run("ip route replace 172.17.0.0/16 dev eth0 src 172.17.0.99")
	for _, to := range []string{"c2", "lan"} {
		f := flow{from: "c1", to: to, at: to}
		if w.arrives(f, "udp", netip.AddrPortFrom(w.addr(to, false), 80)) {
			t.Errorf("a forged source reaches %s", to)
		}
	}
	c1.run("ip -4 address flush dev eth0")
	c1.run("ip address add " + w.endpoint("c1").IPv4.String() + " dev eth0")
	c1.run("ip route add default via " + gateway.String())
	w.check(flow{from: "c1", to: "c2", port: 80, server: "c2", as: "c1"})
	w.check(flow{from: "c1", to: "lan", port: 80, server: "lan", as: "host"})
}

// TestLeaseIsRebuilt: a start whose log was lost finds leases with a link, with their keys, names and ports, in the kernel.
func TestLeaseIsRebuilt(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	ctx := t.Context()
	inside := giveNamespace(t)
	key := leaseKey(7)
	lease(t, e, host, bridged.SandboxSpec{Name: key, NetNS: inside, Ports: specs(t, "8080:80", "53:53/udp")})
	if err := e.NameInterface(ctx, key, "web"); err != nil {
		t.Fatal(err)
	}
	want, _, _ := e.Interface(key)
	ports, err := e.Ports("web")
	if err != nil || len(ports) != 4 || ports[0].SandboxName != "web" {
		t.Fatalf("the ports are %v (%v)", ports, err)
	}
	rules := in(t, host, "nft", "-s", "list", "ruleset")
	stop()
	if err := os.Remove(filepath.Join(cfg.RunDir, "log")); err != nil {
		t.Fatal(err)
	}
	e, stop = startIn(t, host, cfg)
	defer func() { stop() }()
	got, _, _ := e.Interface(key)
	want.Endpoint.Created, got.Endpoint.Created = time.Time{}, time.Time{} // the kernel does not know
	if d := cmp.Diff(want.Endpoint, got.Endpoint, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("rebuilt (-want +got):\n%s", d)
	}
	if again, err := e.Ports("web"); err != nil || !slices.Equal(again, ports) {
		t.Errorf("the ports are %v (%v), want %v", again, err, ports)
	}
	checkEqual(t, e, "rebuilt")
	if now := in(t, host, "nft", "-s", "list", "ruleset"); now != rules {
		t.Errorf("the rules are others:\n%s", cmp.Diff(rules, now))
	}
	in(t, inside, "ping", "-c1", "-W2", want.Network.IPv4.Gateway.String())
	if err := errors.Join(e.LeaveInterface(ctx, key), e.ReleaseInterface(ctx, key)); err != nil {
		t.Error(err)
	}
}
