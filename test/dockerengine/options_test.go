package dockerengine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// pairOn is a network of ours with two containers on it, made with options.
type pairOn struct {
	*world
	t      *testing.T
	c1, c2 container // c1 publishes 8080 to 80
}

// lost checks that a TCP connection from a space to c1 does not arrive, where one from the host does.
func (p pairOn) lost(from *flowtest.Space, f netip.Addr) {
	p.t.Helper()
	to := netip.AddrPortFrom(p.c1.on("n1").addr(f), 80)
	flowtest.Lost(p.t, from, "tcp", to, p.c1.Space, 80, flowtest.Via(p.host, to))
}

// source is whom the LAN sees when c1 asks it.
func (p pairOn) source(f netip.Addr) netip.Addr {
	p.t.Helper()
	return flowtest.Reaches(p.t, p.c1.Space, "tcp", netip.AddrPortFrom(pick(f, lan4, lan6), 80), "lan").Source.Addr()
}

// Each option of the bridge driver as `docker network create -o`, by what it does.
func TestDriverOptions(t *testing.T) {
	const driver, docker = "com.docker.network.bridge.", "com.docker.network."
	v4, v6 := families[0], families[1]
	host2 := netip.MustParseAddr("192.0.2.3")
	all := newPluginWorld(t)
	all.host.IP(t, "addr add 192.0.2.3/24 dev lan0", "addr add 2001:db8:1::3/64 dev lan0 nodad")
	all.lan.IP(t, "route add 172.28.0.0/24 via 192.0.2.1", "route add fd00:28::/64 via 2001:db8:1::1") // whatever is let through is found
	for option, check := range map[string]func(p pairOn){
		driver + "name=br-mine": func(p pairOn) {
			if p.bridge().Name != "br-mine" {
				p.t.Errorf("the bridge is %s", p.bridge().Name)
			}
		},
		docker + "driver.mtu=1400": func(p pairOn) {
			if inside := linkOf(p.t, p.c1.Space, "eth0"); inside.MTU != 1400 || p.bridge().MTU != 1400 {
				p.t.Errorf("the MTUs are %d and %d", inside.MTU, p.bridge().MTU)
			}
		},
		docker + "container_iface_prefix=net": func(p pairOn) { linkOf(p.t, p.c1.Space, "net0") },
		driver + "enable_icc=false": func(p pairOn) {
			for _, f := range families {
				p.lost(p.c2.Space, f)
				flowtest.Reaches(p.t, p.c2.Space, "tcp", netip.AddrPortFrom(pick(f, host4, host6), 8080), "c1")
			}
		},
		driver + "enable_ip_masquerade=false": func(p pairOn) {
			for _, f := range families {
				if got := p.source(f); got != p.c1.on("n1").addr(f) {
					p.t.Errorf("the LAN saw %s", got)
				}
			}
		},
		driver + "host_binding_ipv4=192.0.2.1": func(p pairOn) {
			p.published("c1 80/tcp -> 192.0.2.1:8080")
			flowtest.Reaches(p.t, p.lan, "tcp", netip.AddrPortFrom(host4, 8080), "c1")
		},
		docker + "host_ipv4=192.0.2.3": func(p pairOn) {
			if got := p.source(v4); got != host2 {
				p.t.Errorf("the LAN saw %s", got)
			}
		},
		docker + "host_ipv6=2001:db8:1::3": func(p pairOn) {
			if got := p.source(v6); got != netip.MustParseAddr("2001:db8:1::3") {
				p.t.Errorf("the LAN saw %s", got)
			}
		},
		driver + "gateway_mode_ipv4=routed": func(p pairOn) {
			flowtest.Reaches(p.t, p.lan, "tcp", netip.AddrPortFrom(p.c1.on("n1").addr(v4), 80), "c1")
			if got := p.source(v4); got != p.c1.on("n1").addr(v4) {
				p.t.Errorf("the LAN saw %s", got)
			}
		},
		driver + "gateway_mode_ipv6=nat-unprotected": func(p pairOn) {
			flowtest.Reaches(p.t, p.lan, "tcp", netip.AddrPortFrom(p.c1.on("n1").addr(v6), 81), "c1")
		},
		driver + "trusted_host_interfaces=lan0": func(p pairOn) {
			flowtest.Reaches(p.t, p.lan, "tcp", netip.AddrPortFrom(p.c1.on("n1").addr(v4), 80), "c1")
		},
		driver + "inhibit_ipv4=true": func(p pairOn) {
			for _, a := range p.bridge().AddrInfo {
				if strings.HasPrefix(a.Local, "172.28.") {
					p.t.Errorf("the bridge has %s", a.Local)
				}
			}
		},
		"bridged.source-guard=false": func(p pairOn) {
			p.c2.IP(p.t, "addr add 172.28.0.200/24 dev eth0", "route add 192.0.2.0/24 via 172.28.0.1 src 172.28.0.200")
			flowtest.Reaches(p.t, p.c2.Space, "tcp", netip.AddrPortFrom(lan4, 80), "lan")
		},
	} {
		t.Run(option, func(t *testing.T) {
			w := all.in(t)
			w.network("--subnet", "172.28.0.0/24", "--gateway", "172.28.0.1", "--subnet", "fd00:28::/64", "-o", option, "n1")
			p := pairOn{world: w, t: t, c1: w.run("c1", "--network", "n1", "-p", "8080:80"), c2: w.run("c2", "--network", "n1")}
			flowtest.Serve(t, p.c1.Space, 80, 81)
			check(p)
			w.settled()
			w.docker("rm", "-f", "c1", "c2")
			w.docker("network", "rm", "n1")
			w.nothingLeft()
		})
	}
}

// bridge is the one that there is: of which the containers' links are ports.
func (w *world) bridge() link {
	w.t.Helper()
	for _, l := range links(w.t, w.host) {
		if strings.HasPrefix(l.Name, "bv") {
			return linkOf(w.t, w.host, l.Master)
		}
	}
	w.t.Fatal("there is no link of a container")
	return link{}
}

// What no network can have is refused at its creation, by the plugin's words, and nothing is made.
func TestRefusedOptions(t *testing.T) {
	w := newPluginWorld(t)
	w.docker("network", "create", "--subnet", "10.5.0.0/24", "-d", "bridged", "--ipam-driver", "bridged", "there")
	for says, args := range map[string][]string{
		"com.docker.network.bridge.colour":     {"-o", "com.docker.network.bridge.colour=red"},
		"com.docker.network.bridge.enable_icc": {"-o", "com.docker.network.bridge.enable_icc=perhaps"},
		"bridged.sourceguard":                  {"-o", "bridged.sourceguard=false"},
		"com.docker.network.driver.mtu":        {"-o", "com.docker.network.driver.mtu=12"},
		"10.5.0.0/16":                          {"--subnet", "10.5.0.0/16"},
		"192.0.2.0/24":                         {"--subnet", "192.0.2.0/24"}, // the LAN's
	} {
		for _, ipam := range []string{"bridged", "default"} {
			w.refuses(says, networkOptions(ipam, append(args, "n1")...)...)
		}
	}
	if names := strings.Fields(w.bridged("network", "ls", "-q")); len(names) != 3 { // none, host
		t.Errorf("there are networks %q", names)
	}
	w.docker("network", "rm", "there")
	w.nothingLeft()
}

// Options of an endpoint: what Docker does with them, and what is refused before it does.
func TestEndpointOptions(t *testing.T) {
	const option = "com.docker.network.endpoint."
	w := newPluginWorld(t)
	w.network("n1")
	w.network("n2")
	c1 := w.run("c1", "--network", "n1")
	w.docker("network", "connect", "--driver-opt", option+"ifname=wan0", "n2", "c1")
	linkOf(t, c1.Space, "wan0")
	w.docker("network", "disconnect", "n2", "c1")
	for says, option := range map[string]string{
		"ifname":  option + "ifname=a/b",
		"sysctls": option + "sysctls=kernel.hostname=x",
	} {
		w.refuses(says, "network", "connect", "--driver-opt", option, "n2", "c1")
	}
	if all := links(t, c1.Space); len(all) != 2 {
		t.Errorf("c1 has the links %v", all)
	}
	w.docker("network", "connect", "n2", "c1")
	w.docker("rm", "-f", "c1")
	w.docker("network", "rm", "n1", "n2")
	w.nothingLeft()
}
