package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/rtnl"
)

// Addresses around the host, documentation prefixes all.
var (
	hostLAN4 = netip.MustParseAddr("192.0.2.1")
	lan4     = netip.MustParseAddr("192.0.2.2")
)

// host is a machine with a container runtime, and a neighbour on its LAN.
type host struct {
	t     testing.TB
	space *flowtest.Space
	lan   *flowtest.Space
	dir   string // for the daemon's state; goes with the test
	// path is the runtime's CNI_PATH.
	path string
}

// newHost makes a host whose runtime finds the plugins in path, CNI_PATH.
func newHost(t testing.TB, path string) *host {
	t.Helper()
	nstest.NeedRoot(t)
	for _, tool := range []string{"ip", "nft", "cnitool", "host-local"} {
		nstest.NeedTool(t, tool)
	}
	h := &host{t: t, dir: t.TempDir(), path: path}
	h.space = flowtest.NewSpace(t, "host", true)
	h.lan = flowtest.NewSpace(t, "lan", false)
	h.space.Join(t, "lan0", h.lan, "192.0.2", "2001:db8:1")
	h.space.IP(t, "route add default via 192.0.2.2", "route add default via 2001:db8:1::2")
	h.do(func() error { // cnitool keeps results below /var/lib
		return errors.Join(unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, ""), os.MkdirAll(confDir, 0o755))
	})
	return h
}

// confDir is where the host's runtime looks for configuration lists.
const confDir = "/run/cni-conf"

// in is the host for a part of the test.
func (h *host) in(t testing.TB) *host {
	part := *h
	part.t = t
	return &part
}

func (h *host) do(f func() error) {
	h.t.Helper()
	if err := h.space.Do(f); err != nil {
		h.t.Fatal(err)
	}
}

// bridgedHost is a host with a daemon that runs.
func bridgedHost(t testing.TB) (*host, *flowtest.Process) {
	t.Helper()
	h := newHost(t, plugins)
	return h, h.daemon()
}

// referenceHost is a host with the reference plugins.
func referenceHost(t testing.TB) *host {
	t.Helper()
	path, err := exec.LookPath("host-local")
	if err != nil {
		nstest.NeedTool(t, "host-local")
	}
	return newHost(t, filepath.Dir(path))
}

// daemon starts the daemon and waits until it is ready. It is killed when the test ends; its log is shown when the test failed.
func (h *host) daemon() *flowtest.Process {
	h.t.Helper()
	cmd := exec.Command(program, "daemon", "-b", "none", "--state-dir", h.dir)
	cmd.Env = []string{"PATH=", "GORACE=halt_on_error=1 atexit_sleep_ms=0"}
	d := h.space.Launch(h.t, cmd)
	if r := h.run(nil, "", program, "status", "--wait", "10s"); r.status != 0 {
		h.t.Fatalf("the daemon does not get ready: %v", r)
	}
	return d
}

// answer is what a program did.
type answer struct {
	args           []string
	stdout, stderr string
	status         int
}

func (r answer) String() string {
	return fmt.Sprintf("%s: status %d\n%s%s", strings.Join(r.args, " "), r.status, r.stdout, r.stderr)
}

// run runs a program on the host, with PATH and these variables as its environment.
func (h *host) run(env []string, stdin string, args ...string) answer {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := h.space.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("%v: %v", args, err)
	}
	return answer{args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// pod makes a namespace, as a runtime does for a pod.
func (h *host) pod(name string) *flowtest.Space {
	h.t.Helper()
	h.space.Output(h.t, "ip", "netns", "add", name)
	return h.space.Open(h.t, name, "/run/netns/"+name)
}

// list writes a configuration list of these plugins, each a JSON object.
func (h *host) list(name, version string, plugins ...string) {
	h.t.Helper()
	text := fmt.Sprintf(`{"cniVersion": %q, "name": %q, "plugins": [%s]}`, version, name, strings.Join(plugins, ", "))
	h.do(func() error { return os.WriteFile(filepath.Join(confDir, name+".conflist"), []byte(text), 0o600) })
}

// cnitool does something to a pod: add, check or del; a capability is a member of the JSON object CAP_ARGS.
func (h *host) cnitool(verb, network, pod string, env ...string) answer {
	h.t.Helper()
	env = append(env, "NETCONFPATH="+confDir, "CNI_PATH="+h.path)
	return h.run(env, "", "cnitool", verb, network, "/run/netns/"+pod)
}

// must is cnitool that must succeed.
func (h *host) must(verb, network, pod string, env ...string) result {
	h.t.Helper()
	r := h.cnitool(verb, network, pod, env...)
	if r.status != 0 {
		h.t.Fatal(r)
	}
	var made result
	if verb == "add" {
		if err := json.Unmarshal([]byte(r.stdout), &made); err != nil {
			h.t.Fatalf("%v: %v", r, err)
		}
	}
	return made
}

// result is an answer to an ADD, as far as tests look at it.
type result struct {
	CNIVersion string
	Interfaces []struct {
		Name, MAC, Sandbox string
		MTU                int
	}
	Routes []struct{ Dst, GW string }
	IPs    []struct {
		Interface        int
		Address, Gateway string
	}
}

// ip is the address of a family.
func (r result) ip(t testing.TB, is func(netip.Addr) bool) netip.Addr {
	t.Helper()
	for _, ip := range r.IPs {
		if p, err := netip.ParsePrefix(ip.Address); err == nil && is(p.Addr()) {
			return p.Addr()
		}
	}
	t.Fatalf("no such address in %+v", r)
	return netip.Addr{}
}

// plugin runs our plugin without anybody between. The configuration is the object with these members; the variables of the container "c1" in the
// namespace of the pod p1 are there, but for those in env.
func (h *host) plugin(command, members string, env ...string) answer {
	h.t.Helper()
	config := `{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni"`
	if members != "" {
		config += ", " + members
	}
	env = append([]string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/p1", "CNI_IFNAME=eth0"}, env...)
	return h.run(env, config+"}", filepath.Join(plugins, "bridged-cni"))
}

// fails wants an error of this code that says each of the words.
func (r answer) fails(t testing.TB, code int, words ...string) {
	t.Helper()
	var e struct {
		CNIVersion   string
		Code         int
		Msg, Details string
	}
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil || r.status == 0 || e.Code != code || e.CNIVersion == "" || e.Msg == "" {
		t.Errorf("want an error of code %d: %v", code, r)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Msg+"; "+e.Details, w) {
			t.Errorf("want %q in the message: %v", w, r)
		}
	}
}

// works wants success, and no output unless it is an ADD's.
func (r answer) works(t testing.TB) {
	t.Helper()
	if r.status != 0 {
		t.Error(r)
	}
}

// settled ends the test unless the kernel holds exactly what is desired.
func (h *host) settled() {
	h.t.Helper()
	if r := h.run(nil, "", program, "ruleset", "--diff"); r.status != 0 || strings.TrimSpace(r.stdout) != "" {
		h.t.Errorf("kernel and desired state differ: %v", r)
	}
}

// counts are the daemon's sandboxes, endpoints and published ports.
func (h *host) counts() [3]int {
	h.t.Helper()
	r := h.run(nil, "", program, "status", "--json")
	var s struct{ Sandboxes, Endpoints, Ports int }
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		h.t.Fatalf("%v: %v", r, err)
	}
	return [3]int{s.Sandboxes, s.Endpoints, s.Ports}
}

// links are the names of the host's interfaces of a kind, "veth" or "ifb".
func (h *host) links(kind string) []string {
	h.t.Helper()
	var names []string
	for line := range strings.Lines(h.space.Output(h.t, "ip", "-br", "link", "show", "type", kind)) {
		name, _, _ := strings.Cut(strings.Fields(line)[0], "@")
		names = append(names, name)
	}
	return names
}

// empty wants nothing left but networks. Links go behind the answer: they are waited for.
func (h *host) empty(what string) {
	h.t.Helper()
	if left := h.counts(); left != [3]int{} {
		h.t.Errorf("%s: %v sandboxes, endpoints, ports are left", what, left)
	}
	var watcher *rtnl.Watcher
	h.do(func() (err error) {
		watcher, err = rtnl.Watch(unix.RTNLGRP_LINK)
		return err
	})
	ctx, stop := context.WithTimeout(h.t.Context(), flowtest.Patience)
	defer stop()
	var left []string
	look := func() {
		if left = append(h.links("veth"), h.links("ifb")...); len(left) == 1 {
			stop()
		}
	}
	look()
	if err := watcher.Run(ctx, func(uint16, []byte) { look() }, look); err != nil {
		h.t.Error(err)
	}
	if len(left) != 1 {
		h.t.Errorf("%s: the links %v are left beside lan0", what, left)
	}
	h.settled()
}
