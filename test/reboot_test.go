package test

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// newBoot gives the host another boot id than the kernel's, seen by its own mounts only.
func (w *world) newBoot(id string) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "boot_id")
	if err := os.WriteFile(path, []byte(id+"\n"), 0o644); err != nil {
		w.t.Fatal(err)
	}
	err := w.host.Do(func() error { return unix.Mount(path, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, "") })
	if err != nil {
		w.t.Fatal(err)
	}
}

// booted is the same machine after a reboot: a fresh kernel, and the files of the state directory. Those of the run directory and the names in
// /run/netns are there, too, where keepRun says so: then /run is on a disk.
func (w *world) booted(keepRun bool, setup ...string) *world {
	w.t.Helper()
	next := newWorld(w.t, setup...)
	next.dir = w.dir
	next.newBoot("11111111-2222-3333-4444-555555555555")
	if !keepRun {
		return next
	}
	// What is mounted in /run/netns goes with the kernel, and the files beneath stay.
	const beneath = "/run/beneath"
	w.host.Output(w.t, "mkdir", beneath)
	if err := w.host.Do(func() error { return unix.Mount("/run/netns", beneath, "", unix.MS_BIND, "") }); err != nil {
		w.t.Fatal(err)
	}
	for from, to := range map[string]string{runDir: runDir, beneath: "/run/netns"} {
		next.host.Output(w.t, "mkdir", "-p", to)
		for _, name := range w.names(from) {
			if name != "bridged.sock" {
				next.write(filepath.Join(to, name), w.read(filepath.Join(from, name)))
			}
		}
	}
	return next
}

// lastBoot is a machine before its reboot, and what comes back of it.
type lastBoot struct {
	*world
	networks []networkFile
	bridges  map[string][]string // their addresses, by name
}

// networkFile is `network ls --json` without the members.
type networkFile = map[string]any

func newLastBoot(t *testing.T) *lastBoot {
	t.Helper()
	w := newWorld(t)
	d := w.daemon("--ipv6", "--bip", "172.30.0.1/16")
	w.bridged("network", "create", "--ipv6", "--label", "team=a", "--opt", "com.docker.network.bridge.enable_icc=false", "second")
	w.bridged("network", "create", "--internal", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.9", "inside")
	b := &lastBoot{world: w, networks: w.networkList(), bridges: w.bridgeAddresses(t)}
	w.create("-p", "8080:80", "-p", "8080:80/udp", "c1")
	w.create("--network", "second", "c2")
	w.create("--network", "second", "c3")
	w.bridged("link", "add", "--port", "80/tcp", "c2", "c3")
	w.create("--network", "inside", "c4")
	w.bridged("sandbox", "create", "--network", "none", "c5")
	w.bridged("sandbox", "create", "--network", "host", "c6")
	w.bridged("sandbox", "create", "--network", "container:c1", "c7")
	w.bridged("sandbox", "rm", "c1") // its namespace moved to another path
	w.host.Output(t, "ip", "netns", "add", "theirs")
	w.bridged("sandbox", "create", "--netns", "/run/netns/theirs", "-p", "8081:80", "c8")
	d.Kill()
	return b
}

func (w *world) networkList() []networkFile {
	w.t.Helper()
	all := decode[[]networkFile](w, "network", "ls", "--json")
	for _, n := range all {
		delete(n, "Containers")
	}
	return all
}

// bridgeAddresses are the addresses of all bridges.
func (w *world) bridgeAddresses(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for name, l := range linksOf(t, w.host) {
		if l.LinkInfo.Kind == "bridge" {
			all[name] = []string{l.Address}
			for _, a := range l.AddrInfo {
				all[name] = append(all[name], a.Local)
			}
			slices.Sort(all[name])
		}
	}
	return all
}

// cameBack checks what there is after the reboot: the networks, and nothing that ended with the last boot.
func (b *lastBoot) cameBack(t *testing.T, now *world, names ...string) {
	t.Helper()
	if x := cmp.Diff(b.networks, now.networkList()); x != "" {
		t.Errorf("networks (-before +after):\n%s", x)
	}
	if x := cmp.Diff(b.bridges, now.bridgeAddresses(t)); x != "" {
		t.Errorf("bridges (-before +after):\n%s", x)
	}
	for what, text := range map[string]string{
		"sandboxes": now.bridged("sandbox", "ls", "-q"), "ports": strings.Trim(now.bridged("port", "ls", "--json"), "[]\n"), "links": strings.Trim(now.bridged("link", "ls", "--json"), "[]\n"),
	} {
		if text != "" {
			t.Errorf("there are %s of the last boot: %s", what, text)
		}
	}
	for _, n := range decode[[]networkFile](now, "network", "ls", "--json") {
		if members, _ := n["Containers"].(map[string]any); len(members) > 0 {
			t.Errorf("network %v has members: %v", n["Name"], members)
		}
	}
	now.await(t, "the last links to go", func() bool { return len(now.sandboxLinks()) == 0 })
	slices.Sort(names)
	if have := slices.Sorted(slices.Values(now.names("/run/netns"))); !slices.Equal(have, names) {
		t.Errorf("in /run/netns there are %v, want %v", have, names)
	}
	if left := slices.DeleteFunc(now.names(runDir), func(name string) bool {
		return slices.Contains([]string{"bridged.sock", "lock", "log", "length"}, name)
	}); len(left) > 0 {
		t.Errorf("in the run directory there are %v", left)
	}
	for _, proto := range []string{"tcp", "udp"} {
		for _, port := range []uint16{8080, 8081} {
			if !now.free(proto, netip.AddrPortFrom(netip.IPv4Unspecified(), port)) {
				t.Errorf("port %d/%s is reserved", port, proto)
			}
		}
	}
	now.settled()
	// The lowest addresses are given again, and names and ports are free.
	now.bridged("sandbox", "create", "-p", "8080:80", "c1")
	first := now.host.Open(t, "c1", "/run/netns/c1") // the harness remembers the one of the last boot
	if e := now.endpoint("c1", "bridge"); !strings.HasSuffix(e.IPAddress, ".0.2") {
		t.Errorf("the first sandbox has %s", e.IPAddress)
	}
	flowtest.Serve(t, first, 80)
	for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
		flowtest.Reaches(t, now.lan, "tcp", netip.AddrPortFrom(host, 8080), "c1")
	}
	now.bridged("sandbox", "rm", "c1")
	if warnings := decode[statusJSON](now, "status", "--json").Warnings; len(warnings) > 0 {
		t.Errorf("there are warnings: %q", warnings)
	}
}

// Nothing of the kernel is left, and /run is empty.
func TestReboot(t *testing.T) {
	b := newLastBoot(t)
	next := b.booted(false)
	next.daemon("--ipv6")
	b.cameBack(t, next)
}

// Nothing of the kernel is left, and /run is on a disk: of the names in /run/netns, ours go, and others stay, also those that somebody made anew
// with a name that was ours.
func TestRebootWithRunKept(t *testing.T) {
	b := newLastBoot(t)
	next := b.booted(true)
	next.host.Output(t, "rm", "/run/netns/c4")
	next.host.Output(t, "ip", "netns", "add", "c4")
	next.daemon("--ipv6")
	b.cameBack(t, next, "c4", "theirs")
}

// The boot id is another one, and the kernel's objects are still there, as they would be after a checkpoint was restored.
func TestRebootWithKernelKept(t *testing.T) {
	b := newLastBoot(t)
	c2 := b.host.Open(t, "c2", "/run/netns/c2")
	b.newBoot("11111111-2222-3333-4444-555555555555")
	b.daemon("--ipv6")
	b.cameBack(t, b.world, "theirs")
	if _, there := linksOf(t, c2)["eth0"]; there {
		t.Error("the link of the last boot is there")
	}
	if _, there := linksOf(t, b.host.Open(t, "theirs", "/run/netns/theirs"))["eth0"]; there {
		t.Error("the link in a namespace that was given is there")
	}
}

// The daemon is killed at its first start after the reboot, at many places: the next one does the rest.
func TestRebootKilled(t *testing.T) {
	for n := 1; n <= 4; n++ {
		b := newLastBoot(t)
		next := b.booted(true)
		watched := next.watch(t)
		d := next.spawn("--ipv6")
		for range n {
			if err := watched.wait(flowtest.Patience); err != nil {
				t.Fatal(err)
			}
		}
		d.Kill()
		watched.close()
		next.daemon("--ipv6")
		b.cameBack(t, next, "theirs")
	}
}

// The default bridge has another address after the reboot if what it had is somebody's now; a network that somebody made keeps
// its own, with a warning.
func TestRebootIntoOverlap(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	w.bridged("network", "create", "--subnet", "10.77.0.0/24", "second")
	before := w.bridgeAddresses(t)
	d.Kill()
	next := w.booted(false, "addr add 172.17.9.1/16 dev far0", "addr add 10.77.0.200/24 dev far0")
	next.daemon("--ipv6")
	after := next.bridgeAddresses(t)
	had := func(addrs []string) bool {
		return slices.Contains(addrs, before["docker0"][0]) && slices.Contains(addrs, "172.17.42.1")
	}
	if !slices.Contains(before["docker0"], "172.17.42.1") || had(after["docker0"]) || len(after["docker0"]) != len(before["docker0"]) {
		t.Errorf("the default bridge had %v, and has %v", before["docker0"], after["docker0"])
	}
	delete(before, "docker0")
	delete(after, "docker0")
	if !maps.EqualFunc(before, after, slices.Equal) {
		t.Errorf("the other bridges had %v, and have %v", before, after)
	}
	if warnings := strings.Join(decode[statusJSON](next, "status", "--json").Warnings, "\n"); !strings.Contains(warnings, "network second is kept as it was") {
		t.Errorf("no warning says that second overlaps: %s", warnings)
	}
	next.settled()
}
