package test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// chain is four sandboxes on a network without ICC, and the link c1 → c2:80, TCP and UDP.
type chain struct {
	*world
	daemon         *daemon
	c1, c2, c3, c4 member
}

// newChain starts the daemon and everything in its world. c1 publishes a port, which is a control for what reaches c1.
func newChain(t testing.TB, nf bool) *chain {
	t.Helper()
	h := &chain{world: newWorld(t)}
	h.bridgeNetfilter(nf)
	h.daemon = h.world.daemon("--ipv6", "--icc=false")
	h.c1 = h.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp")
	h.c2 = h.member("c2", "bridge")
	h.c3 = h.member("c3", "bridge")
	h.c4 = h.member("c4", "bridge")
	for _, m := range []member{h.c1, h.c2, h.c3, h.c4} {
		flowtest.Serve(t, m.Space, 80, 81)
	}
	h.bridged("link", "add", "--port", "80/tcp", "--port", "80/udp", "c1", "c2")
	return h
}

// cases runs f with br_netfilter off and on, for each family and protocol.
func (h *chain) cases(t *testing.T, f func(t *testing.T, a netip.Addr, proto string)) {
	for _, a := range families {
		for _, proto := range []string{"tcp", "udp"} {
			t.Run(familyName(a)+"/"+proto, func(t *testing.T) { f(t, a, proto) })
		}
	}
}

func bothNetfilters(t *testing.T, f func(t *testing.T, nf bool)) {
	for _, nf := range []bool{false, true} {
		t.Run(fmt.Sprintf("nf=%t", nf), func(t *testing.T) { f(t, nf) })
	}
}

// through makes a sandbox know the way to another by the gateway, as an attacker would, and takes that back.
func through(t testing.TB, from member, to netip.Addr) func() {
	t.Helper()
	from.Space.IP(t, fmt.Sprintf("route replace %s via %s dev eth0 metric 1", to, from.gateway(to)))
	return func() { from.Space.IP(t, fmt.Sprintf("route del %s via %s dev eth0 metric 1", to, from.gateway(to))) }
}

// The rows of DESIGN.md on links: who reaches whom, and what the server sees.
func TestLinkFlows(t *testing.T) {
	bothNetfilters(t, func(t *testing.T, nf bool) {
		h := newChain(t, nf)
		h.cases(t, func(t *testing.T, f netip.Addr, proto string) {
			at := func(m member, port uint16) netip.AddrPort { return netip.AddrPortFrom(m.addr(f), port) }
			for range 2 {
				a := flowtest.Reaches(t, h.c1.Space, proto, at(h.c2, 80), "c2")
				if a.Source.Addr() != h.c1.addr(f) {
					t.Errorf("c2 saw the source %s, not %s", a.Source.Addr(), h.c1.addr(f))
				}
			}
			for _, r := range []struct {
				from, to member
				port     uint16
			}{
				{h.c1, h.c2, 81}, {h.c2, h.c1, 80}, {h.c2, h.c1, 81}, {h.c1, h.c3, 80}, {h.c3, h.c1, 80},
				{h.c3, h.c2, 80}, {h.c2, h.c3, 80}, {h.c3, h.c4, 80},
			} {
				t.Run(fmt.Sprintf("%s_not_to_%s:%d", r.from.Name, r.to.Name, r.port), func(t *testing.T) {
					defer through(t, r.from, r.to.addr(f))()
					flowtest.Lost(t, r.from.Space, proto, at(r.to, r.port), r.to.Space, r.port, flowtest.Via(h.host, at(r.to, 80)))
				})
			}
		})
		h.settled()
	})
}

// An answer, and nothing but an answer: what either end of a link can't do with raw frames, and what a third can't do with the
// addresses of one. Each frame is sent beside one of the same kind that arrives.
func TestLinkAttacks(t *testing.T) {
	bothNetfilters(t, func(t *testing.T, nf bool) {
		h := newChain(t, nf)
		for _, f := range families {
			// The flow that attackers hope to be taken for a part of.
			flowtest.Reaches(t, h.c1.Space, "tcp", netip.AddrPortFrom(h.c2.addr(f), 80), "c2")
			flowtest.Reaches(t, h.c1.Space, "udp", netip.AddrPortFrom(h.c2.addr(f), 80), "c2")
			for _, k := range h.attacks(f) {
				t.Run(familyName(f)+"/"+k.from.Name+"_to_"+k.to.Name+"/"+k.name, func(t *testing.T) { h.assault(t, f, k) })
			}
		}
		h.settled()
	})
}

// assault is one frame from a sandbox that must not arrive at another.
type assault struct {
	name     string
	from, to member
	frame    func(mark string) []byte
}

func (h *chain) assault(t *testing.T, f netip.Addr, k assault) {
	target, friend := flowtest.Observe(t, k.to.Space), flowtest.Observe(t, h.c2.Space)
	mark, harmless := flowtest.NewMark(), flowtest.NewMark()
	flowtest.Injector(t, k.from.Space, "eth0").Send(t, k.frame(mark))
	flowtest.Injector(t, h.c1.Space, "eth0").Send(t, segment(h.c1, h.c1.gatewayMAC, h.c1.addr(f), h.c2.addr(f), 40003, 80, protoUDP, 0, harmless))
	friend.Until(t, "the control", flowtest.Marked(harmless))
	flowtest.Via(h.host, netip.AddrPortFrom(k.to.addr(f), 80)).Settle(t)
	if frame := target.Saw(flowtest.Marked(mark)); frame != nil {
		t.Errorf("it arrives in %s: % x", k.to.Name, frame)
	}
}

// segment is a frame with the first packet of a flow in it, or with one of these TCP flags.
func segment(from member, to mac, src, dst netip.Addr, sport, dport uint16, proto, flags byte, mark string) []byte {
	s, d := netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	payload := udp(s, d, mark)
	if proto == protoTCP {
		payload = tcp(s, d, flags, mark)
	}
	return ethernet(from.mac, to, typeOf(dst), packet(src, dst, proto, payload))
}

// attacks are those of one family.
func (h *chain) attacks(f netip.Addr) []assault {
	c1, c2, c3 := h.c1, h.c2, h.c3
	var all []assault
	add := func(name string, from, to member, via mac, src netip.Addr, sport, dport uint16, proto, flags byte) {
		all = append(all, assault{name, from, to, func(mark string) []byte {
			return segment(from, via, src, to.addr(f), sport, dport, proto, flags, mark)
		}})
	}
	const flagSYNACK = flagSYN | flagACK
	for name, flags := range map[string]byte{"a SYN": flagSYN, "a SYN and ACK": flagSYNACK, "an ACK": flagACK, "a RST": flagRST} {
		add(name+" from port 80", c2, c1, c2.gatewayMAC, c2.addr(f), 80, 81, protoTCP, flags)
		add(name+" from port 80 to a high port", c2, c1, c2.gatewayMAC, c2.addr(f), 80, 40001, protoTCP, flags)
		add(name+" to another port", c1, c2, c1.gatewayMAC, c1.addr(f), 40001, 81, protoTCP, flags)
	}
	add("a datagram from port 80", c2, c1, c2.gatewayMAC, c2.addr(f), 80, 81, protoUDP, 0)
	add("a datagram from port 80 to a high port", c2, c1, c2.gatewayMAC, c2.addr(f), 80, 40001, protoUDP, 0)
	add("a datagram to another port", c1, c2, c1.gatewayMAC, c1.addr(f), 40001, 81, protoUDP, 0)
	add("past the gateway", c1, c2, c2.mac, c1.addr(f), 40001, 80, protoUDP, 0)
	add("past the gateway, back", c2, c1, c1.mac, c2.addr(f), 80, 40001, protoUDP, 0)
	add("to everybody", c2, c1, broadcast, c2.addr(f), 80, 40001, protoUDP, 0)
	add("as itself", c3, c2, c3.gatewayMAC, c3.addr(f), 40001, 80, protoUDP, 0)
	add("with the parent's address", c3, c2, c3.gatewayMAC, c1.addr(f), 40001, 80, protoUDP, 0)
	add("with the parent's address, past the gateway", c3, c2, c2.mac, c1.addr(f), 40001, 80, protoUDP, 0)
	add("with the child's address", c3, c1, c3.gatewayMAC, c2.addr(f), 80, 40001, protoUDP, 0)
	parent := c3
	parent.mac = c1.mac
	all = append(all,
		assault{"with the parent's address and MAC", c3, c2, func(mark string) []byte {
			return segment(parent, c3.gatewayMAC, c1.addr(f), c2.addr(f), 40001, 80, protoUDP, 0, mark)
		}},
		h.ping("ping", c1, c2, f), h.ping("ping back", c2, c1, f))
	return all
}

// ping is an echo request: it has no port that a link could open.
func (h *chain) ping(name string, from, to member, f netip.Addr) assault {
	return assault{name, from, to, func(mark string) []byte {
		src, dst := from.addr(f), to.addr(f)
		body := append([]byte{0, 1, 0, 1}, mark...)
		if f.Is4() {
			return ethernet(from.mac, from.gatewayMAC, typeIPv4, packet(src, dst, protoICMP, icmp4(8, 0, body)))
		}
		return ethernet(from.mac, from.gatewayMAC, typeIPv6, packet(src, dst, protoICMPv6, icmp6(src, dst, 128, 0, body)))
	}}
}

// What a link carries is refused once it is gone, connections that stand included: the packet filter would let these pass unasked.
func TestLinkRemovalCloses(t *testing.T) {
	bothNetfilters(t, func(t *testing.T, nf bool) {
		h := newChain(t, nf)
		type flow struct {
			tcp *flowtest.Echo
			udp talker
			to  netip.AddrPort
		}
		var flows []flow
		for _, f := range families {
			to := netip.AddrPortFrom(h.c2.addr(f), 80)
			fl := flow{flowtest.OpenEcho(t, h.c1.Space, to), newTalker(t, h.c1.Space, to), to}
			fl.tcp.Say(t, "are you there?")
			fl.udp.ask(t, "c2")
			flows = append(flows, fl)
		}
		h.bridged("link", "rm", "c1", "c2")
		h.noRoutes(t, h.c1, h.c2)
		for _, fl := range flows {
			// The way that the link's routes were is still open to them.
			through(t, h.c1, h.c2.addr(fl.to.Addr()))
			through(t, h.c2, h.c1.addr(fl.to.Addr()))
			out, back := flowtest.Observe(t, h.c2.Space), flowtest.Observe(t, h.c1.Space)
			segmentMark, datagramMark := flowtest.NewMark(), flowtest.NewMark()
			if _, err := fl.tcp.Conn.Write([]byte(segmentMark)); err != nil {
				t.Fatal(err)
			}
			if _, err := fl.udp.conn.Write([]byte(datagramMark)); err != nil {
				t.Fatal(err)
			}
			flowtest.Via(h.host, fl.to).Settle(t)
			flowtest.Via(h.host, netip.AddrPortFrom(h.c1.addr(fl.to.Addr()), 80)).Settle(t)
			for _, mark := range []string{segmentMark, datagramMark} {
				if out.Saw(flowtest.Marked(mark)) != nil || back.Saw(flowtest.Marked(mark)) != nil {
					t.Errorf("a flow to %s goes on without its link", fl.to)
				}
			}
		}
		h.cases(t, func(t *testing.T, f netip.Addr, proto string) {
			to := netip.AddrPortFrom(h.c2.addr(f), 80)
			flowtest.Lost(t, h.c1.Space, proto, to, h.c2.Space, 80, flowtest.Via(h.host, to))
		})
		h.settled()
	})
}

// linkRoutes are the ways of a sandbox to single addresses.
func (h *chain) linkRoutes(t testing.TB, m member) []string {
	t.Helper()
	var all []string
	for _, family := range []string{"-4", "-6"} {
		for _, r := range routesOf(t, m.Space, family) {
			if _, err := netip.ParseAddr(r.Dst); err == nil && r.Gateway != "" {
				all = append(all, r.Dst+" via "+r.Gateway)
			}
		}
	}
	return all
}

func (h *chain) noRoutes(t testing.TB, members ...member) {
	t.Helper()
	for _, m := range members {
		if r := h.linkRoutes(t, m); len(r) > 0 {
			t.Errorf("%s has routes left: %q", m.Name, r)
		}
	}
}

// Two links that cross share their routes, and nothing else: what the one opens, the end of the other does not close.
func TestLinksThatCross(t *testing.T) {
	h := newChain(t, true)
	h.bridged("link", "add", "--port", "81", "c2", "c1")
	var flows []*flowtest.Echo
	for _, f := range families {
		flowtest.Reaches(t, h.c1.Space, "tcp", netip.AddrPortFrom(h.c2.addr(f), 80), "c2")
		flows = append(flows, flowtest.OpenEcho(t, h.c2.Space, netip.AddrPortFrom(h.c1.addr(f), 81)))
	}
	h.bridged("link", "rm", "c1", "c2")
	for i, f := range families {
		flows[i].Say(t, "still there?")
		flowtest.Reaches(t, h.c2.Space, "tcp", netip.AddrPortFrom(h.c1.addr(f), 81), "c1")
		to := netip.AddrPortFrom(h.c2.addr(f), 80)
		flowtest.Lost(t, h.c1.Space, "tcp", to, h.c2.Space, 80, flowtest.Via(h.host, to))
	}
	h.bridged("link", "rm", "c2", "c1")
	h.noRoutes(t, h.c1, h.c2)
	h.settled()
}

// A link outlives the daemon, and a restart that finds it whole does not touch it.
func TestLinkOutlivesTheDaemon(t *testing.T) {
	for name, end := range restarts {
		t.Run(name, func(t *testing.T) {
			h := newChain(t, true)
			var flows []*flowtest.Echo
			for _, f := range families {
				flows = append(flows, flowtest.OpenEcho(t, h.c1.Space, netip.AddrPortFrom(h.c2.addr(f), 80)))
			}
			check := func() {
				t.Helper()
				for i, f := range families {
					flows[i].Say(t, "still there?")
					flowtest.Reaches(t, h.c1.Space, "udp", netip.AddrPortFrom(h.c2.addr(f), 80), "c2")
				}
			}
			routes := h.linkRoutes(t, h.c1)
			g := h.generations()
			end(h.daemon)
			check()
			h.world.daemon("--ipv6", "--icc=false")
			check()
			for _, b := range g.take(t) {
				for kind := range b {
					if kind != "new table" {
						t.Errorf("the restart wrote: %v", b)
					}
				}
			}
			if again := h.linkRoutes(t, h.c1); len(routes) != 2 || fmt.Sprint(again) != fmt.Sprint(routes) {
				t.Errorf("the routes were %q, and are %q", routes, again)
			}
			h.bridged("link", "rm", "c1", "c2")
			h.noRoutes(t, h.c1, h.c2)
			h.settled()
		})
	}
}

// Without ports it is what the child publishes, at any time.
func TestLinkFollowsPublications(t *testing.T) {
	h := newChain(t, true)
	h.bridged("link", "add", "c1", "c3")
	at := func(f netip.Addr) netip.AddrPort { return netip.AddrPortFrom(h.c3.addr(f), 80) }
	closed := func(proto string) {
		t.Helper()
		for _, f := range families {
			flowtest.Lost(t, h.c1.Space, proto, at(f), h.c3.Space, 80, flowtest.Via(h.host, at(f)))
		}
	}
	closed("tcp")
	h.bridged("port", "add", "c3", "9000:80", "127.0.0.2:9001:80")
	var flows []*flowtest.Echo
	for _, f := range families {
		flows = append(flows, flowtest.OpenEcho(t, h.c1.Space, at(f)))
	}
	closed("udp")
	h.bridged("port", "rm", "c3", "9000:80") // the other publication of the same port stays
	for _, e := range flows {
		e.Say(t, "still there?")
	}
	h.bridged("port", "rm", "c3", "9001:80")
	closed("tcp")
	// Connections end behind the answer, when the port is free again.
	h.released("tcp", netip.MustParseAddrPort("127.0.0.2:9001"))
	for i, f := range families {
		o, mark := flowtest.Observe(t, h.c3.Space), flowtest.NewMark()
		if _, err := flows[i].Conn.Write([]byte(mark)); err != nil {
			t.Fatal(err)
		}
		flowtest.Via(h.host, at(f)).Settle(t)
		if o.Saw(flowtest.Marked(mark)) != nil {
			t.Errorf("a connection to %s outlives the publication", at(f))
		}
	}
	h.settled()
}

// The host does not tell a linked sandbox that there were a shorter way, although the kernel would like to.
func TestNoRedirects(t *testing.T) {
	bothNetfilters(t, func(t *testing.T, nf bool) {
		h := newChain(t, nf)
		h.host.Sysctl(t, "net/ipv4/conf/all/send_redirects", "1")
		watched := []*flowtest.Wire{flowtest.Observe(t, h.c1.Space), flowtest.Observe(t, h.c2.Space)}
		h.cases(t, func(t *testing.T, f netip.Addr, proto string) {
			to := netip.AddrPortFrom(h.c2.addr(f), 80)
			for range 5 {
				flowtest.Reaches(t, h.c1.Space, proto, to, "c2")
			}
		})
		for _, o := range watched {
			flowtest.Via(h.host, netip.AddrPortFrom(h.c1.ip4, 80)).Settle(t)
			flowtest.Via(h.host, netip.AddrPortFrom(h.c2.ip4, 80)).Settle(t)
			if f := o.Saw(redirect); f != nil {
				t.Errorf("%s is redirected: % x", o.Space.Name, f)
			}
		}
	})
}

// redirect matches ICMP redirects of both families.
func redirect(f []byte) bool {
	const icmpRedirect = 5
	if len(f) < 14+40+1 {
		return false
	}
	switch p := f[14:]; typeOfFrame(f) {
	case typeIPv4:
		return p[9] == protoICMP && p[int(p[0]&0xf)*4] == icmpRedirect
	case typeIPv6:
		return p[6] == protoICMPv6 && p[40] == redirect6
	}
	return false
}

func typeOfFrame(f []byte) uint16 { return uint16(f[12])<<8 | uint16(f[13]) }

// The network's ICC is switched by a restart: a link opens what that closes, and leaves nothing where it is not needed.
func TestLinkAndICC(t *testing.T) {
	h := newChain(t, true)
	h.daemon.Stop()
	d := h.world.daemon("--ipv6")
	h.noRoutes(t, h.c1, h.c2)
	for _, f := range families {
		flowtest.Reaches(t, h.c1.Space, "tcp", netip.AddrPortFrom(h.c2.addr(f), 80), "c2")
		flowtest.Reaches(t, h.c2.Space, "tcp", netip.AddrPortFrom(h.c1.addr(f), 81), "c1")
	}
	h.settled()
	d.Stop()
	h.world.daemon("--ipv6", "--icc=false")
	for _, f := range families {
		flowtest.Reaches(t, h.c1.Space, "tcp", netip.AddrPortFrom(h.c2.addr(f), 80), "c2")
		to := netip.AddrPortFrom(h.c1.addr(f), 81)
		flowtest.Lost(t, h.c2.Space, "tcp", to, h.c1.Space, 81, flowtest.Via(h.host, to))
	}
	h.settled()
}

// A link goes with its sandboxes; the next one with the address is not linked.
func TestLinkGoesWithItsSandbox(t *testing.T) {
	h := newChain(t, true)
	ip4, ip6 := h.c2.ip4, h.c2.ip6
	h.bridged("sandbox", "rm", "c2")
	h.noRoutes(t, h.c1)
	if got := h.bridged("link", "ls", "--json"); got != "[]" {
		t.Errorf("links are left: %s", got)
	}
	delete(h.sandboxes, "c2")
	next := h.member("c2", "bridge", "--ip", ip4.String(), "--ip6", ip6.String())
	flowtest.Serve(t, next.Space, 80)
	h.cases(t, func(t *testing.T, f netip.Addr, proto string) {
		to := netip.AddrPortFrom(next.addr(f), 80)
		defer through(t, h.c1, to.Addr())()
		flowtest.Lost(t, h.c1.Space, proto, to, next.Space, 80, flowtest.Via(h.host, to))
	})
	h.settled()
}

// What a container does to its own interface is its business: links of it can be made and removed, and the daemon starts.
func TestLinkOfAContainerThatMeddles(t *testing.T) {
	h := newChain(t, false)
	for _, damage := range []string{
		"route flush dev eth0", "-6 route flush dev eth0", "link set eth0 down", "addr flush dev eth0", "link set eth0 name mine",
	} {
		h.c2.Space.Output(t, "ip", strings.Fields(damage)...)
		h.bridged("link", "rm", "c1", "c2")
		h.bridged("link", "add", "c1", "c2")
		h.bridged("link", "add", "c2", "c3")
		h.daemon.Kill()
		h.daemon = h.world.daemon("--ipv6", "--icc=false")
		h.settled()
		h.bridged("link", "rm", "c2", "c3")
	}
	h.bridged("link", "add", "--port", "80", "c3", "c4")
	flowtest.Reaches(t, h.c3.Space, "tcp", netip.AddrPortFrom(h.c4.ip4, 80), "c4")
	h.bridged("sandbox", "rm", "c2")
	h.noRoutes(t, h.c1)
	h.settled()
}

// A link on an internal network, and on a bridge that was given: through the gateway, and nothing but the link.
func TestLinkOnOtherNetworks(t *testing.T) {
	check := func(t *testing.T, w *world, network string, dual bool) {
		t.Helper()
		a, b := w.member("a", network), w.member("b", network)
		flowtest.Serve(t, a.Space, 80)
		flowtest.Serve(t, b.Space, 80, 81)
		w.bridged("link", "add", "--port", "80/tcp", "--port", "80/udp", "a", "b")
		for _, f := range families {
			if f.Is6() && !dual {
				continue
			}
			for _, proto := range []string{"tcp", "udp"} {
				at := func(m member, port uint16) netip.AddrPort { return netip.AddrPortFrom(m.addr(f), port) }
				if s := flowtest.Reaches(t, a.Space, proto, at(b, 80), "b").Source.Addr(); s != a.addr(f) {
					t.Errorf("b saw the source %s, not %s", s, a.addr(f))
				}
				flowtest.Lost(t, a.Space, proto, at(b, 81), b.Space, 81, flowtest.Via(w.host, at(b, 80)))
				flowtest.Lost(t, b.Space, proto, at(a, 80), a.Space, 80, flowtest.Via(w.host, at(a, 80)))
			}
		}
		w.bridged("link", "rm", "a", "b")
		flowtest.Lost(t, a.Space, "tcp", netip.AddrPortFrom(b.ip4, 80), b.Space, 80, flowtest.Via(w.host, netip.AddrPortFrom(b.ip4, 80)))
		w.settled()
	}
	t.Run("internal", func(t *testing.T) {
		w := newWorld(t)
		w.daemon("--ipv6")
		w.bridged("network", "create", "--internal", "--ipv6", "-o", "com.docker.network.bridge.enable_icc=false", "inside")
		check(t, w, "inside", true)
	})
	t.Run("unguarded", func(t *testing.T) {
		w := newWorld(t)
		w.daemon("--ipv6")
		w.bridged("network", "create", "--ipv6", "-o", "com.docker.network.bridge.enable_icc=false", "-o", "bridged.source-guard=false", "open")
		check(t, w, "open", true)
	})
	t.Run("given", func(t *testing.T) {
		w := newWorld(t, "link add br0 type bridge", "addr add 10.9.0.1/24 dev br0", "link set br0 up")
		w.host.Sysctl(t, "net/ipv4/conf/all/send_redirects", "1")
		w.daemon("-b", "br0", "--icc=false")
		check(t, w, "bridge", false)
	})
}
