package dockerengine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// restartEngine starts another engine in place of the one that ended.
func (w *world) restartEngine(flags ...string) {
	w.t.Helper()
	w.engines = w.engine("", slices.Concat(bare, flags)...)
}

// c1Ports is what the tests of this file publish.
var c1Ports = []string{"-p", "8080:80", "-p", "8080:80/udp"}

func publishedBy(name string) []string {
	return slices.Concat(bothFamilies(name, "80/tcp", 8080), bothFamilies(name, "80/udp", 8080))
}

// An engine that stops and starts replays nothing: networks are there as before, containers come back on them with new endpoints, and what
// was reserved for its gateway is not given out.
func TestEngineRestarted(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	w.docker(networkOptions("default", "--subnet", "172.28.0.0/24", "n2")...)
	w.run("c1", append([]string{"--network", "n1", "--restart", "always"}, c1Ports...)...)
	w.run("c2", "--network", "n2")
	for _, end := range []func(*flowtest.Process){(*flowtest.Process).Stop, (*flowtest.Process).Kill} {
		end(w.engines)
		w.restartEngine()
		w.traffic(t, w.container("c1")).goesOn(t)
		w.published(publishedBy("c1")...)
		w.docker("start", "c2")
		flowtest.Serve(t, w.container("c2").Space, 80)
		flowtest.Reaches(t, w.host, "tcp", netip.AddrPortFrom(w.container("c2").on("n2").addr(families[0]), 80), "c2")
		status := decode[struct{ Endpoints int }](w, "status", "--json")
		if status.Endpoints != 2 {
			t.Errorf("there are %d endpoints", status.Endpoints)
		}
		w.settled()
	}
	w.docker("rm", "-f", "c1", "c2")
	w.docker("network", "rm", "n1", "n2")
	w.nothingLeft()
}

// With live restore containers outlive their engine, stopped or killed, and nothing of them is lost; afterwards they are the next one's: they leave without
// a word before.
func TestLiveRestore(t *testing.T) {
	w := newPluginWorld(t, "--live-restore")
	w.network("n1")
	tr := w.traffic(t, w.run("c1", append([]string{"--network", "n1"}, c1Ports...)...))
	for _, end := range []func(*flowtest.Process){(*flowtest.Process).Stop, (*flowtest.Process).Kill} {
		tr.lossless(t, func() {
			end(w.engines)
			tr.goesOn(t)
			w.restartEngine("--live-restore")
			tr.goesOn(t)
		})
		w.published(publishedBy("c1")...)
	}
	w.docker("stop", "c1")
	w.published()
	w.docker("start", "c1")
	w.traffic(t, w.container("c1")).goesOn(t)
	w.docker("rm", "-f", "c1")
	w.docker("network", "rm", "n1")
	w.nothingLeft()
}

// bridged stopped or killed, and started again, while containers run: no packet of theirs is lost, and they can be stopped and started afterwards.
func TestDaemonRestarted(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	tr := w.traffic(t, w.run("c1", append([]string{"--network", "n1"}, c1Ports...)...))
	w.run("c2", "--network", "n1")
	for _, end := range []func(*flowtest.Process){(*flowtest.Process).Stop, (*flowtest.Process).Kill} {
		tr.lossless(t, func() {
			end(w.ours)
			tr.goesOn(t)
			w.ours = w.daemon()
			tr.goesOn(t)
		})
		w.settled()
		w.docker("rm", "-f", "c2")
		w.published(publishedBy("c1")...)
		w.run("c2", "--network", "n1", "-p", "8081:80")
	}
	w.docker("rm", "-f", "c1", "c2")
	w.docker("network", "rm", "n1")
	w.nothingLeft()
}

// A network that the engine forgot is kept, with all that it has, until the user removes it.
func TestForgottenNetwork(t *testing.T) {
	w := newPluginWorld(t)
	id := w.network("--subnet", "172.28.0.0/24", "--subnet", "fd00:28::/64", "n1")
	w.run("c1", append([]string{"--network", "n1"}, c1Ports...)...)
	w.engines.Kill()
	w.host.Output(t, "sh", "-c", "rm -r /run/engine/data/network")
	w.restartEngine()
	if out := w.docker("network", "ls", "-q", "--filter", "driver=bridged"); out != "" {
		t.Fatalf("the engine remembers %s", out)
	}
	w.docker("rm", "-f", "c1")
	if !slices.Contains(strings.Fields(w.bridged("network", "ls", "-q")), id[:12]) {
		t.Errorf("network %s is gone:\n%s", id, w.bridged("network", "ls"))
	}
	// What is kept is in the way of one that overlaps, and the message says of what.
	w.refuses("172.28.0.0/24 of network docker-"+id[:12], networkOptions("bridged", "--subnet", "172.28.0.0/16", "n2")...)
	if r := w.tryBridged("network", "rm", id); r.code != 4 || !strings.Contains(r.stderr, "c1") {
		t.Errorf("a network that somebody is in: %v", r)
	}
	w.published(publishedBy("c1")...)
	w.bridged("network", "disconnect", "-f", id, "c1")
	w.published()
	w.bridged("network", "rm", id)
	w.docker(networkOptions("bridged", "--subnet", "172.28.0.0/16", "n2")...)
	w.docker("network", "rm", "n2")
	w.nothingLeft()
}

// Sandboxes of others can be in a network of the engine's, which knows nothing of them: it forgets a network that they keep, and its own address management gives
// their addresses out, where ours does not.
func TestGuest(t *testing.T) {
	w := newPluginWorld(t)
	id := w.network("--subnet", "172.28.0.0/24", "n1")
	w.bridged("sandbox", "create", "--network", id, "guest")
	w.run("c1", "--network", "n1")
	w.docker("rm", "-f", "c1")
	w.docker("network", "rm", "n1")
	if out := w.docker("network", "ls", "-q", "--filter", "driver=bridged"); out != "" {
		t.Errorf("the engine remembers %s", out)
	}
	if r := w.tryBridged("network", "rm", id); r.code != 4 || !strings.Contains(r.stderr, "guest") {
		t.Errorf("a network that somebody is in: %v", r)
	}
	w.bridged("sandbox", "rm", "guest")
	w.bridged("network", "rm", id)
	w.docker(networkOptions("default", "--subnet", "172.28.0.0/24", "n2")...)
	w.bridged("sandbox", "create", "--network", "docker-"+w.docker("network", "inspect", "-f", "{{.Id}}", "n2")[:12], "guest")
	w.refuses("address 172.28.0.2 is already in use", "run", "--name", "c2", "--network", "n2", image)
	w.bridged("sandbox", "rm", "guest")
	w.docker("rm", "c2")
	w.docker("network", "rm", "n2")
	w.nothingLeft()
}

// Many containers at once, on two networks: no address or port is given out twice, all that is published leads to its container, and everything can be
// given back.
func TestConcurrentRuns(t *testing.T) {
	const count = 8
	w := newPluginWorld(t)
	w.network("n0")
	w.network("n1")
	for round := range 2 {
		var running sync.WaitGroup
		for i := range count {
			running.Go(func() {
				r := w.tryDocker("run", "-d", "--stop-signal", "KILL", "--name", fmt.Sprintf("c%d", i), "--network", fmt.Sprintf("n%d", i%2),
					"-p", fmt.Sprintf("%d:80", 8000+i), "-p", "81", image)
				if r.code != 0 {
					t.Error(r)
				}
			})
		}
		running.Wait()
		var want []string
		for i := range count {
			name := fmt.Sprintf("c%d", i)
			c := w.container(name)
			flowtest.Serve(t, c.Space, 80, 81)
			for _, host := range []netip.Addr{host4, host6} {
				flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, uint16(8000+i)), name)
			}
			want = append(want, bothFamilies(name, "80/tcp", 8000+i)...)
		}
		var fixed []string
		for _, p := range w.ports() {
			if p.Port == "80/tcp" {
				fixed = append(fixed, p.String())
			}
			flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(pick(netip.MustParseAddr(p.HostIP), host4, host6), uint16(p.number())), p.Sandbox)
		}
		if slices.Sort(fixed); !slices.Equal(fixed, want) {
			t.Errorf("round %d: published are %q", round, fixed)
		}
		w.settled()
		for i := range count {
			running.Go(func() {
				if r := w.tryDocker("rm", "-f", fmt.Sprintf("c%d", i)); r.code != 0 {
					t.Error(r)
				}
			})
		}
		running.Wait()
		w.published()
	}
	w.docker("network", "rm", "n0", "n1")
	w.nothingLeft()
}
