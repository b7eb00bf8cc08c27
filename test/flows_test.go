package test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Ports of the flows' world.
const (
	published     = 8080 // of every host address, to c1:80
	loopbackPort  = 8081 // of 127.0.0.2, to c1:81
	internalPort  = 8084 // to c4:80, on the internal network
	hostService   = 2222 // a listener on the host
	containerPort = 80
)

// hall is the world of the flows: c1 and c2 on the default network, c3 on a second one, c4 and c5 on an internal one.
type hall struct {
	*world
	c1, c2, c3, c4, c5 member
	internal4          netip.Addr // the gateways of the internal network
	internal6          netip.Addr
	services           *flowtest.Server // on the host
}

// newHall starts the daemon, and everything in its world.
func newHall(t testing.TB, nf, icc bool) *hall {
	t.Helper()
	h := &hall{world: newWorld(t)}
	h.bridgeNetfilter(nf)
	h.daemon("--ipv6", fmt.Sprintf("--icc=%t", icc))
	h.bridged("network", "create", "--ipv6", "second")
	h.bridged("network", "create", "--ipv6", "--internal", "inside")
	h.c1 = h.member("c1", "bridge",
		"-p", "8080:80", "-p", "8080:80/udp",
		"-p", "127.0.0.2:8081:81", "-p", "127.0.0.2:8081:81/udp")
	h.c2 = h.member("c2", "bridge")
	h.c3 = h.member("c3", "second")
	h.c4 = h.member("c4", "inside", "-p", "8084:80", "-p", "8084:80/udp")
	h.c5 = h.member("c5", "inside")
	h.internal4, h.internal6 = h.gatewayOf(h.c4)
	for _, m := range []member{h.c1, h.c2, h.c3, h.c4, h.c5} {
		flowtest.Serve(t, m.Space, 80, 81)
	}
	flowtest.Serve(t, h.lan, 80)
	flowtest.Serve(t, h.far, 80)
	h.services = flowtest.ServeAt(t, h.host,
		netip.AddrPortFrom(hostLAN4, hostService), netip.AddrPortFrom(hostLAN6, hostService),
		netip.AddrPortFrom(h.c1.gw4, hostService), netip.AddrPortFrom(h.c1.gw6, hostService),
		netip.AddrPortFrom(h.internal4, hostService), netip.AddrPortFrom(h.internal6, hostService),
		netip.MustParseAddrPort("127.0.0.1:2222"))
	return h
}

// worlds runs f in the four kinds of a world: br_netfilter on and off, ICC on and off.
func worlds(t *testing.T, f func(t *testing.T, nf, icc bool)) {
	for _, nf := range []bool{false, true} {
		for _, icc := range []bool{true, false} {
			t.Run(fmt.Sprintf("nf=%t,icc=%t", nf, icc), func(t *testing.T) { f(t, nf, icc) })
		}
	}
}

// families are addresses that stand for IPv4 and IPv6.
var families = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// The flows that hold, always: from everywhere to everywhere, with what they look like at the other end.
func TestFlows(t *testing.T) {
	worlds(t, func(t *testing.T, nf, icc bool) {
		h := newHall(t, nf, icc)
		for _, f := range families {
			for _, proto := range []string{"tcp", "udp"} {
				t.Run(familyName(f)+"/"+proto, func(t *testing.T) {
					h.open(t, f, proto, icc)
					h.closed(t, f, proto, icc)
				})
			}
		}
		h.settled()
	})
}

// open checks the flows that work, who answers, and which source address is seen there.
func (h *hall) open(t *testing.T, f netip.Addr, proto string, icc bool) {
	host, lan, far := pick(f, hostLAN4, hostLAN6), pick(f, lan4, lan6), pick(f, far4, far6)
	farSide := pick(f, netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:2::1"))
	gateway, inside := h.c1.gateway(f), pick(f, h.internal4, h.internal6)
	rows := []struct {
		from   *flowtest.Space
		to     netip.Addr
		port   uint16
		answer string
		source netip.Addr // as the server sees it
		when   bool
	}{
		{h.lan, host, published, "c1", lan, true},
		{h.host, host, published, "c1", netip.Addr{}, true},
		{h.c1.Space, host, published, "c1", gateway, true},
		{h.c2.Space, host, published, "c1", gateway, true},
		{h.c3.Space, host, published, "c1", gateway, true},
		{h.c1.Space, gateway, published, "c1", gateway, true},
		{h.c2.Space, gateway, published, "c1", gateway, true},
		{h.c3.Space, h.c3.gateway(f), published, "c1", gateway, true},
		{h.host, netip.MustParseAddr("127.0.0.1"), published, "c1", gateway, f.Is4()},
		{h.host, netip.MustParseAddr("127.0.0.2"), loopbackPort, "c1", gateway, f.Is4()},
		{h.host, h.c1.addr(f), 80, "c1", gateway, true},
		{h.host, h.c4.addr(f), 80, "c4", inside, true},
		{h.host, host, internalPort, "c4", inside, true},
		{h.c1.Space, lan, 80, "lan", host, true},
		{h.c3.Space, lan, 80, "lan", host, true},
		{h.c1.Space, far, 80, "far", farSide, true},
		{h.c1.Space, gateway, hostService, "host", h.c1.addr(f), true},
		{h.c1.Space, host, hostService, "host", h.c1.addr(f), true},
		{h.c4.Space, inside, hostService, "host", h.c4.addr(f), true},
		{h.c4.Space, h.c5.addr(f), 80, "c5", h.c4.addr(f), true},
		{h.c1.Space, h.c2.addr(f), 80, "c2", h.c1.addr(f), icc},
	}
	for _, r := range rows {
		if !r.when {
			continue
		}
		t.Run(fmt.Sprintf("%s_to_%s:%d", r.from.Name, r.to, r.port), func(t *testing.T) {
			a := flowtest.Reaches(t, r.from, proto, netip.AddrPortFrom(r.to, r.port), r.answer)
			if r.source.IsValid() && a.Source.Addr() != r.source {
				t.Errorf("%s saw the source %s, not %s", a.Server, a.Source.Addr(), r.source)
			}
		})
	}
}

// closed checks the flows that do not work, each with a control that does.
func (h *hall) closed(t *testing.T, f netip.Addr, proto string, icc bool) {
	host, lan, far := pick(f, hostLAN4, hostLAN6), pick(f, lan4, lan6), pick(f, far4, far6)
	at := func(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }
	gateway, inside := h.c1.gateway(f), pick(f, h.internal4, h.internal6)
	toPublished := at(host, published)
	rows := []struct {
		from    *flowtest.Space
		to      netip.AddrPort
		at      *flowtest.Space // nil: a service of the host
		port    uint16
		control flowtest.Control
		when    bool
	}{
		{h.c3.Space, at(h.c1.addr(f), 80), h.c1.Space, 80, flowtest.Via(h.c3.Space, toPublished), true},
		{h.c1.Space, at(h.c3.addr(f), 80), h.c3.Space, 80, flowtest.Via(h.host, at(h.c3.addr(f), 80)), true},
		{h.lan, at(h.c1.addr(f), 80), h.c1.Space, 80, flowtest.Via(h.lan, toPublished), true},
		{h.lan, at(h.c2.addr(f), 80), h.c2.Space, 80, flowtest.Via(h.host, at(h.c2.addr(f), 80)), true},
		{h.far, at(h.c1.addr(f), 80), h.c1.Space, 80, flowtest.Via(h.far, toPublished), true},
		{h.lan, at(gateway, hostService), nil, 0, flowtest.Via(h.lan, at(host, hostService)), true},
		{h.lan, at(gateway, published), h.c1.Space, 80, flowtest.Via(h.lan, toPublished), true},
		{h.c4.Space, at(lan, 80), h.lan, 80, flowtest.Via(h.host, at(lan, 80)), true},
		{h.c4.Space, toPublished, h.c1.Space, 80, flowtest.Via(h.host, toPublished), true},
		{h.c4.Space, at(inside, published), h.c1.Space, 80, flowtest.Via(h.host, toPublished), true},
		{h.c4.Space, at(gateway, published), h.c1.Space, 80, flowtest.Via(h.host, toPublished), true},
		{h.c4.Space, at(h.c1.addr(f), 80), h.c1.Space, 80, flowtest.Via(h.host, toPublished), true},
		{h.c4.Space, at(host, hostService), nil, 0, flowtest.Via(h.c4.Space, at(inside, hostService)), true},
		{h.c4.Space, at(gateway, hostService), nil, 0, flowtest.Via(h.c4.Space, at(inside, hostService)), true},
		{h.c1.Space, at(h.c4.addr(f), 80), h.c4.Space, 80, flowtest.Via(h.host, at(h.c4.addr(f), 80)), true},
		{h.c1.Space, at(host, internalPort), h.c4.Space, 80, flowtest.Via(h.host, at(host, internalPort)), true},
		{h.c1.Space, at(inside, hostService), nil, 0, flowtest.Via(h.c1.Space, at(gateway, hostService)), true},
		{h.lan, at(host, internalPort), h.c4.Space, 80, flowtest.Via(h.host, at(host, internalPort)), true},
		{h.lan, at(h.c4.addr(f), 80), h.c4.Space, 80, flowtest.Via(h.host, at(h.c4.addr(f), 80)), true},
		{h.lan, at(far, 80), h.far, 80, flowtest.Via(h.c1.Space, at(far, 80)), true},
		{h.far, at(lan, 80), h.lan, 80, flowtest.Via(h.c1.Space, at(lan, 80)), true},
		{h.c1.Space, at(h.c2.addr(f), 80), h.c2.Space, 80, flowtest.Via(h.host, at(h.c2.addr(f), 80)), !icc},
		{h.c2.Space, at(h.c1.addr(f), 80), h.c1.Space, 80, flowtest.Via(h.c2.Space, toPublished), !icc},
	}
	for _, r := range rows {
		if !r.when {
			continue
		}
		t.Run(fmt.Sprintf("%s_not_to_%s", r.from.Name, r.to), func(t *testing.T) {
			undo := h.knowNeighbours(t, r.from, r.to.Addr())
			defer undo()
			if r.at == nil {
				flowtest.Unheard(t, r.from, proto, r.to, h.services, r.control)
			} else {
				flowtest.Lost(t, r.from, proto, r.to, r.at, r.port, r.control)
			}
		})
	}
	if f.Is6() {
		t.Run("host_not_to_[::1]", func(t *testing.T) { h.loopback6(t, proto) })
	}
}

// knowNeighbours makes a sandbox know the way as an attacker would: its siblings' MACs without asking, and routes to what
// it has none to. The returned function takes that back.
func (h *hall) knowNeighbours(t testing.TB, from *flowtest.Space, to netip.Addr) func() {
	t.Helper()
	var undo []string
	for _, m := range []member{h.c1, h.c2} {
		if (m.ip4 == to || m.ip6 == to) && (from == h.c1.Space || from == h.c2.Space) {
			from.IP(t, fmt.Sprintf("neigh replace %s lladdr %s dev eth0", to, m.mac))
			undo = append(undo, fmt.Sprintf("neigh del %s dev eth0", to))
		}
	}
	if from == h.c4.Space {
		via := pick(to, h.internal4, h.internal6)
		if to != via {
			from.IP(t, fmt.Sprintf("route replace %s via %s dev eth0", to, via))
			undo = append(undo, fmt.Sprintf("route del %s", to))
		}
	}
	return func() {
		if len(undo) > 0 {
			from.IP(t, undo...)
		}
	}
}

// loopback6 checks that the published port is not there on ::1: at once for TCP.
func (h *hall) loopback6(t *testing.T, proto string) {
	to := netip.AddrPortFrom(netip.IPv6Loopback(), published)
	if proto == "tcp" {
		if err := flowtest.Refused(h.host, to); err != nil {
			t.Error(err)
		}
	}
	flowtest.Lost(t, h.host, proto, to, h.c1.Space, 80, flowtest.Via(h.host, netip.AddrPortFrom(hostLAN6, published)))
}

// Forwarding that was on before the daemon came stays on, for everybody.
func TestForwardingThatWasOn(t *testing.T) {
	for _, flags := range [][]string{{"--ipv6"}, {"--ipv6", "--ip-forward=false"}} {
		w := newWorld(t)
		w.host.Sysctl(t, "net/ipv4/ip_forward", "1")
		w.host.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		w.daemon(flags...)
		w.crossing(t, true)
	}
}

// Forwarding that the daemon switched on makes no router of the host, also not after restarts, unless asked for.
func TestForwardingSwitchedOn(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	if w.host.ReadSysctl(t, "net/ipv4/ip_forward") != "1" || w.host.ReadSysctl(t, "net/ipv6/conf/all/forwarding") != "1" {
		t.Fatal("the daemon did not switch forwarding on")
	}
	w.crossing(t, false)
	d.Stop()
	w.crossing(t, false)
	d = w.daemon("--ipv6")
	w.crossing(t, false)
	d.Kill()
	d = w.daemon("--ipv6")
	w.crossing(t, false)
	d.Stop()
	w.daemon("--ipv6", "--ip-forward-no-drop")
	w.crossing(t, true)
}

// Without permission the daemon does not touch forwarding.
func TestForwardingForbidden(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6", "--ip-forward=false")
	if w.host.ReadSysctl(t, "net/ipv4/ip_forward") != "0" || w.host.ReadSysctl(t, "net/ipv6/conf/all/forwarding") != "0" {
		t.Error("forwarding was switched on with --ip-forward=false")
	}
}

// crossing checks whether the LAN reaches what is behind the host.
func (w *world) crossing(t *testing.T, want bool) {
	t.Helper()
	for _, f := range families {
		to := netip.AddrPortFrom(pick(f, far4, far6), 80)
		for _, proto := range []string{"tcp", "udp"} {
			srv := flowtest.Serve(t, w.far, 80)
			if want {
				flowtest.Reaches(t, w.lan, proto, to, "far")
			} else {
				flowtest.Lost(t, w.lan, proto, to, w.far, 80, flowtest.Via(w.host, to))
			}
			srv.Close()
		}
	}
}
