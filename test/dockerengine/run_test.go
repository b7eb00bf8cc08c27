package dockerengine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// families are addresses that stand for IPv4 and IPv6.
var families = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}

func pick[T any](like netip.Addr, v4, v6 T) T {
	if like.Is4() {
		return v4
	}
	return v6
}

// A container with a published port, from its start to its end, with our addresses and with the engine's own.
func TestRun(t *testing.T) {
	w := newPluginWorld(t)
	for ipam, subnets := range map[string][]string{
		"bridged": nil,
		"default": {"--subnet", "172.28.0.0/16", "--subnet", "fd00:28::/64"},
	} {
		t.Run(ipam, func(t *testing.T) {
			w := w.in(t)
			id := w.docker(networkOptions(ipam, append(slices.Clone(subnets), "--ipv6", "n1")...)...)
			networks := decode[[]struct{ ID, Name string }](w, "network", "inspect", id)
			if len(networks) != 1 || networks[0].ID != id || networks[0].Name != "docker-"+id[:12] {
				t.Errorf("the engine's network %s is %+v", id, networks)
			}
			c1 := w.run("c1", "--network", "n1", "-p", "8080:80", "-p", "8080:80/udp")
			c2 := w.run("c2", "--network", "n1")
			flowtest.Serve(t, c1.Space, 80)
			w.published(slices.Concat(bothFamilies("c1", "80/tcp", 8080), bothFamilies("c1", "80/udp", 8080))...)
			if out := w.docker("port", "c1"); out != "" {
				t.Errorf("docker port knows what no remote driver can tell: %s", out)
			}
			for _, f := range families {
				host, lan := pick(f, host4, host6), pick(f, lan4, lan6)
				self := c1.on("n1").addr(f)
				for _, proto := range []string{"tcp", "udp"} {
					to := netip.AddrPortFrom(host, 8080)
					for _, from := range []*flowtest.Space{w.lan, w.host, c1.Space, c2.Space} {
						flowtest.Reaches(t, from, proto, to, "c1")
					}
					flowtest.Reaches(t, c2.Space, proto, netip.AddrPortFrom(self, 80), "c1")
					if a := flowtest.Reaches(t, c1.Space, proto, netip.AddrPortFrom(lan, 80), "lan"); a.Source.Addr() != host {
						t.Errorf("the LAN saw %s, not %s", a.Source.Addr(), host)
					}
				}
			}
			flowtest.Reaches(t, w.host, "tcp", netip.MustParseAddrPort("127.0.0.1:8080"), "c1")
			if warnings := decode[struct{ Warnings []string }](w, "status", "--json").Warnings; len(warnings) > 0 {
				t.Errorf("warnings: %q", warnings)
			}
			w.settled()

			w.docker("rm", "-f", "c1")
			w.published()
			for _, host := range []netip.Addr{host4, host6} {
				if err := flowtest.Refused(w.lan, netip.AddrPortFrom(host, 8080)); err != nil {
					t.Error(err)
				}
			}
			w.docker("rm", "-f", "c2")
			w.docker("network", "rm", "n1")
			w.nothingLeft()
		})
	}
}

// Which ports `docker run` publishes, and that they lead to the container's.
func TestPorts(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	for _, c := range []struct {
		args []string
		want []string // a number of 0 is any of the ephemeral range
	}{
		{[]string{"-p", "9000-9003:80-83"}, []string{"80/tcp 9000", "81/tcp 9001", "82/tcp 9002", "83/tcp 9003"}},
		{[]string{"-p", "9000-9001:80-81/udp"}, []string{"80/udp 9000", "81/udp 9001"}},
		{[]string{"-p", "80"}, []string{"80/tcp 0"}},
		{[]string{"-p", "80-81"}, []string{"80/tcp 0", "81/tcp 0"}},
		{[]string{"-P", "--expose", "80", "--expose", "81/udp"}, []string{"80/tcp 0", "81/udp 0"}},
		{[]string{"-p", "8000-8010:80"}, []string{"80/tcp 8000"}},
		{[]string{"-p", "8080:80", "-p", "8081:80"}, []string{"80/tcp 8080", "80/tcp 8081"}},
		{[]string{"-p", "8080:80", "-p", "8080:80/udp", "-p", "8080:80/sctp"}, []string{"80/sctp 8080", "80/tcp 8080", "80/udp 8080"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			w := w.in(t)
			c1 := w.run("c1", append([]string{"--network", "n1"}, c.args...)...)
			flowtest.Serve(t, c1.Space, 80, 81, 82, 83)
			var got []string
			for _, p := range w.ports() {
				number := p.number()
				host := pick(netip.MustParseAddr(p.HostIP), host4, host6)
				if proto := p.Port[strings.Index(p.Port, "/")+1:]; proto != "sctp" {
					flowtest.Reaches(t, w.lan, proto, netip.AddrPortFrom(host, uint16(number)), "c1")
				}
				if number >= 32768 {
					number = 0
				}
				if host.Is4() {
					got = append(got, fmt.Sprintf("%s %d", p.Port, number))
				}
			}
			if slices.Sort(got); !slices.Equal(got, c.want) || len(w.ports()) != 2*len(c.want) {
				t.Errorf("published are %q, want %q", got, c.want)
			}
			w.docker("rm", "-f", "c1")
			w.published()
		})
	}
}

// A range of 1,000 ports is published as a whole or not at all.
func TestWideRange(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	c1 := w.run("c1", "--network", "n1", "-p", "20000-20999:1000-1999")
	flowtest.Serve(t, c1.Space, 1000, 1500, 1999)
	if n := len(w.ports()); n != 2000 {
		t.Errorf("%d ports are published, in both families", n)
	}
	check := func() {
		t.Helper()
		for _, port := range []uint16{20000, 20500, 20999} {
			for _, host := range []netip.Addr{host4, host6} {
				flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, port), "c1")
			}
		}
	}
	check()
	w.refuses("20999", "run", "-d", "--name", "c2", "--network", "n1", "-p", "20999-21998:1000-1999", image)
	if n := len(w.ports()); n != 2000 {
		t.Errorf("after a refusal %d ports are published", n)
	}
	check()
	w.settled()
	w.docker("rm", "-f", "c1")
	w.published()
	w.docker("start", "c2")
	if n := len(w.ports()); n != 2000 {
		t.Errorf("%d ports of the second are published", n)
	}
	w.docker("rm", "-f", "c2")
	w.docker("network", "rm", "n1")
	w.nothingLeft()
}

// Where ports are published: on one address of the host.
func TestHostAddresses(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	c1 := w.run("c1", "--network", "n1", "-p", "192.0.2.1:8001:80", "-p", "127.0.0.2:8002:80", "-p", "[2001:db8:1::1]:8003:80", "-p", "0.0.0.0:8004:80")
	flowtest.Serve(t, c1.Space, 80)
	w.published("c1 80/tcp -> 192.0.2.1:8001", "c1 80/tcp -> 127.0.0.2:8002", "c1 80/tcp -> [2001:db8:1::1]:8003", "c1 80/tcp -> 0.0.0.0:8004")
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host4, 8001), "c1")
	flowtest.Reaches(t, w.host, "tcp", netip.MustParseAddrPort("127.0.0.2:8002"), "c1")
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host6, 8003), "c1")
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host4, 8004), "c1")
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(host4, 8002), netip.AddrPortFrom(host4, 8003), netip.AddrPortFrom(host6, 8001)} {
		if err := flowtest.Refused(w.lan, to); err != nil {
			t.Error(err)
		}
	}
}

// A port that is taken refuses the container, says so, and leaves nothing of it; the next one that wants another port starts.
func TestPortTaken(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	w.run("c1", "--network", "n1", "-p", "8080:80")
	flowtest.Serve(t, w.host, 2222)
	w.refuses("port is already allocated", "run", "-d", "--name", "c2", "--network", "n1", "-p", "8079:80", "-p", "8080:80", image)
	w.refuses("2222", "run", "-d", "--name", "c3", "--network", "n1", "-p", "2222:80", image)
	w.published(bothFamilies("c1", "80/tcp", 8080)...)
	if status := decode[struct{ Endpoints int }](w, "status", "--json"); status.Endpoints != 1 {
		t.Errorf("there are %d endpoints", status.Endpoints)
	}
	w.docker("rm", "-f", "c1")
	c2 := w.docker("start", "c2")
	w.published(append(bothFamilies(c2, "80/tcp", 8080), bothFamilies(c2, "80/tcp", 8079)...)...)
	w.settled()
}

// Addresses that the user chooses, and those that can't be.
func TestAddresses(t *testing.T) {
	w := newPluginWorld(t)
	for ipam := range map[string]bool{"bridged": true, "default": true} {
		t.Run(ipam, func(t *testing.T) {
			w := w.in(t)
			w.docker(networkOptions(ipam, "--ipv6", "--subnet", "172.28.0.0/16", "--ip-range", "172.28.5.0/24", "--gateway", "172.28.0.254",
				"--aux-address", "printer=172.28.5.1", "--subnet", "fd00:28::/64", "n1")...)
			c1 := w.run("c1", "--network", "n1", "--ip", "172.28.9.9", "--ip6", "fd00:28::99", "--mac-address", "02:42:ca:fe:00:01", "-p", "8080:80")
			inside := linkOf(t, c1.Space, "eth0")
			if inside.Address != "02:42:ca:fe:00:01" || inside.AddrInfo[0].Local != "172.28.9.9" || inside.AddrInfo[1].Local != "fd00:28::99" {
				t.Errorf("eth0 is %+v", inside)
			}
			c2 := w.run("c2", "--network", "n1")
			e := c2.on("n1")
			if e.Gateway != "172.28.0.254" || !netip.MustParsePrefix("172.28.5.0/24").Contains(e.addr(families[0])) || e.IPAddress == "172.28.5.1" {
				t.Errorf("c2 has %+v", e)
			}
			flowtest.Serve(t, c1.Space, 80)
			for _, f := range families {
				flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(pick(f, host4, host6), 8080), "c1")
				flowtest.Reaches(t, c2.Space, "tcp", netip.AddrPortFrom(c1.on("n1").addr(f), 80), "c1")
			}
			for says, args := range map[string][]string{
				"172.28.9.9":        {"--ip", "172.28.9.9"},                                        // in use
				"172.29.0.1":        {"--ip", "172.29.0.1"},                                        // of another subnet
				"172.28.0.254":      {"--ip", "172.28.0.254"},                                      // the gateway's
				"02:42:ca:fe:00:01": {"--mac-address", "02:42:ca:fe:00:01", "--ip", "172.28.9.10"}, // in use
				"01:00:5e:00:00:01": {"--mac-address", "01:00:5e:00:00:01", "--ip", "172.28.9.10"}, // a group's
			} {
				r := w.tryDocker(append(append([]string{"run", "-d", "--name", "c3", "--network", "n1"}, args...), image)...)
				if r.code == 0 || ipam == "bridged" && !strings.Contains(r.stderr, says) {
					t.Errorf("want a refusal that says %q: %v", says, r)
				}
				w.docker("rm", "-f", "c3")
			}
			w.docker("rm", "-f", "c1", "c2")
			w.docker("network", "rm", "n1")
			w.nothingLeft()
		})
	}
}

// Members of an internal network reach one another and nothing else.
func TestInternal(t *testing.T) {
	w := newPluginWorld(t)
	w.network("--internal", "inside")
	w.network("n1")
	c1, c2 := w.run("c1", "--network", "inside", "-p", "8080:80"), w.run("c2", "--network", "inside")
	c3 := w.run("c3", "--network", "n1", "-p", "8081:80")
	for _, s := range []*flowtest.Space{c1.Space, c3.Space} {
		flowtest.Serve(t, s, 80)
	}
	for _, f := range families {
		self := c1.on("inside").addr(f)
		lan, host := pick(f, lan4, lan6), pick(f, host4, host6)
		flowtest.Reaches(t, c2.Space, "tcp", netip.AddrPortFrom(self, 80), "c1")
		flowtest.Reaches(t, w.host, "tcp", netip.AddrPortFrom(self, 80), "c1")
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, 8081), "c3")
		if route := defaultRoute(t, c1.Space, f); route != "" {
			t.Errorf("c1 has a default route: %s", route)
		}
		// Root in the container makes itself a route.
		c1.IP(t, fmt.Sprintf("route add default via %s", w.gateway("inside", f)))
		flowtest.Lost(t, c1.Space, "tcp", netip.AddrPortFrom(lan, 80), w.lan, 80, flowtest.Via(w.host, netip.AddrPortFrom(lan, 80)))
		flowtest.Lost(t, c1.Space, "tcp", netip.AddrPortFrom(host, 8081), c3.Space, 80, flowtest.Via(w.host, netip.AddrPortFrom(c3.on("n1").addr(f), 80)))
	}
	w.settled()
}

// defaultRoute is the default route of a space in the family of like; "": none.
func defaultRoute(t testing.TB, s *flowtest.Space, like netip.Addr) string {
	t.Helper()
	return strings.TrimSpace(s.Output(t, "ip", pick(like, "-4", "-6"), "route", "show", "default"))
}
