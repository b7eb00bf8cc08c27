package dockerengine

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// hall is the world of the flows: c1 and c2 on network n1, c3 on n2, c4 on an internal one, and far, another host behind this one. Port 8080
// of the host is c1's port 80, 127.0.0.2:8081 its port 81.
type hall struct {
	*world
	far            *flowtest.Space
	c1, c2, c3, c4 container
	shared         container // has c1's network stack
	services       *flowtest.Server
}

var (
	far4 = netip.MustParseAddr("198.51.100.2")
	far6 = netip.MustParseAddr("2001:db8:2::2")
)

// service is a port that the host listens on.
const service = 2222

// fill makes the networks and the containers.
func (w *world) fill(t testing.TB, icc bool) *hall {
	t.Helper()
	h := &hall{world: w, far: flowtest.NewSpace(t, "far", false)}
	w.host.Join(t, "far0", h.far, "198.51.100", "2001:db8:2")
	w.network("-o", fmt.Sprintf("com.docker.network.bridge.enable_icc=%t", icc), "n1")
	w.network("n2")
	w.network("--internal", "inside")
	h.c1 = w.run("c1", "--network", "n1", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.2:8081:81", "-p", "127.0.0.2:8081:81/udp")
	h.shared = w.run("shared", "--network", "container:c1")
	h.c2, h.c3, h.c4 = w.run("c2", "--network", "n1"), w.run("c3", "--network", "n2"), w.run("c4", "--network", "inside")
	for _, s := range []*flowtest.Space{h.c1.Space, h.c2.Space, h.c3.Space, h.c4.Space, h.far} {
		flowtest.Serve(t, s, 80, 81)
	}
	h.services = flowtest.Serve(t, h.host, service)
	return h
}

// bridgeNetfilter switches br_netfilter's hooks on or off.
func (w *world) bridgeNetfilter(t testing.TB, on bool) {
	t.Helper()
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		if on && os.Getenv("CI") == "true" {
			t.Fatal("br_netfilter is not loaded")
		}
		if on {
			t.Skip("br_netfilter is not loaded")
		}
		return
	}
	for _, name := range []string{"iptables", "ip6tables"} {
		w.host.Sysctl(t, "net/bridge/bridge-nf-call-"+name, map[bool]string{true: "1", false: "0"}[on])
	}
}

// The flows that hold, always, with containers of an engine that has no iptables, on a host that has none.
func TestFlows(t *testing.T) {
	for _, nf := range []bool{false, true} {
		for _, icc := range []bool{true, false} {
			t.Run(fmt.Sprintf("nf=%t,icc=%t", nf, icc), func(t *testing.T) {
				w := newPluginWorld(t)
				w.bridgeNetfilter(t, nf)
				w.fill(t, icc).hold(t, icc)
				w.settled()
			})
		}
	}
}

// hold checks all flows.
func (h *hall) hold(t *testing.T, icc bool) {
	t.Helper()
	for _, f := range families {
		for _, proto := range []string{"tcp", "udp"} {
			h.open(t, f, proto, icc)
			h.closed(t, f, proto, icc)
		}
	}
}

// open checks the flows that work, and who answers.
func (h *hall) open(t *testing.T, f netip.Addr, proto string, icc bool) {
	t.Helper()
	host, lan := pick(f, host4, host6), pick(f, lan4, lan6)
	self := h.c1.on("n1").addr(f)
	for _, r := range []struct {
		from   *flowtest.Space
		to     netip.Addr
		port   uint16
		answer string
		when   bool
	}{
		{h.lan, host, 8080, "c1", true},
		{h.host, host, 8080, "c1", true},
		{h.c1.Space, host, 8080, "c1", true},
		{h.c2.Space, host, 8080, "c1", true},
		{h.c3.Space, host, 8080, "c1", true},
		{h.c3.Space, h.gateway("n2", f), 8080, "c1", true},
		{h.host, netip.MustParseAddr("127.0.0.1"), 8080, "c1", f.Is4()},
		{h.host, netip.MustParseAddr("127.0.0.2"), 8081, "c1", f.Is4()},
		{h.host, self, 80, "c1", true},
		{h.c1.Space, lan, 80, "lan", true},
		{h.c3.Space, pick(f, far4, far6), 80, "far", true},
		{h.c1.Space, h.gateway("n1", f), service, "host", true},
		{h.c4.Space, h.gateway("inside", f), service, "host", true},
		{h.host, h.c4.on("inside").addr(f), 80, "c4", true},
		{h.shared.Space, pick(f, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()), 80, "c1", true},
		{h.c1.Space, h.c2.on("n1").addr(f), 80, "c2", icc},
	} {
		if r.when {
			flowtest.Reaches(t, r.from, proto, netip.AddrPortFrom(r.to, r.port), r.answer)
		}
	}
}

// closed checks the flows that do not work, each with a control that does.
func (h *hall) closed(t *testing.T, f netip.Addr, proto string, icc bool) {
	t.Helper()
	at := netip.AddrPortFrom
	host, lan, far := pick(f, host4, host6), pick(f, lan4, lan6), pick(f, far4, far6)
	addr1, addr2, addr3 := h.c1.on("n1").addr(f), h.c2.on("n1").addr(f), h.c3.on("n2").addr(f)
	addr4 := h.c4.on("inside").addr(f)
	h.c4.IP(t, fmt.Sprintf("route replace default via %s", h.gateway("inside", f))) // root in a container helps itself
	for _, r := range []struct {
		from    *flowtest.Space
		to      netip.AddrPort
		at      *flowtest.Space // nil: the service of the host
		port    uint16
		control flowtest.Control
		when    bool
	}{
		{h.c3.Space, at(addr1, 80), h.c1.Space, 80, flowtest.Via(h.c3.Space, at(host, 8080)), true},
		{h.c1.Space, at(addr3, 80), h.c3.Space, 80, flowtest.Via(h.host, at(addr3, 80)), true},
		{h.lan, at(addr1, 80), h.c1.Space, 80, flowtest.Via(h.lan, at(host, 8080)), true},
		{h.lan, at(addr2, 80), h.c2.Space, 80, flowtest.Via(h.host, at(addr2, 80)), true},
		{h.lan, at(h.gateway("n1", f), service), nil, 0, flowtest.Via(h.lan, at(host, service)), true},
		{h.c4.Space, at(lan, 80), h.lan, 80, flowtest.Via(h.host, at(lan, 80)), true},
		{h.c4.Space, at(host, 8080), h.c1.Space, 80, flowtest.Via(h.host, at(host, 8080)), true},
		{h.c4.Space, at(h.gateway("inside", f), 8080), h.c1.Space, 80, flowtest.Via(h.host, at(host, 8080)), true},
		{h.c4.Space, at(addr1, 80), h.c1.Space, 80, flowtest.Via(h.host, at(addr1, 80)), true},
		{h.c1.Space, at(addr4, 80), h.c4.Space, 80, flowtest.Via(h.host, at(addr4, 80)), true},
		{h.lan, at(far, 80), h.far, 80, flowtest.Via(h.c1.Space, at(far, 80)), true},
		{h.c1.Space, at(addr2, 80), h.c2.Space, 80, flowtest.Via(h.host, at(addr2, 80)), !icc},
		{h.c2.Space, at(addr1, 80), h.c1.Space, 80, flowtest.Via(h.c2.Space, at(host, 8080)), !icc},
	} {
		switch {
		case !r.when:
		case r.at == nil:
			flowtest.Unheard(t, r.from, proto, r.to, h.services, r.control)
		default:
			flowtest.Lost(t, r.from, proto, r.to, r.at, r.port, r.control)
		}
	}
	if f.Is6() && proto == "tcp" {
		if err := flowtest.Refused(h.host, at(netip.IPv6Loopback(), 8080)); err != nil {
			t.Error(err)
		}
	}
}

// Root in a container can't use addresses that are not the container's, and can't have a sibling's.
func TestForgedSource(t *testing.T) {
	w := newPluginWorld(t)
	w.network("--subnet", "172.28.0.0/24", "--gateway", "172.28.0.1", "--subnet", "fd00:28::/64", "n1")
	c1, c2 := w.run("c1", "--network", "n1"), w.run("c2", "--network", "n1")
	flowtest.Serve(t, c2.Space, 80)
	lan := netip.AddrPortFrom(lan4, 80)
	control := flowtest.Via(w.host, lan)
	flowtest.Reaches(t, c1.Space, "tcp", lan, "lan")
	mac := linkOf(t, c1.Space, "eth0").Address
	for name, forge := range map[string][2][]string{
		"a sibling's address":  {{"addr add " + c2.on("n1").IPAddress + "/24 dev eth0", "route replace default via 172.28.0.1 src " + c2.on("n1").IPAddress}, {"addr del " + c2.on("n1").IPAddress + "/24 dev eth0"}},
		"a nobody's address":   {{"addr add 172.28.0.200/24 dev eth0", "route replace default via 172.28.0.1 src 172.28.0.200"}, {"addr del 172.28.0.200/24 dev eth0"}},
		"an address elsewhere": {{"addr add 10.11.12.13/32 dev eth0", "route replace default via 172.28.0.1 src 10.11.12.13"}, {"addr del 10.11.12.13/32 dev eth0"}},
		"another MAC":          {{"link set eth0 address 02:42:de:ad:be:ef"}, {"link set eth0 address " + mac}},
		"a sibling's MAC":      {{"link set eth0 address " + c2.on("n1").MacAddress}, {"link set eth0 address " + mac}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			c1.IP(t, forge[0]...)
			flowtest.Lost(t, c1.Space, "udp", lan, w.lan, 80, control)
			c1.IP(t, append(forge[1], "route replace default via 172.28.0.1")...)
			flowtest.Reaches(t, c1.Space, "udp", lan, "lan")
			flowtest.Reaches(t, w.host, "udp", netip.AddrPortFrom(c2.on("n1").addr(families[0]), 80), "c2")
		})
	}
}

// What is published on the host's loopback is nobody else's, although they have a route there.
func TestLoopback(t *testing.T) {
	w := newPluginWorld(t)
	w.network("--subnet", "172.28.0.0/24", "--gateway", "172.28.0.1", "n1")
	c1, c2 := w.run("c1", "--network", "n1", "-p", "127.0.0.2:8081:80/udp", "-p", "8080:80/udp"), w.run("c2", "--network", "n1")
	flowtest.Serve(t, c1.Space, 80)
	loopback := netip.MustParseAddrPort("127.0.0.2:8081")
	flowtest.Reaches(t, w.host, "udp", loopback, "c1")
	w.host.Sysctl(t, "net/ipv4/conf/lan0/route_localnet", "1") // a host that would let it in
	for from, via := range map[*flowtest.Space]string{w.lan: host4.String(), c2.Space: "172.28.0.1"} {
		from.Sysctl(t, "net/ipv4/conf/all/route_localnet", "1")
		from.IP(t, "addr del 127.0.0.1/8 dev lo", "route add 127.0.0.2 via "+via)
		flowtest.Lost(t, from, "udp", loopback, c1.Space, 80, flowtest.Via(from, netip.AddrPortFrom(host4, 8080)))
	}
}
