package cni

import (
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// checked is a configuration with something of each kind that a CHECK looks at, and addresses that are known before.
const checked = `"bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "sysctl": {"net.ipv4.conf.IFNAME.arp_ignore": "1"}, "ipam": {"type": "bridged", ` +
	`"ranges": [[{"subnet": "10.88.0.0/24", "rangeEnd": "10.88.0.2"}], [{"subnet": "fd00:88::/64", "rangeEnd": "fd00:88::2"}]], ` +
	`"routes": [{"dst": "10.9.0.0/16", "gw": "10.88.0.1"}]}, "ingressRate": 8000000, "ingressBurst": 8000000, "egressRate": 8000000, "egressBurst": 8000000`

// TestCheckFindsDamage: each kind of damage in a pod is found and named, and a CHECK passes before.
func TestCheckFindsDamage(t *testing.T) {
	h, _ := bridgedHost(t)
	for _, c := range []struct{ damage, words string }{
		{"ip link set eth0 down", "eth0"},
		{"ip addr del 10.88.0.2/24 dev eth0", "10.88.0.2"},
		{"ip addr del fd00:88::2/64 dev eth0", "fd00:88::2"},
		{"ip route del default", "0.0.0.0/0"},
		{"ip -6 route del default", "::/0"},
		{"ip route del 10.9.0.0/16", "10.9.0.0/16"},
		{"sysctl -q -w net.ipv4.conf.eth0.arp_ignore=0", "arp_ignore"},
	} {
		t.Run(strings.ReplaceAll(c.damage, " ", "-"), func(t *testing.T) {
			h := h.in(t)
			pod := h.pod("p1")
			made := h.plugin("ADD", checked)
			made.works(t)
			h.plugin("CHECK", made.prev(checked)).works(t)
			words := strings.Fields(c.damage)
			pod.Output(t, words[0], words[1:]...)
			h.plugin("CHECK", made.prev(checked)).fails(t, 100, c.words)
			h.plugin("DEL", checked).works(t)
			h.space.Output(t, "ip", "netns", "del", "p1")
		})
	}
	h.empty("after the damages")
}

// TestHostDamageComesBack: what others take away on the host is there again, and a CHECK says so.
func TestHostDamageComesBack(t *testing.T) {
	h, _ := bridgedHost(t)
	for _, damage := range []string{
		"tc qdisc del dev HOST root", "tc qdisc del dev HOST ingress", "ip link del SHAPER", "ip link set HOST nomaster", "ip link set HOST down",
		"ip addr del 10.88.0.1/24 dev cni0", "ip link del HOST", "ip link del cni0",
	} {
		t.Run(strings.ReplaceAll(damage, " ", "-"), func(t *testing.T) {
			h := h.in(t)
			h.pod("p1")
			made := h.plugin("ADD", checked)
			made.works(t)
			var r result
			decode(t, made.stdout, &r)
			words := strings.Fields(strings.NewReplacer("HOST", r.Interfaces[1].Name, "SHAPER", r.Interfaces[3].Name).Replace(damage))
			h.space.Output(t, words[0], words[1:]...)
			check := h.plugin("CHECK", made.prev(checked))
			for end := flowtest.Deadline(); check.status != 0 && time.Now().Before(end); {
				check = h.plugin("CHECK", made.prev(checked))
			}
			check.works(t)
			if q := h.space.Output(t, "tc", "qdisc", "show", "dev", r.Interfaces[1].Name); !strings.Contains(q, "tbf") || !strings.Contains(q, "ingress") {
				t.Errorf("the CHECK passes with %s", q)
			}
			h.plugin("DEL", checked).works(t)
			h.space.Output(t, "ip", "netns", "del", "p1")
		})
	}
	h.empty("after the damages")
}

// TestCheckTolerates: what later plugins may have changed is no damage.
func TestCheckTolerates(t *testing.T) {
	h, _ := bridgedHost(t)
	p1 := h.pod("p1")
	made := h.plugin("ADD", members)
	made.works(t)
	p1.IP(t, "link set eth0 address 02:00:00:00:00:99", "link set eth0 mtu 1280", "addr add 192.168.7.7/24 dev eth0", "route add 172.31.0.0/16 via 10.88.0.1")
	h.plugin("CHECK", made.prev(members)).works(t)
	// The result that the runtime kept is compared, too: an address that we never gave is one that is not reserved.
	wrong := made
	wrong.stdout = strings.Replace(made.stdout, "10.88.0.9/24", "10.88.0.8/24", 1)
	h.plugin("CHECK", wrong.prev(members)).fails(t, 100, "10.88.0.8")
	// A port that is not published.
	h.plugin("CHECK", made.prev(withPorts)).fails(t, 100, "8080")
	h.pod("p2")
	h.plugin("CHECK", made.prev(members), "CNI_NETNS=/run/netns/p2").fails(t, 100, "namespace")
}
