package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// both is one thing's address in each family.
type both struct{ v4, v6 netip.Addr }

func (b both) of(f netip.Addr) netip.Addr { return pick(f, b.v4, b.v6) }

// addrs and gateways are a member's addresses, and its gateway's.
func (m member) addrs() both    { return both{m.ip4, m.ip6} }
func (m member) gateways() both { return both{m.gw4, m.gw6} }

// city is a world with a network of every kind, and at least one sandbox in each.
type city struct {
	*world
	a1, a2, a3 member          // the default network
	b1, b2, b3 member          // ICC off
	s1         member          // a second network
	i1, i2     member          // internal
	x1, x2     member          // isolated in both families
	h1, h2     member          // internal; isolated in IPv4 only
	r1, r2     member          // routed
	m1         member          // IPv4 nat, IPv6 routed
	u1         member          // nat-unprotected
	t1         member          // trusts lan0
	f1, f2     member          // a fixed source address
	n1, n2     member          // the bridge has no IPv4 address
	o1         member          // no masquerade: others know the way
	q1, q2     member          // ICC off, and nat-unprotected
	router     *flowtest.Space // has the gateway's address there
	d          *flowtest.Space // in several networks
	dA, dS, dI both            // its addresses on the default, the second, the internal one
	dU         both            // and on the unprotected one
	iGateway   both            // of the internal network, where sandboxes have none
	hGateway   both
	services   *flowtest.Server // on the host
	host1      both             // the host's address on the LAN
	host2      both             // and its second one
	lanAt      both
	farAt      both
	beyond     *flowtest.Space // behind the neighbour, by a narrow link
	beyondAt   both
}

// Ports of the city. Sandboxes serve 80 and 81.
const (
	portA1 = 8080 + iota
	portLoopback
	portS1
	portT1
	portR1
	portM1
	portU1
	portA2
	portB1
	portF1
	portD
	portB2
	portO1
	portI1
	portX1
	portOne // of one address of the host
)

func newCity(t testing.TB) *city {
	t.Helper()
	w := newWorld(t, "addr add 192.0.2.9/24 dev lan0", "addr add 2001:db8:1::9/64 dev lan0 nodad preferred_lft 0")
	c := &city{world: w,
		host1: both{hostLAN4, hostLAN6}, host2: both{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8:1::9")},
		lanAt: both{lan4, lan6}, farAt: both{far4, far6},
		beyondAt: both{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8:3::2")}}
	w.daemon("--ipv6")
	network := func(name string, args ...string) {
		w.bridged(append(append([]string{"network", "create", "--ipv6"}, args...), name)...)
	}
	const mode4, mode6 = "com.docker.network.bridge.gateway_mode_ipv4=", "com.docker.network.bridge.gateway_mode_ipv6="
	network("quiet", "-o", "com.docker.network.bridge.enable_icc=false")
	network("strict", "-o", "com.docker.network.bridge.enable_icc=false", "-o", mode4+"nat-unprotected", "-o", mode6+"nat-unprotected")
	network("second")
	network("inside", "--internal")
	network("cut", "--internal", "-o", mode4+"isolated", "-o", mode6+"isolated")
	network("half", "--internal", "-o", mode4+"isolated")
	network("routed", "-o", mode4+"routed", "-o", mode6+"routed")
	network("mixed", "-o", mode6+"routed")
	network("open", "-o", mode4+"nat-unprotected", "-o", mode6+"nat-unprotected")
	network("trusting", "-o", "com.docker.network.bridge.trusted_host_interfaces=lan0")
	network("fixed", "-o", "com.docker.network.host_ipv4=192.0.2.9", "-o", "com.docker.network.host_ipv6=2001:db8:1::9")
	network("own", "-o", "com.docker.network.bridge.enable_ip_masquerade=false")
	network("inhibited", "-o", "com.docker.network.bridge.inhibit_ipv4=true")
	publish := func(port int) []string {
		return []string{"-p", fmt.Sprintf("%d:80", port), "-p", fmt.Sprintf("%d:80/udp", port)}
	}
	c.a1 = w.member("a1", "bridge", append(publish(portA1), "-p", "127.0.0.2:8081:81", "-p", "127.0.0.2:8081:81/udp",
		"-p", fmt.Sprintf("%s:%d:81", c.host2.v4, portOne), "-p", fmt.Sprintf("%s:%d:81/udp", c.host2.v4, portOne),
		"-p", fmt.Sprintf("[%s]:%d:81", c.host2.v6, portOne), "-p", fmt.Sprintf("[%s]:%d:81/udp", c.host2.v6, portOne))...)
	c.a2, c.a3 = w.member("a2", "bridge", publish(portA2)...), w.member("a3", "bridge")
	c.b1, c.b2, c.b3 = w.member("b1", "quiet", publish(portB1)...), w.member("b2", "quiet", publish(portB2)...), w.member("b3", "quiet")
	c.q1, c.q2 = w.member("q1", "strict"), w.member("q2", "strict")
	c.s1 = w.member("s1", "second", publish(portS1)...)
	c.i1, c.i2 = w.member("i1", "inside", publish(portI1)...), w.member("i2", "inside")
	c.x1, c.x2 = w.member("x1", "cut", publish(portX1)...), w.member("x2", "cut")
	c.h1, c.h2 = w.member("h1", "half"), w.member("h2", "half")
	c.r1, c.r2 = w.member("r1", "routed", publish(portR1)...), w.member("r2", "routed")
	c.m1 = w.member("m1", "mixed", publish(portM1)...)
	c.u1 = w.member("u1", "open", publish(portU1)...)
	c.t1 = w.member("t1", "trusting", publish(portT1)...)
	c.f1, c.f2 = w.member("f1", "fixed", publish(portF1)...), w.member("f2", "fixed")
	c.n1, c.n2 = w.member("n1", "inhibited"), w.member("n2", "inhibited")
	c.o1 = w.member("o1", "own", publish(portO1)...)
	c.iGateway.v4, c.iGateway.v6 = w.gatewayOf(c.i1)
	c.hGateway.v4, c.hGateway.v6 = w.gatewayOf(c.h1)
	c.everywhere(t, publish(portD))
	c.neighbourhood(t)
	for _, m := range []member{c.a1, c.a2, c.a3, c.b1, c.b2, c.b3, c.s1, c.i1, c.i2, c.x1, c.x2, c.h1, c.h2, c.r1, c.r2, c.m1, c.u1, c.t1, c.f1, c.f2, c.n1, c.n2, c.o1, c.q1, c.q2} {
		m.Space.Sysctl(t, "net/ipv4/ping_group_range", "0 0")
		flowtest.Serve(t, m.Space, 80, 81)
	}
	for _, s := range []*flowtest.Space{w.host, w.lan, w.far, c.router, c.d, c.beyond} {
		s.Sysctl(t, "net/ipv4/ping_group_range", "0 0")
	}
	flowtest.Serve(t, w.lan, 80)
	flowtest.Serve(t, w.far, 80)
	flowtest.Serve(t, c.router, 80)
	flowtest.Serve(t, c.beyond, 80)
	flowtest.Serve(t, c.d, 80)
	// A server that must answer datagrams from the address that was asked, and not from the one nearest to the client, says so.
	flowtest.ServeAt(t, c.d, netip.AddrPortFrom(c.dU.v4, 82), netip.AddrPortFrom(c.dU.v6, 82))
	// So does one of the host.
	var at []netip.AddrPort
	for _, a := range []both{c.host1, c.a1.gateways(), c.b1.gateways(), c.r1.gateways(), c.t1.gateways(), c.iGateway, {v6: c.hGateway.v6}, {v6: c.n1.gw6}} {
		for _, f := range families {
			if a.of(f).IsValid() {
				at = append(at, netip.AddrPortFrom(a.of(f), hostService))
			}
		}
	}
	c.services = flowtest.ServeAt(t, w.host, at...)
	return c
}

// everywhere makes the sandbox that is in several networks; its gateway is the one with the fixed source address.
func (c *city) everywhere(t testing.TB, publish []string) {
	t.Helper()
	c.d = c.create(append(append([]string{"--network", "bridge"}, publish...), "d")...)
	c.connect(t, "second", "d", 0)
	c.connect(t, "inside", "d", 0)
	c.connect(t, "open", "d", 0)
	c.connect(t, "fixed", "d", 10)
	at := func(network string) both {
		e := c.endpoint("d", network)
		return both{addrOrNone(e.IPAddress), addrOrNone(e.GlobalIPv6Address)}
	}
	c.dA, c.dS, c.dI, c.dU = at("bridge"), at("second"), at("inside"), at("open")
}

// connect joins a sandbox to a further network.
func (c *city) connect(t testing.TB, network, sandbox string, priority int) {
	t.Helper()
	c.networkCall(t, network, "connect", fmt.Sprintf(`{"Container": %q, "EndpointConfig": {"GwPriority": %d}}`, sandbox, priority))
}

func (c *city) networkCall(t testing.TB, network, verb, body string) {
	t.Helper()
	c.host.Output(t, "curl", "-sS", "--fail-with-body", "--unix-socket", "/run/bridged/bridged.sock", "-X", "POST",
		"-H", "Content-Type: application/json", "-d", body, "http://bridged/networks/"+network+"/"+verb)
}

// neighbourhood makes everything around the sandboxes, and gives some of them the ways that an attacker would take.
func (c *city) neighbourhood(t testing.TB) {
	t.Helper()
	// The router of the network whose bridge has no IPv4 address.
	c.router = flowtest.NewSpace(t, "router", false)
	c.join(t, c.host, "rt0", c.router, "eth0")
	c.host.IP(t, fmt.Sprintf("link set rt0 master %s up", c.masterOf(c.n1.HostInterface)))
	c.router.IP(t, "link set eth0 up", fmt.Sprintf("addr add %s/%d dev eth0", c.n1.gw4, c.n1.IPPrefixLen))
	// What is behind the neighbour.
	c.beyond = flowtest.NewSpace(t, "beyond", false)
	c.join(t, c.lan, "narrow", c.beyond, "eth0")
	c.lan.Sysctl(t, "net/ipv4/ip_forward", "1")
	c.lan.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	c.lan.IP(t, "link set narrow mtu 1280 up", "addr add 203.0.113.1/24 dev narrow", "addr add 2001:db8:3::1/64 dev narrow nodad")
	c.beyond.IP(t, "link set eth0 mtu 1280 up", "addr add 203.0.113.2/24 dev eth0", "addr add 2001:db8:3::2/64 dev eth0 nodad",
		"route add default via 203.0.113.1", "route add default via 2001:db8:3::1")
	// Siblings that ICC separates: by their MAC, and by way of the gateway.
	for _, f := range families {
		c.b1.Space.IP(t, fmt.Sprintf("neigh replace %s lladdr %s dev eth0", c.b2.addr(f), c.b2.mac),
			fmt.Sprintf("neigh replace %s lladdr %s dev eth0", c.b3.addr(f), c.b1.gatewayMAC))
		c.q1.Space.IP(t, fmt.Sprintf("neigh replace %s lladdr %s dev eth0", c.q2.addr(f), c.q1.gatewayMAC))
		c.i1.Space.IP(t, fmt.Sprintf("route add default via %s dev eth0", c.iGateway.of(f)))
	}
	// Isolated sandboxes that believe that the bridge is a gateway nevertheless.
	for _, m := range []member{c.x1, c.h1} {
		m.Space.IP(t, fmt.Sprintf("neigh replace 10.255.255.1 lladdr %s dev eth0", m.gatewayMAC),
			"route add default via 10.255.255.1 dev eth0 onlink")
	}
	c.x1.Space.IP(t, fmt.Sprintf("neigh replace fe80::1 lladdr %s dev eth0", c.x1.gatewayMAC), "route add default via fe80::1 dev eth0")
	c.h1.Space.IP(t, fmt.Sprintf("route add default via %s dev eth0", c.hGateway.v6))
	// Those who believe that 127.0.0.2 is not their own; and a host that would let it in.
	c.host.Sysctl(t, "net/ipv4/conf/lan0/route_localnet", "1")
	for s, via := range map[*flowtest.Space]netip.Addr{c.lan: hostLAN4, c.s1.Space: c.s1.gw4, c.a3.Space: c.a3.gw4} {
		s.Sysctl(t, "net/ipv4/conf/eth0/route_localnet", "1")
		s.IP(t, "addr del 127.0.0.1/8 dev lo", fmt.Sprintf("route add 127.0.0.2 via %s", via))
	}
}

// join makes a veth pair between two spaces.
func (c *city) join(t testing.TB, from *flowtest.Space, link string, to *flowtest.Space, peer string) {
	t.Helper()
	from.IP(t, fmt.Sprintf("link add %s type veth peer name %s netns %s", link, peer, to.Path()))
}

// way is a flow, and what becomes of it.
type way struct {
	from    *flowtest.Space
	to      both
	port    uint16
	server  string           // who answers; "": nobody, and then
	at      *flowtest.Space  // where the packet must not arrive; nil: at the host's own services
	control flowtest.Control // what arrives there, later, on the same way
	source  both             // of a flow that is answered, as the server sees it
	ping    pinged
	only    netip.Addr // one family; the zero Addr: both
}

// pinged is what becomes of an echo request to the same address.
type pinged int

const (
	unpinged pinged = iota // not tried: the address is the host's, which answers for itself
	answered
	silence
)

// Everything that isolation and gateway modes promise: from everywhere to everywhere.
func TestGatewayModes(t *testing.T) {
	need(t, "curl")
	c := newCity(t)
	for _, nf := range []bool{false, true} {
		c.bridgeNetfilter(nf)
		for _, f := range families {
			for name, ways := range c.ways(f) {
				for i, y := range ways {
					if y.only.IsValid() && y.only != f || !y.to.of(f).IsValid() {
						continue
					}
					t.Run(fmt.Sprintf("nf=%t/%s/%s/%d:%s_to_%s:%d", nf, familyName(f), name, i, y.from.Name, y.to.of(f), y.port), func(t *testing.T) {
						y.check(t, c, f)
					})
				}
			}
		}
	}
	t.Run("broadcast", c.broadcasting)
	t.Run("shared", c.sharedOpening)
	t.Run("gateway", c.movingGateway)
	t.Run("path MTU", c.pathMTU)
	t.Run("inhibited", func(t *testing.T) {
		if v4, v6 := c.gatewayOf(c.n1); v4.IsValid() || v6 != c.n1.gw6 {
			t.Errorf("the bridge that must not have an IPv4 address has %s and %s", v4, v6)
		}
	})
	t.Run("refused", c.refusing)
	c.settled()
}

// inner is the port of a sandbox that a published port would lead to.
func inner(port uint16) uint16 {
	switch {
	case port == portLoopback || port == portOne:
		return 81
	case port >= portA1:
		return 80
	}
	return port
}

func (y way) check(t *testing.T, c *city, f netip.Addr) {
	to := netip.AddrPortFrom(y.to.of(f), y.port)
	for _, proto := range []string{"tcp", "udp"} {
		switch {
		case y.server != "":
			a := flowtest.Reaches(t, y.from, proto, to, y.server)
			if want := y.source.of(f); want.IsValid() && a.Source.Addr() != want {
				t.Errorf("%s/%s: %s saw the source %s, not %s", to, proto, y.server, a.Source.Addr(), want)
			}
		case y.at == nil:
			flowtest.Unheard(t, y.from, proto, to, c.services, y.control)
		default:
			flowtest.Lost(t, y.from, proto, to, y.at, inner(y.port), y.control)
		}
	}
	switch y.ping {
	case answered:
		if err := flowtest.Ping(y.from, to.Addr()); err != nil {
			t.Errorf("ping to %s: %v", to.Addr(), err)
		}
	case silence:
		unanswered(t, y.from, to.Addr(), y.at, y.control)
	}
}

// unanswered sends an echo request that must not arrive at a space, nor be answered. at may be nil: then only the answer counts.
func unanswered(t *testing.T, from *flowtest.Space, to netip.Addr, at *flowtest.Space, c flowtest.Control) {
	t.Helper()
	var o *flowtest.Wire
	if at != nil {
		o = flowtest.Observe(t, at)
	}
	family, proto, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	if to.Is6() {
		family, proto, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
	}
	mark, fd := flowtest.NewMark(), -1
	err := from.Do(func() (err error) {
		if err := flowtest.OnFirstCPU(); err != nil {
			return err
		}
		if fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto); err != nil {
			return err
		}
		return unix.Sendto(fd, append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, mark...), 0, flowtest.Sockaddr(netip.AddrPortFrom(to, 0)))
	})
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if err != nil {
		t.Fatalf("cannot send an echo request from %s to %s: %v", from.Name, to, err)
	}
	last := c.Settle(t)
	if o != nil {
		o.Until(t, "the control", flowtest.Marked(last))
		if f := o.Saw(flowtest.Marked(mark)); f != nil {
			t.Errorf("an echo request from %s to %s arrives in %s: % x", from.Name, to, at.Name, f)
		}
	}
	if n, _, err := unix.Recvfrom(fd, make([]byte, 256), 0); err == nil && n > 0 {
		t.Errorf("an echo request from %s to %s is answered", from.Name, to)
	}
}

// ways are the flows of one family, by what they are about.
func (c *city) ways(f netip.Addr) map[string][]way {
	to := func(from *flowtest.Space, dst both, port uint16) flowtest.Control {
		return flowtest.Via(from, netip.AddrPortFrom(dst.of(f), port))
	}
	v4, v6 := families[0], families[1]
	loopback2 := both{v4: netip.MustParseAddr("127.0.0.2")}
	farSide := both{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:2::1")}
	a1, a2, b1, b2, s1, i1, x1, h1 := c.a1, c.a2, c.b1, c.b2, c.s1, c.i1, c.x1, c.h1
	r1, m1, u1, t1, f1, n1 := c.r1, c.m1, c.u1, c.t1, c.f1, c.n1
	own := func(m member) both { return m.addrs() }
	gw := func(m member) both { return m.gateways() }
	pass := func(from *flowtest.Space, dst both, port uint16, server string, source both, ping pinged) way {
		return way{from: from, to: dst, port: port, server: server, source: source, ping: ping}
	}
	stop := func(from *flowtest.Space, dst both, port uint16, at *flowtest.Space, ctl flowtest.Control, ping pinged) way {
		return way{from: from, to: dst, port: port, at: at, control: ctl, ping: ping}
	}
	in := func(family netip.Addr, y way) way { y.only = family; return y }
	return map[string][]way{
		"same network": {
			pass(a1.Space, own(a2), 81, "a2", own(a1), answered),
			pass(c.i1.Space, own(c.i2), 81, "i2", own(i1), answered),
			pass(c.x1.Space, own(c.x2), 81, "x2", own(x1), answered),
			pass(c.h1.Space, own(c.h2), 81, "h2", own(h1), answered),
			pass(r1.Space, own(c.r2), 81, "r2", own(r1), answered),
			pass(f1.Space, own(c.f2), 81, "f2", own(f1), answered),
			pass(n1.Space, own(c.n2), 81, "n2", own(n1), answered),
			stop(b1.Space, own(b2), 80, b2.Space, to(b1.Space, c.host1, portB2), silence),
			stop(b1.Space, own(c.b3), 80, c.b3.Space, to(c.host, own(c.b3), 80), silence),
			stop(c.q1.Space, own(c.q2), 80, c.q2.Space, to(c.lan, own(c.q2), 80), silence),
		},
		"own gateway": {
			pass(a1.Space, gw(a1), hostService, "host", own(a1), answered),
			pass(b1.Space, gw(b1), hostService, "host", own(b1), answered),
			pass(i1.Space, c.iGateway, hostService, "host", own(i1), answered),
			pass(r1.Space, gw(r1), hostService, "host", own(r1), answered),
			pass(a1.Space, c.host1, hostService, "host", own(a1), answered),
			in(v6, pass(h1.Space, c.hGateway, hostService, "host", own(h1), answered)),
			in(v6, pass(n1.Space, gw(n1), hostService, "host", own(n1), answered)),
			in(v4, pass(n1.Space, gw(n1), 80, "router", own(n1), answered)),
		},
		"hairpin": {
			pass(a1.Space, c.host1, portA1, "a1", gw(a1), unpinged),
			pass(a1.Space, gw(a1), portA1, "a1", gw(a1), unpinged),
			pass(a2.Space, c.host1, portA1, "a1", gw(a1), unpinged),
			pass(b1.Space, c.host1, portB1, "b1", gw(b1), unpinged),
			pass(b2.Space, c.host1, portB1, "b1", gw(b1), unpinged),
			pass(f1.Space, c.host2, portF1, "f1", gw(f1), unpinged),
			pass(u1.Space, c.host1, portU1, "u1", gw(u1), unpinged),
		},
		"other network": {
			stop(a1.Space, own(s1), 80, s1.Space, to(a1.Space, c.host1, portS1), silence),
			stop(s1.Space, own(a1), 80, a1.Space, to(s1.Space, c.host1, portA1), silence),
			stop(r1.Space, own(a1), 80, a1.Space, to(r1.Space, c.host1, portA1), silence),
			stop(u1.Space, own(a1), 80, a1.Space, to(u1.Space, c.host1, portA1), silence),
			stop(a1.Space, own(t1), 80, t1.Space, to(a1.Space, c.host1, portT1), silence),
			pass(a1.Space, c.host1, portS1, "s1", gw(s1), unpinged),
			pass(s1.Space, gw(s1), portA1, "a1", gw(a1), unpinged),
			pass(s1.Space, gw(a1), portA1, "a1", gw(a1), unpinged),
			pass(b1.Space, c.host1, portA1, "a1", gw(a1), unpinged),
			pass(a1.Space, own(r1), 80, "r1", gw(r1), answered),
			stop(a1.Space, own(r1), 81, r1.Space, to(a1.Space, own(r1), 80), unpinged),
			pass(a1.Space, own(u1), 81, "u1", gw(u1), answered),
			pass(r1.Space, own(u1), 81, "u1", own(r1), answered),
			pass(f1.Space, own(u1), 81, "u1", c.host2, answered),
		},
		"internal": {
			stop(i1.Space, c.lanAt, 80, c.lan, to(a1.Space, c.lanAt, 80), silence),
			stop(i1.Space, c.host1, portA1, a1.Space, to(c.host, c.host1, portA1), unpinged),
			stop(i1.Space, c.iGateway, portA1, a1.Space, to(c.host, c.host1, portA1), unpinged),
			stop(i1.Space, own(a1), 80, a1.Space, to(c.host, own(a1), 80), silence),
			stop(i1.Space, own(r1), 80, r1.Space, to(c.host, own(r1), 80), silence),
			stop(i1.Space, own(u1), 80, u1.Space, to(c.host, own(u1), 80), silence),
			stop(i1.Space, c.host1, hostService, nil, to(i1.Space, c.iGateway, hostService), silence),
			stop(i1.Space, gw(a1), hostService, nil, to(i1.Space, c.iGateway, hostService), silence),
			stop(a1.Space, own(i1), 80, i1.Space, to(c.host, own(i1), 80), silence),
			stop(r1.Space, own(i1), 80, i1.Space, to(c.host, own(i1), 80), silence),
			stop(a1.Space, c.iGateway, hostService, nil, to(a1.Space, gw(a1), hostService), silence),
			stop(c.lan, own(i1), 80, i1.Space, to(c.host, own(i1), 80), silence),
			stop(c.lan, c.iGateway, hostService, nil, to(c.lan, c.host1, hostService), silence),
			pass(c.host, own(i1), 81, "i1", c.iGateway, answered),
			pass(c.host, c.host1, portI1, "i1", c.iGateway, unpinged),
			stop(c.lan, c.host1, portI1, i1.Space, to(c.host, own(i1), 80), unpinged),
			stop(a1.Space, c.host1, portI1, i1.Space, to(c.host, own(i1), 80), unpinged),
		},
		"isolated": {
			stop(x1.Space, c.host1, hostService, nil, to(x1.Space, own(c.x2), 80), silence),
			stop(x1.Space, c.host1, portA1, a1.Space, to(a2.Space, c.host1, portA1), unpinged),
			stop(x1.Space, c.lanAt, 80, c.lan, to(a1.Space, c.lanAt, 80), silence),
			stop(x1.Space, own(a1), 80, a1.Space, to(a2.Space, own(a1), 80), silence),
			stop(a1.Space, own(x1), 80, x1.Space, to(c.x2.Space, own(x1), 80), silence),
			stop(c.host, own(x1), 80, x1.Space, to(c.x2.Space, own(x1), 80), silence),
			stop(c.lan, own(x1), 80, x1.Space, to(c.x2.Space, own(x1), 80), silence),
			in(v4, stop(h1.Space, c.host1, hostService, nil, to(h1.Space, own(c.h2), 80), silence)),
			in(v4, stop(h1.Space, c.lanAt, 80, c.lan, to(a1.Space, c.lanAt, 80), silence)),
			in(v6, stop(h1.Space, c.host1, hostService, nil, to(h1.Space, c.hGateway, hostService), silence)),
		},
		"routed": {
			pass(c.lan, own(r1), 80, "r1", c.lanAt, answered),
			pass(c.far, own(r1), 80, "r1", c.farAt, answered),
			stop(c.lan, own(r1), 81, r1.Space, to(c.lan, own(r1), 80), unpinged),
			stop(c.lan, own(c.r2), 80, c.r2.Space, to(c.host, own(c.r2), 80), unpinged),
			stop(c.lan, c.host1, portR1, r1.Space, to(c.lan, own(r1), 80), unpinged),
			pass(c.lan, gw(r1), hostService, "host", c.lanAt, answered),
			pass(r1.Space, c.lanAt, 80, "lan", own(r1), answered),
			pass(r1.Space, c.host1, portA1, "a1", gw(a1), unpinged),
			pass(c.host, own(r1), 81, "r1", gw(r1), answered),
			in(v4, pass(c.lan, c.host1, portM1, "m1", c.lanAt, unpinged)),
			in(v4, stop(c.lan, own(m1), 80, m1.Space, to(c.lan, c.host1, portM1), silence)),
			in(v4, pass(m1.Space, c.lanAt, 80, "lan", c.host1, answered)),
			in(v6, pass(c.lan, own(m1), 80, "m1", c.lanAt, answered)),
			in(v6, stop(c.lan, own(m1), 81, m1.Space, to(c.lan, own(m1), 80), unpinged)),
			in(v6, stop(c.lan, c.host1, portM1, m1.Space, to(c.lan, own(m1), 80), unpinged)),
			in(v6, pass(m1.Space, c.lanAt, 80, "lan", own(m1), answered)),
		},
		"unprotected": {
			pass(c.lan, own(u1), 80, "u1", c.lanAt, answered),
			pass(c.lan, own(u1), 81, "u1", c.lanAt, unpinged),
			pass(c.far, own(u1), 81, "u1", c.farAt, answered),
			pass(c.lan, c.host1, portU1, "u1", c.lanAt, unpinged),
			pass(u1.Space, c.lanAt, 80, "lan", c.host1, answered),
		},
		"trusted": {
			pass(c.lan, own(t1), 80, "t1", c.lanAt, unpinged),
			stop(c.lan, own(t1), 81, t1.Space, to(c.lan, own(t1), 80), silence),
			stop(c.far, own(t1), 80, t1.Space, to(c.far, c.host1, portT1), silence),
			stop(c.far, gw(t1), hostService, nil, to(c.far, c.host1, hostService), silence),
			pass(c.lan, gw(t1), hostService, "host", c.lanAt, answered),
			pass(c.lan, c.host1, portT1, "t1", c.lanAt, unpinged),
			pass(c.far, c.host1, portT1, "t1", c.farAt, unpinged),
			pass(t1.Space, c.lanAt, 80, "lan", c.host1, answered),
		},
		"direct": {
			stop(c.lan, own(a1), 80, a1.Space, to(c.lan, c.host1, portA1), silence),
			stop(c.lan, own(a1), 81, a1.Space, to(c.lan, c.host1, portA1), unpinged),
			stop(c.far, own(a1), 80, a1.Space, to(c.far, c.host1, portA1), silence),
			stop(c.lan, own(c.a3), 80, c.a3.Space, to(c.host, own(c.a3), 80), silence),
			stop(c.lan, gw(a1), hostService, nil, to(c.lan, c.host1, hostService), silence),
			stop(c.lan, gw(a1), portA1, a1.Space, to(c.lan, c.host1, portA1), unpinged),
			stop(c.lan, own(b1), 80, b1.Space, to(c.lan, c.host1, portB1), silence),
			pass(c.lan, c.host1, portA1, "a1", c.lanAt, unpinged),
			pass(c.lan, c.host2, portA1, "a1", c.lanAt, unpinged),
			pass(c.lan, c.host2, portOne, "a1", c.lanAt, unpinged),
			stop(c.lan, c.host1, portOne, a1.Space, to(c.lan, c.host1, portA1), unpinged),
			pass(c.far, c.host2, portA1, "a1", c.farAt, unpinged),
			pass(c.host, own(a1), 81, "a1", gw(a1), answered),
		},
		"loopback": {
			in(v4, pass(c.host, loopback2, portLoopback, "a1", gw(a1), unpinged)),
			in(v4, stop(c.lan, loopback2, portLoopback, a1.Space, to(c.lan, c.host1, portA1), silence)),
			in(v4, stop(s1.Space, loopback2, portLoopback, a1.Space, to(s1.Space, c.host1, portA1), silence)),
			in(v4, stop(c.a3.Space, loopback2, portLoopback, a1.Space, to(c.a3.Space, c.host1, portA1), silence)),
		},
		"source": {
			pass(a1.Space, c.lanAt, 80, "lan", c.host1, answered),
			pass(a1.Space, c.farAt, 80, "far", farSide, answered),
			pass(b1.Space, c.lanAt, 80, "lan", c.host1, answered),
			pass(f1.Space, c.lanAt, 80, "lan", c.host2, answered),
			pass(f1.Space, c.farAt, 80, "far", c.host2, answered),
			pass(f1.Space, c.host1, portA1, "a1", gw(a1), unpinged),
			in(v6, pass(n1.Space, c.lanAt, 80, "lan", c.host1, answered)),
			pass(c.o1.Space, c.lanAt, 80, "lan", own(c.o1), answered),
			pass(c.o1.Space, c.host1, portA1, "a1", gw(a1), unpinged),
			pass(c.lan, c.host1, portO1, "o1", c.lanAt, unpinged),
			stop(c.lan, own(c.o1), 80, c.o1.Space, to(c.lan, c.host1, portO1), silence),
		},
		"several networks": {
			pass(a1.Space, c.dA, 80, "d", own(a1), answered),
			pass(s1.Space, c.dS, 80, "d", own(s1), answered),
			pass(i1.Space, c.dI, 80, "d", own(i1), answered),
			pass(c.d, own(a1), 81, "a1", c.dA, answered),
			pass(c.d, own(s1), 81, "s1", c.dS, answered),
			pass(c.d, own(i1), 81, "i1", c.dI, answered),
			pass(c.d, c.lanAt, 80, "lan", c.host2, answered),
			pass(c.d, c.host1, portA1, "a1", gw(a1), unpinged),
			pass(c.lan, c.host1, portD, "d", c.lanAt, unpinged),
			pass(c.host, c.dS, 80, "d", gw(s1), answered),
			// The answer leaves by another network than the question came by.
			pass(c.lan, c.dU, 82, "d", c.lanAt, answered),
			pass(a1.Space, c.dU, 82, "d", gw(u1), answered),
			stop(a1.Space, c.dS, 80, c.d, to(a1.Space, c.dA, 80), silence),
			stop(s1.Space, c.dA, 80, c.d, to(s1.Space, c.dS, 80), silence),
			stop(i1.Space, c.dA, 80, c.d, to(i1.Space, c.dI, 80), silence),
			stop(i1.Space, c.dU, 82, c.d, to(i1.Space, c.dI, 80), silence),
			stop(a1.Space, c.dI, 80, c.d, to(a1.Space, c.dA, 80), silence),
			stop(c.lan, c.dA, 80, c.d, to(c.lan, c.host1, portD), silence),
			stop(c.lan, c.dI, 80, c.d, to(c.lan, c.host1, portD), silence),
		},
	}
}

// refusing asks for published ports that lead nowhere: one that is routed, and one of an isolated network. They are reserved on the host,
// nobody answers there, and nothing is sent where such an address may be elsewhere.
func (c *city) refusing(t *testing.T) {
	for _, f := range families {
		sees := flowtest.Observe(t, c.lan)
		for _, port := range []uint16{portR1, portX1} {
			for _, from := range []*flowtest.Space{c.host, c.lan, c.a1.Space} {
				if err := flowtest.Refused(from, netip.AddrPortFrom(c.host1.of(f), port)); err != nil {
					t.Errorf("%s: %v", from.Name, err)
				}
			}
		}
		mark := flowtest.Via(c.host, netip.AddrPortFrom(c.lanAt.of(f), 80)).Settle(t)
		sees.Until(t, "the control", flowtest.Marked(mark))
		if frame := sees.Saw(flowtest.SynTo(80)); frame != nil {
			t.Errorf("the LAN sees what was meant for a sandbox: % x", frame)
		}
	}
}

// broadcasting asks the host for an address by DHCP: that comes from nowhere and goes to everybody, so no route keeps it from the host.
func (c *city) broadcasting(t *testing.T) {
	dhcp := flowtest.ServeAt(t, c.host, netip.MustParseAddrPort("0.0.0.0:67"))
	question := func(m member) string {
		mark, none := flowtest.NewMark(), netip.IPv4Unspecified()
		src, dst := netip.AddrPortFrom(none, 68), netip.MustParseAddrPort("255.255.255.255:67")
		flowtest.Injector(t, m.Space, "eth0").Send(t, ethernet(m.mac, broadcast, typeIPv4, packet(none, dst.Addr(), protoUDP, udp(src, dst, mark))))
		flowtest.Via(c.a1.Space, netip.AddrPortFrom(c.a1.gw4, dst.Port())).Settle(t) // the same socket
		return mark
	}
	for _, nf := range []bool{false, true} {
		c.bridgeNetfilter(nf)
		for _, m := range []member{c.x1, c.h1} {
			if dhcp.Got(question(m)) {
				t.Errorf("nf=%t: the host hears %s, which is isolated", nf, m.Name)
			}
		}
		for _, m := range []member{c.a1, c.b1, c.i1} {
			if mark := question(m); !dhcp.Got(mark) {
				t.Errorf("nf=%t: the host does not hear %s", nf, m.Name)
			}
		}
	}
}

// sharedOpening publishes a port of a routed sandbox twice: it stays open until both publications are gone.
func (c *city) sharedOpening(t *testing.T) {
	first, second := []string{"8084:80", "8084:80/udp"}, []string{"9084:80", "9084:80/udp"}
	port := func(verb string, specs []string) { c.bridged(append([]string{"port", verb, "r1"}, specs...)...) }
	check := func(open bool) {
		t.Helper()
		for _, f := range families {
			for _, proto := range []string{"tcp", "udp"} {
				to := netip.AddrPortFrom(c.r1.addr(f), 80)
				if open {
					flowtest.Reaches(t, c.lan, proto, to, "r1")
				} else {
					flowtest.Lost(t, c.lan, proto, to, c.r1.Space, 80, flowtest.Via(c.host, to))
				}
			}
		}
	}
	port("add", second)
	port("rm", first)
	check(true)
	port("rm", second)
	check(false)
	port("add", first)
	check(true)
	c.settled()
}

// movingGateway takes the gateway's network away from the sandbox that is in several, and gives it others: the default route
// and the published ports go along.
func (c *city) movingGateway(t *testing.T) {
	uses := func(source both) {
		t.Helper()
		for _, f := range families {
			for _, proto := range []string{"tcp", "udp"} {
				a := flowtest.Reaches(t, c.d, proto, netip.AddrPortFrom(c.lanAt.of(f), 80), "lan")
				if a.Source.Addr() != source.of(f) {
					t.Errorf("the LAN saw %s, not %s", a.Source.Addr(), source.of(f))
				}
			}
		}
	}
	published := func() {
		t.Helper()
		for _, f := range families {
			for _, proto := range []string{"tcp", "udp"} {
				flowtest.Reaches(t, c.lan, proto, netip.AddrPortFrom(c.host1.of(f), portD), "d")
			}
		}
	}
	uses(c.host2)
	published()
	c.connect(t, "routed", "d", 20)
	e := c.endpoint("d", "routed")
	routed := both{addrOrNone(e.IPAddress), addrOrNone(e.GlobalIPv6Address)}
	uses(routed)
	for _, f := range families {
		to := netip.AddrPortFrom(routed.of(f), 80)
		for _, proto := range []string{"tcp", "udp"} {
			flowtest.Reaches(t, c.lan, proto, to, "d")
			flowtest.Lost(t, c.lan, proto, netip.AddrPortFrom(c.host1.of(f), portD), c.d, 80, flowtest.Via(c.lan, to))
		}
	}
	c.networkCall(t, "fixed", "disconnect", `{"Container": "d"}`)
	uses(routed)
	c.networkCall(t, "routed", "disconnect", `{"Container": "d"}`)
	uses(c.host1)
	published()
	c.connect(t, "fixed", "d", 10)
	uses(c.host2)
	published()
	c.settled()
}

// pathMTU sends packets that are too large for a link behind the host, and for the bridge: who sent them hears of it.
func (c *city) pathMTU(t *testing.T) {
	c.bridged("network", "create", "--ipv6", "-o", "com.docker.network.driver.mtu=1280", "small")
	p1 := c.member("p1", "small", "-p", "9080:80", "-p", "9080:80/udp")
	flowtest.Serve(t, p1.Space, 80)
	for _, f := range families {
		at := func(a both, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.of(f), port) }
		for _, y := range []struct {
			from *flowtest.Space
			to   netip.AddrPort
		}{
			{c.a1.Space, at(c.beyondAt, 80)},
			{c.f1.Space, at(c.beyondAt, 80)},
			{c.r1.Space, at(c.beyondAt, 80)},
			{c.d, at(c.beyondAt, 80)},
			{c.lan, at(c.host1, 9080)},
			{c.a1.Space, at(c.host1, 9080)},
		} {
			tooLarge(t, y.from, y.to)
		}
		bulk(t, c.a2.Space, at(c.beyondAt, 80))
		bulk(t, c.u1.Space, at(c.beyondAt, 80))
		bulk(t, c.beyond, at(c.host1, portA1))
		bulk(t, c.beyond, at(c.r1.addrs(), 80))
		bulk(t, c.far, at(c.host1, 9080))
	}
}

// tooLarge sends a datagram that no router may fragment, and waits until the sender's kernel says that it was too large.
func tooLarge(t *testing.T, from *flowtest.Space, to netip.AddrPort) {
	t.Helper()
	conn, err := flowtest.Dial(from, "udp", to, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(flowtest.Deadline())
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, discover, hear := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_RECVERR
	if to.Addr().Is6() {
		level, discover, hear = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_RECVERR
	}
	const always = unix.IP_PMTUDISC_DO // the same number in IPv6
	var set error
	raw.Control(func(fd uintptr) {
		set = errors.Join(unix.SetsockoptInt(int(fd), level, discover, always), unix.SetsockoptInt(int(fd), level, hear, 1))
	})
	if set != nil {
		t.Fatal(set)
	}
	if _, err := conn.Write(make([]byte, 1400)); err != nil {
		t.Fatalf("%s to %s: %v", from.Name, to, err)
	}
	if _, err := conn.Read(make([]byte, 2048)); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("%s does not hear that its packets to %s are too large: %v", from.Name, to, err)
	}
}
