package dockerengine

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
	"github.com/bridged/bridged/internal/nstest"
)

// crash ends all processes and takes away what a reboot takes: links, rules, forwarding, what is in /run of the daemons, and the boot's id.
func (w *world) crash() {
	w.t.Helper()
	w.ours.Kill()
	w.engines.Kill()
	for _, p := range nstest.Processes() {
		if err := p.Kill(); err != nil {
			w.t.Error(err)
		}
	}
	for _, l := range links(w.t, w.host) {
		if l.Name != "lo" && l.Name != "lan0" && l.Master == "" {
			w.host.IP(w.t, "link del "+l.Name)
		}
	}
	w.host.Output(w.t, "nft", "flush", "ruleset")
	w.host.Sysctl(w.t, "net/ipv4/ip_forward", "0")
	w.host.Sysctl(w.t, "net/ipv6/conf/all/forwarding", "0")
	id := filepath.Join(w.t.TempDir(), "boot_id")
	if err := os.WriteFile(id, []byte("11111111-2222-3333-4444-555555555555\n"), 0o644); err != nil {
		w.t.Fatal(err)
	}
	err := w.host.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		for _, line := range slices.Backward(strings.Split(string(text), "\n")) {
			f := strings.Fields(line)
			if len(f) > 4 && (strings.HasPrefix(f[4], "/run/engine/") || strings.HasPrefix(f[4], "/run/docker/")) {
				if err := unix.Unmount(f[4], unix.MNT_DETACH); err != nil {
					return err
				}
			}
		}
		for _, dir := range []string{"/run/bridged", "/run/docker", "/run/engine/exec"} {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		return unix.Mount(id, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, "")
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// After a reboot the engine says nothing about its networks: they are there, and what the engine has of them for itself, which it does not ask for
// again, is given to nobody.
func TestReboot(t *testing.T) {
	w := newPluginWorld(t)
	// Four addresses for containers, of eight: the network's, the gateway's, the printer's and the broadcast's are none.
	w.network("--subnet", "172.28.0.0/29", "--gateway", "172.28.0.2", "--aux-address", "printer=172.28.0.1", "n1")
	w.docker(networkOptions("default", "--internal", "--subnet", "172.29.0.0/24", "n2")...)
	w.run("c1", append([]string{"--network", "n1", "--restart", "always"}, c1Ports...)...)
	w.run("c2", "--network", "n2", "--restart", "always")
	before := w.bridged("network", "ls")
	w.crash()

	w.ours = w.daemon()
	if after := w.bridged("network", "ls"); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	w.published()
	w.restartEngine()
	w.traffic(t, w.container("c1")).goesOn(t)
	w.published(publishedBy("c1")...)
	flowtest.Serve(t, w.container("c2").Space, 80)
	flowtest.Reaches(t, w.host, "tcp", netip.AddrPortFrom(w.container("c2").on("n2").addr(families[0]), 80), "c2")
	got := []string{w.container("c1").on("n1").IPAddress}
	for _, name := range []string{"c3", "c4", "c5"} {
		got = append(got, w.run(name, "--network", "n1").on("n1").IPAddress)
	}
	if slices.Sort(got); strings.Join(got, " ") != "172.28.0.3 172.28.0.4 172.28.0.5 172.28.0.6" {
		t.Errorf("given out are %v", got)
	}
	w.refuses("172.28.0.0/29", "run", "-d", "--name", "c6", "--network", "n1", image)
	w.settled()
	w.docker("rm", "-f", "c1", "c2", "c3", "c4", "c5", "c6")
	w.docker("network", "rm", "n1", "n2")
	w.nothingLeft()
}
