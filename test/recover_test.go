package test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// What others do to the kernel while no daemon runs is undone by the next start; flows work again.
func TestDamageWhileStopped(t *testing.T) {
	for name, damage := range map[string]func(w *world, m member){
		"tables deleted": func(w *world, m member) { w.host.Output(t, "nft", "flush", "ruleset") },
		"one table deleted": func(w *world, m member) {
			w.host.Output(t, "nft", "delete", "table", "bridge", "bridged")
		},
		"rules added": func(w *world, m member) {
			w.host.Output(t, "nft", "insert", "rule", "inet", "bridged", "forward", "drop")
		},
		"rules flushed": func(w *world, m member) { w.host.Output(t, "nft", "flush", "chain", "inet", "bridged", "forward") },
		"elements added and removed": func(w *world, m member) {
			w.host.Output(t, "nft", "flush", "map", "inet", "bridged", "publish4any")
			w.host.Output(t, "nft", "add", "element", "inet", "bridged", "publish6any", "{ tcp . 1 : fd00::1 . 1 }")
		},
		"bridge deleted":        func(w *world, m member) { w.host.IP(t, "link del docker0") },
		"bridge down":           func(w *world, m member) { w.host.IP(t, "link set docker0 down") },
		"bridge's address gone": func(w *world, m member) { w.host.IP(t, "addr flush dev docker0") },
		"bridge's MAC changed":  func(w *world, m member) { w.host.IP(t, "link set docker0 address 02:00:00:00:00:77") },
		"port out of the bridge": func(w *world, m member) {
			w.host.IP(t, "link set "+m.HostInterface+" nomaster", "link set "+m.HostInterface+" down")
		},
		"forwarding off": func(w *world, m member) {
			w.host.Sysctl(t, "net/ipv4/ip_forward", "0")
			w.host.Sysctl(t, "net/ipv6/conf/all/forwarding", "0")
		},
		"hairpin off": func(w *world, m member) {
			w.host.Output(t, "bridge", "link", "set", "dev", m.HostInterface, "hairpin", "off")
		},
		"localnet off": func(w *world, m member) { w.host.Sysctl(t, "net/ipv4/conf/docker0/route_localnet", "0") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.bridgeNetfilter(true)
			d := w.daemon("--ipv6")
			m := w.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp")
			flowtest.Serve(t, m.Space, 80)
			d.Kill()
			damage(w, m)
			w.daemon("--ipv6")
			w.consistent(t)
			for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
				for _, proto := range []string{"tcp", "udp"} {
					to := netip.AddrPortFrom(host, 8080)
					flowtest.Reaches(t, w.lan, proto, to, "c1")
					flowtest.Reaches(t, m.Space, proto, to, "c1")
				}
			}
			flowtest.Reaches(t, w.host, "tcp", netip.MustParseAddrPort("127.0.0.1:8080"), "c1")
			if got := linksOf(t, w.host)["docker0"].Address; got != m.gatewayMAC.String() {
				t.Errorf("the bridge's MAC was %s, and is %s", m.gatewayMAC, got)
			}
			w.crossing(t, false)
		})
	}
}

// A name in /run/netns that somebody else has made is not touched.
func TestForeignNamespaceName(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	w.host.Output(t, "ip", "netns", "add", "theirs")
	before := w.snapshot(t)
	w.fails(4, []string{"theirs"}, "sandbox", "create", "theirs")
	unchanged(t, before, w.snapshot(t))
}

// Namespaces that can't be a sandbox: the host's own, one that is another sandbox's, one whose eth0 is somebody's.
func TestUnsuitableNamespaces(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	w.create("c1")
	w.host.Output(t, "ip", "netns", "add", "full")
	w.host.Output(t, "ip", "-n", "full", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0peer")
	before := w.snapshot(t)
	for _, args := range []string{
		fmt.Sprintf("--pid %d x", d.Cmd.Process.Pid),
		fmt.Sprintf("--netns /proc/%d/ns/net x", d.Cmd.Process.Pid),
		"--netns /run/netns/c1 x",
		"--netns /run/netns/full x",
	} {
		if r := w.try(append([]string{"sandbox", "create"}, strings.Fields(args)...)...); r.code == 0 || r.stderr == "" {
			t.Errorf("should be refused: %v", r)
			w.try("sandbox", "rm", "x")
		}
		w.await(t, "what was begun to go", func() bool { return len(w.sandboxLinks()) == 1 })
	}
	after := w.snapshot(t)
	unchanged(t, before, after)
	if _, there := linksOf(t, w.host.Open(t, "full", "/run/netns/full"))["eth0"]; !there {
		t.Error("somebody's eth0 is gone")
	}
	w.settled()
}
