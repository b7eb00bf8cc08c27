package cni

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// entry is our plugin's entry of a configuration list: a bridge with both families, and further members.
func entry(bridge, subnet4, subnet6 string, members ...string) string {
	all := append([]string{
		`"type": "bridged-cni"`, fmt.Sprintf(`"bridge": %q`, bridge), `"isDefaultGateway": true, "ipMasq": true, "hairpinMode": true`,
		`"capabilities": {"portMappings": true, "bandwidth": true, "ips": true, "mac": true}`,
		fmt.Sprintf(`"ipam": {"type": "bridged", "ranges": [[{"subnet": %q}], [{"subnet": %q}]]}`, subnet4, subnet6),
	}, members...)
	return "{" + strings.Join(all, ", ") + "}"
}

// ports is the capability argument for these mappings, as "8080:80/tcp".
func ports(mappings ...string) string {
	var all []string
	for _, m := range mappings {
		var host, inside int
		var proto string
		if _, err := fmt.Sscanf(strings.ReplaceAll(m, "/", " "), "%d:%d %s", &host, &inside, &proto); err != nil {
			panic(err)
		}
		all = append(all, fmt.Sprintf(`{"hostPort": %d, "containerPort": %d, "protocol": %q}`, host, inside, proto))
	}
	return `CAP_ARGS={"portMappings": [` + strings.Join(all, ", ") + `]}`
}

// families are what tells IPv4 from IPv6.
var families = []struct {
	is        func(netip.Addr) bool
	host, lan netip.Addr
}{
	{netip.Addr.Is4, hostLAN4, lan4},
	{netip.Addr.Is6, netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:1::2")},
}

// pods attaches pods with servers on ports 80 and 81 to the network podnet.
func (h *host) pods(names ...string) (spaces []*flowtest.Space, made []result) {
	h.t.Helper()
	for _, name := range names {
		space := h.pod(name)
		env := []string(nil)
		if name == "p1" {
			env = []string{ports("8080:80/tcp", "8080:80/udp")}
		}
		network := "podnet"
		if strings.HasPrefix(name, "q") {
			network = "other"
		}
		made = append(made, h.must("add", network, name, env...))
		flowtest.Serve(h.t, space, 80, 81)
		spaces = append(spaces, space)
	}
	return spaces, made
}

// TestFlows: real packets through everything that a network of containers promises.
func TestFlows(t *testing.T) {
	h, _ := bridgedHost(t)
	h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64"))
	h.list("other", "1.0.0", entry("cni1", "10.89.0.0/24", "fd00:89::/64"))
	spaces, made := h.pods("p1", "p2", "q1")
	p1, p2, q1 := spaces[0], spaces[1], spaces[2]
	flowtest.Serve(t, h.lan, 80, 81)
	for _, f := range families {
		published := netip.AddrPortFrom(f.host, 8080)
		for _, proto := range []string{"tcp", "udp"} {
			for _, from := range []*flowtest.Space{h.lan, h.space, p1, p2, q1} {
				flowtest.Reaches(t, from, proto, published, "p1")
			}
			flowtest.Reaches(t, p2, proto, netip.AddrPortFrom(made[0].ip(t, f.is), 80), "p1")
			flowtest.Reaches(t, h.space, proto, netip.AddrPortFrom(made[0].ip(t, f.is), 80), "p1")
			a := flowtest.Reaches(t, p1, proto, netip.AddrPortFrom(f.lan, 80), "lan")
			if a.Source.Addr() != f.host {
				t.Errorf("the LAN saw %s from a pod, want the host's address", a.Source)
			}
		}
	}
	flowtest.Reaches(t, h.space, "tcp", netip.MustParseAddrPort("127.0.0.1:8080"), "p1")
	h.settled()

	h.must("del", "podnet", "p1", ports("8080:80/tcp", "8080:80/udp"))
	if err := flowtest.Refused(h.lan, netip.AddrPortFrom(hostLAN4, 8080)); err != nil {
		t.Errorf("after the DEL: %v", err)
	}
	h.must("del", "podnet", "p2")
	h.must("del", "other", "q1")
	h.empty("after the DELs")
}

// TestIngressPolicies: who may begin a connection to a pod's own address, and to its published port.
func TestIngressPolicies(t *testing.T) {
	for _, c := range []struct {
		members          string
		sibling, outside bool
	}{
		{`"ingressPolicy": "open"`, true, true},
		{`"ingressPolicy": "same-bridge"`, true, false},
		{`"ingressPolicy": "isolated"`, false, false},
		{`"portIsolation": true`, false, true},
	} {
		t.Run(c.members, func(t *testing.T) {
			h, _ := bridgedHost(t)
			h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64", c.members))
			spaces, made := h.pods("p1", "p2")
			p1, p2 := spaces[0], spaces[1]
			flowtest.Serve(t, h.lan, 81)
			h.lan.IP(t, "route add 10.88.0.0/24 via 192.0.2.1", "route add fd00:88::/64 via 2001:db8:1::1")
			for _, f := range families {
				to := netip.AddrPortFrom(made[0].ip(t, f.is), 80)
				// A published port's packets take the same way as those that must be lost.
				control := func(from *flowtest.Space) flowtest.Control {
					return flowtest.Via(from, netip.AddrPortFrom(f.host, 8080))
				}
				for from, may := range map[*flowtest.Space]bool{p2: c.sibling, h.lan: c.outside} {
					for _, proto := range []string{"tcp", "udp"} {
						if may {
							flowtest.Reaches(t, from, proto, to, "p1")
						} else {
							flowtest.Lost(t, from, proto, to, p1, 80, control(from))
						}
						flowtest.Reaches(t, from, proto, netip.AddrPortFrom(f.host, 8080), "p1")
					}
				}
				flowtest.Reaches(t, h.space, "tcp", to, "p1")
				flowtest.Reaches(t, p1, "tcp", netip.AddrPortFrom(f.lan, 81), "lan")
			}
		})
	}
}

// TestConditions: published ports are for the sources that the conditions name.
func TestConditions(t *testing.T) {
	for source, may := range map[string]bool{"192.0.2.0/24": true, "198.51.100.0/24": false} {
		t.Run(strings.ReplaceAll(source, "/", "-"), func(t *testing.T) {
			h, _ := bridgedHost(t)
			h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64", fmt.Sprintf(`"conditionsV4": ["-s", %q]`, source)))
			spaces, _ := h.pods("p1")
			to, to6 := netip.AddrPortFrom(families[0].host, 8080), netip.AddrPortFrom(families[1].host, 8080)
			flowtest.Reaches(t, h.lan, "udp", to6, "p1") // no condition for IPv6
			if may {
				flowtest.Reaches(t, h.lan, "tcp", to, "p1")
			} else {
				flowtest.Lost(t, h.lan, "tcp", to, spaces[0], 80, flowtest.Via(h.lan, to6))
			}
		})
	}
}

// TestMACSpoof: with macspoofchk a pod that takes another MAC address is not heard any more.
func TestMACSpoof(t *testing.T) {
	for members, heard := range map[string]bool{`"macspoofchk": true`: false, `"macspoofchk": false`: true} {
		t.Run(members, func(t *testing.T) {
			h, _ := bridgedHost(t)
			h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64", members))
			spaces, made := h.pods("p1", "p2")
			to := netip.AddrPortFrom(made[0].ip(t, netip.Addr.Is4), 80)
			flowtest.Reaches(t, spaces[1], "tcp", to, "p1")
			spaces[1].IP(t, "link set eth0 address 02:66:66:66:66:66")
			if heard {
				flowtest.Reaches(t, spaces[1], "tcp", to, "p1")
			} else {
				flowtest.Lost(t, spaces[1], "tcp", to, spaces[0], 80, flowtest.Via(h.space, to))
			}
		})
	}
}

// TestInside: how the interface is set up inside, by independent readers.
func TestInside(t *testing.T) {
	h, _ := bridgedHost(t)
	h.list("podnet", "1.1.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64", `"promisc": true, "enabledad": true, "mtu": 1400`,
		`"sysctl": {"net.ipv4.conf.IFNAME.arp_ignore": "1", "net/core/somaxconn": "77"}`, `"args": {"cni": {"mtu": 1300}}`,
		`"ipam": {"type": "bridged", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "10.9.0.0/16", "mtu": 1200, "priority": 7, "table": 99}]}`))
	p1 := h.pod("p1")
	made := h.must("add", "podnet", "p1")
	if inner := made.Interfaces[2]; inner.MTU != 1300 || made.Interfaces[0].MTU != 1400 {
		t.Errorf("the result has the MTUs of %+v", made.Interfaces)
	}
	link := p1.Output(t, "ip", "-d", "link", "show", "dev", "eth0")
	for _, want := range []string{"mtu 1300", "PROMISC"} {
		if !strings.Contains(link, want) {
			t.Errorf("no %s in %s", want, link)
		}
	}
	routes := p1.Output(t, "ip", "route", "show", "table", "99")
	for _, want := range []string{"10.9.0.0/16 via 10.88.0.1 dev eth0 ", " metric 7 ", " mtu 1200 "} {
		if !strings.Contains(routes, want) {
			t.Errorf("no %s in %s", want, routes)
		}
	}
	for name, want := range map[string]string{"net/ipv4/conf/eth0/arp_ignore": "1", "net/core/somaxconn": "77", "net/ipv6/conf/eth0/accept_dad": "1"} {
		if got := p1.ReadSysctl(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	h.must("check", "podnet", "p1")

	h.list("down", "1.0.0", `{"type": "bridged-cni", "bridge": "cni1", "disableContainerInterface": true}`)
	p2 := h.pod("p2")
	h.must("add", "down", "p2")
	if link := p2.Output(t, "ip", "link", "show", "dev", "eth0"); strings.Contains(link, ",UP") {
		t.Errorf("disableContainerInterface: %s", link)
	}
}

// TestBandwidth: the kernel's token buckets have the rates, traffic passes them, and they go with the pod.
func TestBandwidth(t *testing.T) {
	h, _ := bridgedHost(t)
	h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64"))
	p1 := h.pod("p1")
	made := h.must("add", "podnet", "p1", `CAP_ARGS={"bandwidth": {"ingressRate": 80000000, "ingressBurst": 8000000, "egressRate": 40000000, "egressBurst": 4000000}}`)
	if len(made.Interfaces) != 4 {
		t.Fatalf("interfaces %+v: want a fourth for what the pod sends", made.Interfaces)
	}
	flowtest.Serve(t, h.lan, 80)
	flowtest.Reaches(t, p1, "tcp", netip.AddrPortFrom(lan4, 80), "lan")
	for name, rate := range map[string]string{made.Interfaces[1].Name: "rate 80Mbit", made.Interfaces[3].Name: "rate 40Mbit"} {
		q := h.space.Output(t, "tc", "-s", "qdisc", "show", "dev", name)
		if !strings.Contains(q, "qdisc tbf") || !strings.Contains(q, rate) {
			t.Errorf("%s: want %s in %s", name, rate, q)
		}
		if _, rest, _ := strings.Cut(q, "Sent "); strings.HasPrefix(rest, "0 bytes") {
			t.Errorf("nothing passed %s: %s", name, q)
		}
	}
	h.must("check", "podnet", "p1")
	h.must("del", "podnet", "p1")
	h.empty("after the DEL")
}

// TestTwoNetworks: a container has an interface in each of two networks; a DEL takes its own only.
func TestTwoNetworks(t *testing.T) {
	h, _ := bridgedHost(t)
	h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64"))
	h.list("other", "1.0.0", strings.Replace(entry("cni1", "10.89.0.0/24", "fd00:89::/64"), "isDefaultGateway", "isGateway", 1))
	p1 := h.pod("p1")
	h.must("add", "podnet", "p1", ports("8080:80/tcp"))
	second := h.must("add", "other", "p1", "CNI_IFNAME=net1")
	flowtest.Serve(t, p1, 80)
	flowtest.Reaches(t, h.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "p1")
	there := netip.AddrPortFrom(second.ip(t, netip.Addr.Is4), 80)
	flowtest.Reaches(t, h.space, "tcp", there, "p1")
	if second.Interfaces[2].Name != "net1" {
		t.Errorf("got %+v", second)
	}
	if r := h.cnitool("add", "other", "p1", "CNI_IFNAME=eth0"); r.status == 0 || !strings.Contains(r.stderr, "eth0") {
		t.Errorf("a second eth0: %v", r)
	}
	h.must("del", "podnet", "p1")
	if got := h.counts(); got != [3]int{1, 1, 0} {
		t.Errorf("%v sandboxes, endpoints, ports after the first DEL", got)
	}
	flowtest.Reaches(t, h.space, "tcp", there, "p1")
	h.must("check", "other", "p1", "CNI_IFNAME=net1")
	h.must("del", "other", "p1", "CNI_IFNAME=net1")
	if got := h.counts(); got != [3]int{} {
		t.Errorf("%v sandboxes, endpoints, ports are left", got)
	}
	if names := strings.Fields(p1.Output(t, "ls", "/sys/class/net")); slices.Contains(names, "net1") {
		t.Errorf("the pod has %v", names)
	}
}
