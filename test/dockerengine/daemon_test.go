package dockerengine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// daemon starts bridged as the plugin of the host's engine, and waits until it is ready.
func (w *world) daemon(flags ...string) *flowtest.Process {
	w.t.Helper()
	d := w.host.Launch(w.t, daemonCommand(flags...))
	if r := w.tryBridged("status", "--wait", "10s"); r.code != 0 {
		w.t.Fatal(r)
	}
	return d
}

// daemonCommand is bridged with nothing but what an engine wants of it.
func daemonCommand(flags ...string) *exec.Cmd {
	cmd := exec.Command(program, append([]string{"daemon", "--state-dir", "/run/state", "--bridge", "none",
		"--docker-plugin-socket", "/run/docker/plugins/bridged.sock"}, flags...)...)
	cmd.Env = []string{"PATH=", "GORACE=halt_on_error=1 atexit_sleep_ms=0"}
	return cmd
}

// newPluginWorld is a world with both daemons, ours first, and an engine that leaves the packet filter alone; flags are further ones of the engine.
func newPluginWorld(t testing.TB, flags ...string) *world {
	t.Helper()
	w := newWorld(t)
	w.ours = w.daemon()
	w.engines = w.engine("", slices.Concat(bare, flags)...)
	w.importImage()
	return w
}

// networkOptions are the arguments of `docker network create` for one of ours.
func networkOptions(ipam string, args ...string) []string {
	return slices.Concat([]string{"network", "create", "-d", "bridged", "--ipam-driver", ipam}, args)
}

// network makes a network of ours with both families, and returns its id. The last argument is its name.
func (w *world) network(args ...string) string {
	w.t.Helper()
	return w.docker(networkOptions("bridged", append([]string{"--ipv6"}, args...)...)...)
}

// port is a line of `bridged port ls --json`.
type port struct{ Sandbox, Port, HostIP, HostPort string }

func (p port) String() string {
	return fmt.Sprintf("%s %s -> %s", p.Sandbox, p.Port, netip.AddrPortFrom(netip.MustParseAddr(p.HostIP), uint16(p.number())))
}

func (p port) number() int {
	n, _ := strconv.Atoi(p.HostPort)
	return n
}

// ports are all that `bridged port ls` shows.
func (w *world) ports() []port {
	w.t.Helper()
	return decode[[]port](w, "port", "ls", "--json")
}

// published waits until `bridged port ls` shows exactly these, as in "c1 80/tcp -> 0.0.0.0:8080", in any order. A container's name is asked for behind
// the answer; the daemon's events tell when.
func (w *world) published(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	var got []string
	for end := time.Now().Add(flowtest.Patience); time.Now().Before(end); {
		got = nil
		for _, p := range w.ports() {
			got = append(got, p.String())
		}
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
	}
	w.t.Errorf("published are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
}

// bothFamilies is what a publication on every address looks like.
func bothFamilies(sandbox, port string, number int) []string {
	return []string{fmt.Sprintf("%s %s -> 0.0.0.0:%d", sandbox, port, number), fmt.Sprintf("%s %s -> [::]:%d", sandbox, port, number)}
}

// decode runs a command of ours that prints JSON.
func decode[T any](w *world, args ...string) T {
	w.t.Helper()
	var v T
	text := w.bridged(args...)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.t.Fatalf("bridged %s printed no such JSON: %v\n%s", strings.Join(args, " "), err, text)
	}
	return v
}

// settled ends the test unless the kernel holds exactly what is desired.
func (w *world) settled() {
	w.t.Helper()
	if r := w.tryBridged("ruleset", "--diff"); r.code != 0 || strings.TrimSpace(r.stdout) != "" {
		w.t.Errorf("kernel and desired state differ: %v", r)
	}
}

// nothingLeft checks that no network, endpoint or port of Docker's is there any more, in our state and in the kernel.
func (w *world) nothingLeft() {
	w.t.Helper()
	status := decode[struct{ Sandboxes, Endpoints, Ports int }](w, "status", "--json")
	if status.Endpoints != 0 || status.Ports != 0 {
		w.t.Errorf("left are %+v", status)
	}
	if names := w.bridged("network", "ls", "-q"); len(strings.Fields(names)) != 2 { // none, host
		w.t.Errorf("left are networks:\n%s", w.bridged("network", "ls"))
	}
	w.awaitLinks("lan0", "lo")
	w.settled()
}

// awaitLinks waits until the host has these links and no others: those of containers go behind the answer.
func (w *world) awaitLinks(want ...string) {
	w.t.Helper()
	var got []string
	for end := time.Now().Add(flowtest.Patience); time.Now().Before(end); {
		got = nil
		for _, l := range links(w.t, w.host) {
			got = append(got, l.Name)
		}
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
	}
	w.t.Errorf("the host has the links %v, want %v", got, want)
}

// link is an interface with its addresses, as `ip -j addr` shows it.
type link struct {
	Name     string `json:"ifname"`
	MTU      int
	Address  string
	Master   string
	AddrInfo []struct {
		Local     string
		PrefixLen int
		Scope     string
	} `json:"addr_info"`
}

// links are the interfaces of a space.
func links(t testing.TB, s *flowtest.Space) []link {
	t.Helper()
	var all []link
	if err := json.Unmarshal([]byte(s.Output(t, "ip", "-j", "addr")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// linkOf is one of them.
func linkOf(t testing.TB, s *flowtest.Space, name string) link {
	t.Helper()
	for _, l := range links(t, s) {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("%s has no link %s", s.Name, name)
	return link{}
}
