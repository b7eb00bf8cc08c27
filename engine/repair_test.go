package engine

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// TestRepairLeavesOthersNamespacesAlone: by the time of a repair a path may lead to somebody else's namespace.
func TestRepairLeavesOthersNamespacesAlone(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	defer func() { stop() }()
	ctx := t.Context()
	mine, kept := giveNamespace(t), giveNamespace(t)
	var ends []string
	for name, path := range map[string]string{"mine": mine, "kept": kept} {
		info, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, NetNS: path})
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Joined[0].Endpoint.HostInterface)
	}
	if err := netns.Remove(mine); err != nil {
		t.Fatal(err)
	}
	other, err := netns.Make(mine, "")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	repaired := e.repaired.Load()
	for _, end := range ends {
		if err := e.host.(*machine).links.Delete(end); err != nil {
			t.Fatal(err)
		}
		e.suspect(suspicion{link: end})
	}
	_ = e.mends.wait(ctx, every[suspicion])
	if e.repaired.Load() == repaired {
		t.Error("the pair of the sandbox whose namespace is still there was not repaired")
	}
	if links := in(t, kept, "ip", "-br", "addr"); !strings.Contains(links, "eth0") || !strings.Contains(links, "172.17.") {
		t.Errorf("the repaired sandbox has no interface:\n%s", links)
	}
	if links := in(t, mine, "ip", "-br", "link"); strings.Contains(links, "eth0") {
		t.Errorf("somebody else's namespace got an interface:\n%s", links)
	}
}

// TestRepairGoesOn: a container that put something in the way of its own interface keeps nobody's rules from coming back.
func TestRepairGoesOn(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	cfg.Protection = "monitor"
	e, stop := startIn(t, host, cfg)
	defer func() { stop() }()
	ctx := t.Context()
	hostile := giveNamespace(t)
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "hostile", NetNS: hostile, Ports: specs(t, "8080:80")}); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"link set eth0 down", "link set eth0 name e1", "link add eth0 type bridge", "link del e1"} {
		in(t, hostile, "ip", strings.Fields(command)...)
	}
	in(t, host, "nft", "flush", "ruleset")
	e.suspect(suspicion{})
	_ = e.repairs.wait(ctx, every[struct{}])
	if rules := in(t, host, "nft", "list", "ruleset"); !strings.Contains(rules, "tcp . 8080") {
		t.Errorf("the rules did not come back:\n%s", rules)
	}
	stop()
	e, stop = startIn(t, host, cfg)
	if w := e.Status().Warnings; !strings.Contains(strings.Join(w, "\n"), "eth0") {
		t.Errorf("a start beside a container that broke its interface says %q", w)
	}
}

// TestObstacleKeepsNobodyBusy: a container whose link can't be set up inside gets a new one with each sweep, not one after the other, each of which
// would hold the host's links up.
func TestObstacleKeepsNobodyBusy(t *testing.T) {
	host := giveNamespace(t)
	e, stop := startIn(t, host, testConfig(t))
	defer stop()
	hostile, web := giveNamespace(t), giveNamespace(t)
	for name, path := range map[string]string{"hostile": hostile, "web": web} {
		if _, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: name, NetNS: path}); err != nil {
			t.Fatal(err)
		}
	}
	since := time.Now()
	for _, command := range []string{
		"link add x type veth peer name y", "link set x up", "link set y up", "addr add 192.0.2.1/24 dev x",
		"route replace default via 192.0.2.2", "link del eth0",
	} {
		in(t, hostile, "ip", strings.Fields(command)...)
	}
	before := linksMade(t, host)
	const rounds = 20
	for range rounds {
		events := e.Events(t.Context(), since)
		since = time.Time{} // now
		in(t, web, "ip", "link", "del", "eth0")
		for event := range events {
			if event.Action == "repair" && event.Name == "web" {
				break
			}
			if event.Action == "repair" {
				t.Errorf("told of as a repair: %v", event.Attributes)
			}
		}
	}
	if n := linksMade(t, host) - before - rounds; n > rounds/2 {
		t.Errorf("while the link of another one was put back %d times, that of the hostile one was made %d times", rounds, n)
	}
}

// linksMade is how many links were made in the namespace so far, this one included: the kernel numbers them.
func linksMade(t *testing.T, host string) int {
	t.Helper()
	in(t, host, "ip", "link", "add", "count", "type", "bridge")
	defer in(t, host, "ip", "link", "del", "count")
	number, _, _ := strings.Cut(in(t, host, "ip", "-o", "link", "show", "count"), ":")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestUnjoinedPairIsFinished: a crash between the two datagrams of an attach that a start makes.
func TestUnjoinedPairIsFinished(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	ctx := t.Context()
	inside := giveNamespace(t)
	info, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", NetNS: inside})
	if err != nil {
		t.Fatal(err)
	}
	m := e.host.(*machine)
	end := info.Joined[0].Endpoint.HostInterface
	e.mu.Lock()
	p := e.compiler().whole().pairs[end]
	e.mu.Unlock()
	stop()
	ns, err := netns.Open(host)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(func() (err error) {
		if m, err = openMachine(Config{Protection: "auto", Log: cfg.Log}, less{}); err != nil {
			return err
		}
		if err := m.links.Delete(end); err != nil {
			return err
		}
		return m.addPair(p)
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	_, stop = startIn(t, host, cfg)
	defer stop()
	if links := in(t, inside, "ip", "-br", "addr", "show", "eth0"); !strings.Contains(links, "UP") || !strings.Contains(links, "172.17.0.1/16") {
		t.Errorf("the attach was not finished: %s", links)
	}
}

// TestKeysAreTheCallers: a lease's key is neither a sandbox's name nor the beginning of an id.
func TestKeysAreTheCallers(t *testing.T) {
	h := newFakeHost()
	e, stop := startFake(t, testConfig(t), h)
	defer stop()
	ctx := t.Context()
	info, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	key := info.ID[:2]
	if err := e.ReleaseInterface(ctx, key); bridged.Code(err) != "not-found" {
		t.Errorf("releasing the key %s, which begins the id of a sandbox: %v", key, err)
	}
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: key}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: key}); bridged.Code(err) != "conflict" {
		t.Errorf("creating a sandbox with the name of a lease: %v", err)
	}
	if _, err := e.AllocatePort(ctx, key, specs(t, "8080:80")[0]); err != nil {
		t.Error(err)
	}
	if err := e.ReleaseInterface(ctx, key); err != nil {
		t.Error(err)
	}
	if again, err := e.Sandbox("web"); err != nil || len(again.Joined) != 1 {
		t.Errorf("the sandbox lost its network: %+v, %v", again, err)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web"}); err == nil || !strings.Contains(err.Error(), "sandbox web exists already") {
		t.Errorf("creating it twice: %v", err)
	}
	checkKernel(t, e, h)
}
