package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// followEvents begins to follow an engine's events. The function that it returns waits for the next one of a type, action and name ("*": any)
// with that in one of its attributes.
func followEvents(t testing.TB, e *Engine) (await func(kind, action, name, says string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	events := make(chan bridged.Event, 2*keptEvents)
	all := e.Events(ctx, time.Time{})
	go func() {
		for event := range all {
			events <- event
		}
	}()
	return func(kind, action, name, says string) {
		t.Helper()
		late := time.After(patience)
		for {
			select {
			case event := <-events:
				if event.Type == kind && event.Action == action && (event.Name == name || name == "*") && strings.Contains(fmt.Sprint(event.Attributes), says) {
					return
				}
			case <-late:
				t.Fatalf("no event %s %s %s with %q", kind, action, name, says)
			}
		}
	}
}

// TestTakenAwayComesBack: what others take away of a network and of forwarding comes back, with an event that says what, and what they add stays.
func TestTakenAwayComesBack(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.startWith("0")
	await := followEvents(t, w.engine)
	n := w.joined("c1").Network
	w.host.run("ip addr add 10.99.0.1/24 dev " + n.Bridge)
	w.host.run("ip route add 10.98.0.0/24 dev " + n.Bridge)
	for _, tt := range []struct {
		words, sysctl string // a command, or a parameter that is set to 0
		did           string
		daemon        bool // it is no network's
	}{
		{words: "ip route del " + n.IPv4.Prefix.String() + " dev " + n.Bridge, did: "add route " + n.IPv4.Prefix.String()},
		{words: "ip -6 route del " + n.IPv6.Prefix.String() + " dev " + n.Bridge, did: "add route " + n.IPv6.Prefix.String()},
		{words: "ip -6 addr flush dev " + n.Bridge + " scope link", did: "add address fe80::"},
		{words: "ip addr del " + n.IPv4.GatewayPrefix().String() + " dev " + n.Bridge, did: "add address " + n.IPv4.GatewayPrefix().String()},
		{words: "ip -6 addr flush dev " + n.Bridge, did: "add address " + n.IPv6.GatewayPrefix().String()},
		{words: "ip link set " + n.Bridge + " mtu 1300", did: "set bridge"},
		{words: "ip link set " + n.Bridge + " down", did: "up"},
		{sysctl: "net/ipv4/ip_forward", did: "switch IPv4 forwarding on", daemon: true},
		{sysctl: "net/ipv6/conf/all/forwarding", did: "switch IPv6 forwarding on", daemon: true},
		{sysctl: "net/ipv4/conf/" + n.Bridge + "/route_localnet", did: "route_localnet = 1"},
		{words: "ip link set " + w.endpoint("c1").HostInterface + " nomaster", did: "back into"},
	} {
		if tt.sysctl != "" {
			w.host.sysctl(tt.sysctl, "0")
			w.engine.sweepThrough()
		} else {
			w.host.run(tt.words)
		}
		kind, name := bridged.EventNetwork, "bridge"
		if tt.daemon {
			kind, name = bridged.EventDaemon, ""
		} else if strings.Contains(tt.words, "nomaster") {
			kind, name = bridged.EventSandbox, "c1"
		}
		await(kind, "repair", name, tt.did)
		// Who flushes goes on until nothing is left, so there may be more than one repair.
		for _ = w.engine.mends.wait(t.Context(), every[suspicion]); len(w.difference()) > 0; _ = w.engine.mends.wait(t.Context(), every[suspicion]) {
			await(kind, "repair", name, "")
		}
		w.equal("after " + tt.words + tt.sysctl)
		for _, f := range []flow{
			{from: "lan", to: "host", port: 8080, server: "c1"},
			{from: "host", to: "loopback", port: 8080, server: "c1", only4: true},
			{from: "c1", to: "lan", port: 80, server: "lan", as: "host"},
			{from: "lan", to: "c1", port: 80, at: "c1"},
		} {
			w.check(f)
		}
	}
	if addrs := w.host.run("ip addr show " + n.Bridge); !strings.Contains(addrs, "10.99.0.1/24") {
		t.Errorf("an address that somebody added is gone:\n%s", addrs)
	}
	w.end()
}

// given is a network namespace that only a process holds, since mounts are copied by whoever makes a mount namespace. A link leads to it.
type given struct {
	t    testing.TB
	path string
	cmd  *exec.Cmd
}

func give(t testing.TB) *given {
	t.Helper()
	needRoot(t)
	g := &given{t: t, path: filepath.Join(t.TempDir(), "ns"), cmd: exec.Command("sleep", "1000")}
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.end)
	if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", g.cmd.Process.Pid), g.path); err != nil {
		t.Fatal(err)
	}
	return g
}

// unlink takes the path away.
func (g *given) unlink() {
	if err := os.Remove(g.path); err != nil {
		g.t.Error(err)
	}
}

// end ends the process, and the namespace unless something else holds it.
func (g *given) end() {
	if g.cmd.ProcessState == nil {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait() // it was killed
	}
}

// TestDeadSandboxesAreCollected: a sandbox lives as long as its namespace, whatever becomes of the path; then it is collected, with those
// that share it, and what it had is free.
func TestDeadSandboxesAreCollected(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	defer func() { stop() }()
	ctx := t.Context()
	await := followEvents(t, e)
	held := give(t)
	web, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", NetNS: held.path, Ports: specs(t, "8080:80")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "side", Network: "container:web"}); err != nil {
		t.Fatal(err)
	}
	none := give(t)
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "none", NetNS: none.path, Network: "none"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "lease"}); err != nil {
		t.Fatal(err)
	}

	// The path goes, the namespace does not: its links can even be put back.
	held.unlink()
	e.sweepThrough()
	now, err := e.Sandbox("web")
	if err != nil {
		t.Fatal(err)
	}
	if now.NetNS == held.path || !strings.HasPrefix(now.NetNS, "/proc/") {
		t.Errorf("the namespace is looked for at %s", now.NetNS)
	}
	if side, err := e.Sandbox("side"); err != nil || side.NetNS != now.NetNS {
		t.Errorf("the one that shares it has it at %s (%v)", side.NetNS, err)
	}
	in(t, host, "ip", "link", "del", web.Joined[0].Endpoint.HostInterface)
	await(bridged.EventSandbox, "repair", "web", "create pair")
	if links := in(t, now.NetNS, "ip", "-br", "addr"); !strings.Contains(links, "172.17.") {
		t.Errorf("the link was not put back:\n%s", links)
	}

	// Now the namespaces die: of the one without a link only a sweep knows.
	held.end()
	await(bridged.EventSandbox, "collect", "web", "is gone")
	none.end()
	e.sweepThrough()
	await(bridged.EventSandbox, "collect", "none", "is gone")
	_ = e.mends.wait(ctx, every[suspicion])
	_ = e.lost.wait(ctx, every[string])
	e.settle()
	if left := e.Sandboxes(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if state := e.State(); len(state.Endpoints) != 1 || len(state.Ports) > 0 || len(state.Sandboxes) > 0 {
		t.Errorf("left is %+v", state)
	}
	if elements := in(t, host, "nft", "list", "ruleset"); strings.Contains(elements, "8080") {
		t.Errorf("the port is still published:\n%s", elements)
	}
}

// TestDeadWhileNoDaemonRuns: the same, found by a start.
func TestDeadWhileNoDaemonRuns(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	defer func() { stop() }()
	ctx := t.Context()
	alive, dead, other, held := give(t), give(t), give(t), give(t)
	hold, err := netns.Open(held.path)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	for name, g := range map[string]*given{"alive": alive, "dead": dead, "other": other, "held": held} {
		if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, NetNS: g.path}); err != nil {
			t.Fatal(err)
		}
	}
	e.settle()
	stop()
	alive.unlink()
	dead.end()
	held.end()
	other.unlink()
	other.end()
	strange := give(t) // somebody else's, with the same number in the best case
	if err := os.Rename(strange.path, other.path); err != nil {
		t.Fatal(err)
	}
	// A namespace takes its time to die: its links may be there when the daemon starts.
	if e, err = openIn(t, host, cfg, less{}); err != nil {
		t.Fatal(err)
	}
	await := followEvents(t, e)
	e, stop = run(t, e)
	for range 2 {
		await(bridged.EventSandbox, "collect", "*", "is gone")
	}
	_ = e.repairs.wait(ctx, every[struct{}])
	_ = e.mends.wait(ctx, every[suspicion])
	_ = e.lost.wait(ctx, every[string])
	var names []string
	for _, s := range e.Sandboxes() {
		names = append(names, s.Name)
	}
	// The held one has no path and no process, and yet its link.
	if got := strings.Join(names, " "); got != "alive held" {
		t.Errorf("left are %q", got)
	}
	if links := in(t, other.path, "ip", "-br", "link"); strings.Contains(links, "eth0") {
		t.Errorf("somebody else's namespace got an interface:\n%s", links)
	}
}

// TestOwnPathComesBack: the path of a namespace that we made is ours; who removes it while a process is in the namespace gets it back.
func TestOwnPathComesBack(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	web, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.spaces["/proc/1/ns/net"] = web.NSID
	delete(h.spaces, web.NetNS)
	h.mu.Unlock()
	e.sweepThrough()
	if now, err := e.Sandbox("web"); err != nil || now.NetNS != web.NetNS || h.spaces[web.NetNS] != web.NSID {
		t.Errorf("the sandbox is %+v (%v), the namespaces are %v", now.Sandbox, err, h.spaces)
	}
	h.mu.Lock()
	delete(h.spaces, "/proc/1/ns/net")
	h.mu.Unlock()
	checkKernel(t, e, h)
}

// TestOwnInterfaceIsOwnBusiness: what a container does to its interface leads to no repair, however often, and fills nobody's events.
func TestOwnInterfaceIsOwnBusiness(t *testing.T) {
	host := giveNamespace(t)
	e, stop := startIn(t, host, testConfig(t))
	defer stop()
	inside := giveNamespace(t)
	info, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web", NetNS: inside})
	if err != nil {
		t.Fatal(err)
	}
	await := followEvents(t, e)
	for range 5 {
		in(t, inside, "ip", "addr", "flush", "dev", "eth0")
		in(t, inside, "ip", "link", "set", "eth0", "down")
	}
	// The host's end is ours: by the time that it is repaired, what came before was looked at.
	in(t, host, "ip", "link", "set", info.Joined[0].Endpoint.HostInterface, "nomaster")
	await(bridged.EventSandbox, "repair", "web", "back into")
	if n := e.repaired.Load(); n != 1 {
		t.Errorf("%d repairs, want that of the host's end alone", n)
	}
	if addrs := in(t, inside, "ip", "-br", "addr", "show", "eth0"); strings.Contains(addrs, "172.17.") {
		t.Errorf("the container's interface was set up again: %s", addrs)
	}
}
