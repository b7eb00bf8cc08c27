package forwarding_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// flow is a new connection.
type flow struct {
	from, to string
	port     uint16
	want     string // see world.send
	only4    bool
	fixed    bool // want ends with the fixed source address of c1's network
}

// flows are the promises about who reaches whom.
var flows = []struct {
	name    string
	options []option
	flows   []flow
}{
	{"published", nil, []flow{
		{from: "R", to: "H", port: 8080, want: "c1:80"},
		{from: "H", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c1", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c2", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c3", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c3", to: "c3's gateway", port: 8080, want: "c1:80 as H"},
		{from: "H", to: "lo", port: 8080, want: "c1:80 as H", only4: true},
		{from: "H", to: "lo2", port: 8081, want: "c1:80 as H", only4: true},
		{from: "H", to: "c1", port: 80, want: "c1:80 as H"},
	}},
	{"outwards and inwards", nil, []flow{
		{from: "c1", to: "R", port: 80, want: "R:80 as H"},
		{from: "c1", to: "c2", port: 80, want: "c2:80"},
		{from: "c1", to: "c1's gateway", port: 22, want: "H:22"},
		{from: "c1", to: "H", port: 22, want: "H:22"},
		{from: "R", to: "H", port: 22, want: "H:22"},
	}},
	{"refused", nil, []flow{
		{from: "c3", to: "c1", port: 80, want: "dropped: other network"},
		{from: "R", to: "c1", port: 80, want: "dropped: direct access"},
		{from: "R", to: "c2", port: 80, want: "dropped: direct access"},
		{from: "R", to: "c1's gateway", port: 22, want: "dropped: direct access"},
		{from: "R", to: "c4's gateway", port: 22, want: "dropped: internal network, direct"},
		{from: "R", to: "X", port: 80, want: "dropped: not a router"},
		{from: "R", to: "lo2", port: 8081, want: "dropped: host loopback from elsewhere", only4: true},
		{from: "c1", to: "lo", port: 8080, want: "dropped: host loopback from elsewhere", only4: true},
	}},
	{"internal", nil, []flow{
		{from: "c4", to: "R", port: 80, want: "dropped: internal network, egress"},
		{from: "c4", to: "H", port: 8080, want: "dropped: internal, other host address"},
		{from: "c4", to: "c1", port: 80, want: "dropped: internal network, egress"},
		{from: "c4", to: "c4's gateway", port: 22, want: "H:22"},
		{from: "c1", to: "c4", port: 80, want: "dropped: internal network's gateway"},
		{from: "c1", to: "c4's gateway", port: 22, want: "dropped: internal network's gateway"},
		{from: "R", to: "c4", port: 80, want: "dropped: internal network, direct"},
		{from: "R", to: "H", port: 8084, want: "dropped: internal network, ingress"},
		{from: "H", to: "H", port: 8084, want: "c4:80 as H"},
		{from: "H", to: "c4", port: 80, want: "c4:80 as H"},
	}},
	{"ICC off", []option{iccOff}, []flow{
		{from: "c1", to: "c2", port: 80, want: "dropped: ICC off"},
		{from: "c2", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c1", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c1", to: "R", port: 80, want: "R:80 as H"},
		{from: "c1", to: "c1's gateway", port: 22, want: "H:22"},
	}},
	{"routed", []option{mode(0, bridged.GatewayRouted, bridged.GatewayRouted)}, []flow{
		{from: "R", to: "c1", port: 80, want: "c1:80"},
		{from: "R", to: "c1", port: 81, want: "dropped: unpublished port"},
		{from: "R", to: "c2", port: 80, want: "dropped: unpublished port"},
		{from: "R", to: "H", port: 8080, want: "H:8080"},
		{from: "c1", to: "R", port: 80, want: "R:80"},
		{from: "c3", to: "c1", port: 80, want: "c1:80 as H"},
		{from: "c3", to: "c2", port: 80, want: "dropped: unpublished port"},
		{from: "c1", to: "c3", port: 80, want: "dropped: other network"},
		{from: "c4", to: "c1", port: 80, want: "dropped: internal network, egress"},
		{from: "c1", to: "c2", port: 80, want: "c2:80"},
	}},
	{"nat-unprotected", []option{mode(0, bridged.GatewayUnprotected, bridged.GatewayUnprotected)}, []flow{
		{from: "R", to: "c1", port: 80, want: "c1:80"},
		{from: "R", to: "c2", port: 81, want: "c2:81"},
		{from: "R", to: "H", port: 8080, want: "c1:80"},
		{from: "c1", to: "R", port: 80, want: "R:80 as H"},
		{from: "c3", to: "c2", port: 81, want: "c2:81 as H"},
		{from: "c1", to: "c3", port: 80, want: "dropped: other network"},
		{from: "c4", to: "c1", port: 80, want: "dropped: internal network, egress"},
	}},
	{"trusted", []option{trusted}, []flow{
		{from: "R", to: "c1", port: 80, want: "c1:80"},
		{from: "R", to: "c2", port: 80, want: "dropped: unpublished port"},
		{from: "R", to: "c1's gateway", port: 22, want: "H:22"},
		{from: "R", to: "H", port: 8080, want: "c1:80"},
		{from: "X", to: "c1", port: 80, want: "dropped: direct access"},
		{from: "X", to: "c1's gateway", port: 22, want: "dropped: direct access"},
		{from: "c3", to: "c1", port: 80, want: "dropped: other network"},
	}},
	{"isolated", []option{mode(2, bridged.GatewayIsolated, bridged.GatewayIsolated)}, []flow{
		{from: "c4", to: "c4's gateway", port: 22, want: "dropped: isolated network, to host"},
		{from: "c4", to: "R", port: 80, want: "dropped: internal network, egress"},
		{from: "R", to: "c4", port: 80, want: "dropped: internal network, direct"},
		{from: "c1", to: "c4", port: 80, want: "dropped: internal network's gateway"},
	}},
	{"fixed source", []option{fixed}, []flow{
		{from: "c1", to: "R", port: 80, want: "R:80 as its source", fixed: true},
		{from: "c1", to: "X", port: 80, want: "X:80 as its source", fixed: true},
		{from: "c1", to: "c2", port: 80, want: "c2:80"},
		{from: "c1", to: "H", port: 8080, want: "c1:80 as H"},
		{from: "c3", to: "R", port: 80, want: "R:80 as H"},
	}},
}

// TestFlows holds the program against the promises, without a kernel: each flow in both families, TCP and UDP, with br_netfilter
// on and off.
func TestFlows(t *testing.T) {
	for _, group := range flows {
		for _, brNetfilter := range []bool{false, true} {
			w := newWorld(brNetfilter, group.options...)
			t.Run(fmt.Sprintf("%s/br_netfilter=%t", group.name, brNetfilter), func(t *testing.T) {
				for _, f := range group.flows {
					f.check(t, w)
				}
			})
		}
	}
}

func (f flow) check(t *testing.T, w *world) {
	t.Helper()
	for _, proto := range []bridged.Proto{bridged.TCP, bridged.UDP} {
		for _, ipv6 := range []bool{false, true} {
			if ipv6 && f.only4 {
				continue
			}
			p, want := w.packet(f.from, f.to, ipv6, proto, f.port), f.want
			if f.fixed {
				want = strings.Replace(want, "its source", w.networks[0].Source(ipv6).String(), 1)
			}
			if got := w.send(t, f.from, p); got != want {
				t.Errorf("%s -> %s:%d/%s (IPv6: %t): %s, want %s", f.from, f.to, f.port, proto, ipv6, got, want)
			}
		}
	}
}

// packet is the first packet of a connection. The host asks from the address of the interface by which it asks.
func (w *world) packet(from, to string, ipv6 bool, proto bridged.Proto, port uint16) nft.Packet {
	p := nft.Packet{
		Src: w.addr(from, ipv6), Dst: w.addr(to, ipv6), Protocol: uint8(proto), SPort: 40000, DPort: port,
	}
	if from != "H" {
		return p
	}
	link, local := w.link(p.Dst)
	if local {
		p.Src = p.Dst
	}
	for _, n := range w.networks {
		for _, s := range n.Subnets() {
			if n.Bridge == link && s.Gateway.Is6() == ipv6 {
				p.Src = s.Gateway
			}
		}
	}
	return p
}

// TestModesApart: one family routed, the other one not.
func TestModesApart(t *testing.T) {
	w := newWorld(false, mode(0, bridged.GatewayNAT, bridged.GatewayRouted))
	for _, f := range []struct {
		from, to string
		port     uint16
		ipv6     bool
		want     string
	}{
		{"R", "c1", 80, false, "dropped: direct access"},
		{"R", "c1", 80, true, "c1:80"},
		{"R", "H", 8080, false, "c1:80"},
		{"R", "H", 8080, true, "H:8080"},
		{"c1", "R", 80, false, "R:80 as H"},
		{"c1", "R", 80, true, "R:80"},
	} {
		if got := w.send(t, f.from, w.packet(f.from, f.to, f.ipv6, bridged.TCP, f.port)); got != f.want {
			t.Errorf("%s -> %s:%d (IPv6: %t): %s, want %s", f.from, f.to, f.port, f.ipv6, got, f.want)
		}
	}
}

// TestEchoRequests: a routed network answers to ping, whatever is published; others do only where everything is open.
func TestEchoRequests(t *testing.T) {
	for mode4, tests := range map[bridged.GatewayMode]struct{ r, c3 string }{
		bridged.GatewayNAT:         {"dropped: direct access", "dropped: other network"},
		bridged.GatewayUnprotected: {"c2:0", "c2:0 as H"},
		bridged.GatewayRouted:      {"c2:0", "c2:0 as H"},
	} {
		w := newWorld(false, mode(0, mode4, mode4))
		for from, want := range map[string]string{"R": tests.r, "c3": tests.c3} {
			for ipv6, echo := range map[bool]nft.Packet{
				false: {Protocol: unix.IPPROTO_ICMP, ICMPType: 8},
				true:  {Protocol: unix.IPPROTO_ICMPV6, ICMPType: 128},
			} {
				echo.Src, echo.Dst = w.addr(from, ipv6), w.addr("c2", ipv6)
				if got := w.send(t, from, echo); got != want {
					t.Errorf("%s, %s -> c2 (IPv6: %t): %s, want %s", mode4, from, ipv6, got, want)
				}
			}
		}
	}
}

// TestLoopback6: a connection to [::1] is left to the host, which refuses it at once.
func TestLoopback6(t *testing.T) {
	w := newWorld(false)
	p := w.packet("H", "lo", true, bridged.TCP, 8080)
	if got, want := w.send(t, "H", p), "H:8080"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestLink: with ICC off, a link is one way through the gateway, for one port.
func TestLink(t *testing.T) {
	gateway := func(w *world, from, to string, ipv6 bool, sport, dport uint16) string {
		p := w.packet(from, to, ipv6, bridged.TCP, dport)
		p.SPort = sport
		return w.frame(from, p, w.sandboxes[from].network.BridgeMAC)
	}
	for _, ipv6 := range []bool{false, true} {
		with, without := newWorld(true, iccOff, link), newWorld(true, iccOff)
		tests := []struct {
			name         string
			world        *world
			from, to     string
			sport, dport uint16
			want         string
		}{
			{"the link", with, "c1", "c2", 40000, 80, "c2:80"},
			{"another port", with, "c1", "c2", 40000, 81, "dropped: ICC off"},
			{"the other way", with, "c2", "c1", 40000, 80, "dropped: ICC off"},
			{"the other way, as if it were an answer", with, "c2", "c1", 80, 40000, "dropped: ICC off"},
			{"no link", without, "c1", "c2", 40000, 80, "dropped: ICC off"},
		}
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/IPv6=%t", tt.name, ipv6), func(t *testing.T) {
				if got := gateway(tt.world, tt.from, tt.to, ipv6, tt.sport, tt.dport); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			})
		}
	}
}

// TestEstablished: what is under way goes on, also where nothing new may begin.
func TestEstablished(t *testing.T) {
	for _, f := range []struct{ from, to, want string }{
		{"R", "c1", "c1:40000"},
		{"R", "X", "X:40000"},
	} {
		w := newWorld(false)
		p := w.packet(f.from, f.to, false, bridged.TCP, 40000)
		p.CTState = nft.StateEstablished
		if got := w.send(t, f.from, p); got != f.want {
			t.Errorf("%s -> %s: %s, want %s", f.from, f.to, got, f.want)
		}
	}
}

// TestSpoofing: what others claim to be, at IP level.
func TestSpoofing(t *testing.T) {
	w := newWorld(false)
	tests := []struct {
		name     string
		src      string
		to, link string
		want     string
	}{
		{"a sandbox's address from outside", "172.17.0.2", "H", "eth0", "dropped: container source from outside"},
		{"a sandbox's address from outside, IPv6", "fd00:17::2", "H", "eth0", "dropped: container source from outside"},
		{"the loopback's address", "127.0.0.1", "H", "eth0", "dropped: loopback source from elsewhere"},
		{"the loopback's address, from inside", "127.0.0.1", "c1's gateway", "docker0", "dropped: loopback source from elsewhere"},
		{"a neighbour's address, to the host", "2001:db8::9", "H", "docker0", "dropped: spoofed source"},
		{"a neighbour's address, outwards", "2001:db8::9", "R", "docker0", "dropped: spoofed source"},
		{"another network's", "172.18.0.2", "R", "docker0", "dropped: spoofed source"},
		{"a port that lost its bridge", "172.17.0.2", "H", "bv000000000002", "dropped: port without its bridge"},
		{"control", "172.17.0.2", "H", "docker0", "H:22"},
		{"control, IPv6", "fd00:17::2", "R", "docker0", "R:22 as H"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := netip.MustParseAddr(tt.src)
			p := nft.Packet{Src: src, Dst: w.addr(tt.to, src.Is6()), Protocol: unix.IPPROTO_TCP, SPort: 40000, DPort: 22, FIB: w}
			if got := w.arrive(p, tt.link); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// frames are what c1 may send, and what it may not: changes of an IPv4 packet to its gateway.
var frames = []struct {
	name  string
	frame func(w *world, p *nft.Packet)
	want  string // why it is dropped; "" when it passes
}{
	{"IPv4", func(w *world, p *nft.Packet) {}, ""},
	{"another's MAC", func(w *world, p *nft.Packet) { p.EtherSrc = w.sandboxes["c2"].endpoint.MAC }, "another's MAC"},
	{"another's IPv4 address", func(w *world, p *nft.Packet) { p.Src = w.addr("c2", false) }, "spoofed source"},
	{"the gateway's IPv4 address", func(w *world, p *nft.Packet) { p.Src = w.addr("c1's gateway", false) }, "spoofed source"},
	{"VLAN tag", func(w *world, p *nft.Packet) {
		*p = nft.Packet{IIFName: p.IIFName, EtherSrc: p.EtherSrc, EtherType: unix.ETH_P_8021Q}
	}, "neither IP nor ARP"},
	{"asks for a lease", func(w *world, p *nft.Packet) { dhcp(p, 68, 67) }, ""},
	{"gives leases", func(w *world, p *nft.Packet) { p.Protocol, p.SPort, p.DPort = unix.IPPROTO_UDP, 67, 68 }, "DHCP server"},
	{"ICMP redirect", func(w *world, p *nft.Packet) { p.Protocol, p.ICMPType = unix.IPPROTO_ICMP, 5 }, "router"},
	{"ICMP echo", func(w *world, p *nft.Packet) { p.Protocol, p.ICMPType = unix.IPPROTO_ICMP, 8 }, ""},
	{"IGMP query", func(w *world, p *nft.Packet) { p.Protocol, p.ICMPType = unix.IPPROTO_IGMP, 0x11 }, "multicast querier"},

	{"IPv6", func(w *world, p *nft.Packet) { p.Src, p.Dst = w.addr("c1", true), w.addr("R", true) }, ""},
	{"another's IPv6 address", func(w *world, p *nft.Packet) { p.Src, p.Dst = w.addr("c2", true), w.addr("R", true) }, "spoofed source"},
	{"its link-local address", func(w *world, p *nft.Packet) { linkLocal(p, "fe80::42:ff:fe00:2") }, ""},
	{"another's link-local address", func(w *world, p *nft.Packet) { linkLocal(p, "fe80::42:ff:fe00:3") }, "spoofed source"},

	{"ARP", func(w *world, p *nft.Packet) { arp(p, 1, p.EtherSrc, w.addr("c1", false)) }, ""},
	{"ARP probe", func(w *world, p *nft.Packet) { arp(p, 1, p.EtherSrc, netip.IPv4Unspecified()) }, ""},
	{"ARP for another's address", func(w *world, p *nft.Packet) { arp(p, 2, p.EtherSrc, w.addr("c2", false)) }, "another's ARP"},
	{"ARP with another's MAC", func(w *world, p *nft.Packet) {
		arp(p, 2, w.sandboxes["c2"].endpoint.MAC, w.addr("c1", false))
	}, "another's ARP"},

	{"neighbour advertisement", func(w *world, p *nft.Packet) { nd(w, p, 136, w.addr("c1", true)) }, ""},
	{"another's neighbour advertisement", func(w *world, p *nft.Packet) { nd(w, p, 136, w.addr("c2", true)) },
		"another's neighbour advertisement"},
	{"neighbour solicitation", func(w *world, p *nft.Packet) { nd(w, p, 135, w.addr("c2", true)) }, ""},
	{"duplicate address detection", func(w *world, p *nft.Packet) {
		nd(w, p, 135, w.addr("c1", true))
		p.Src = netip.IPv6Unspecified()
	}, ""},
	{"duplicate address detection for another's address", func(w *world, p *nft.Packet) {
		nd(w, p, 135, w.addr("c2", true))
		p.Src = netip.IPv6Unspecified()
	}, "spoofed source"},
	{"router advertisement", func(w *world, p *nft.Packet) { nd(w, p, 134, netip.Addr{}) }, "router"},
	{"router solicitation", func(w *world, p *nft.Packet) { nd(w, p, 133, netip.Addr{}) }, ""},
}

func dhcp(p *nft.Packet, sport, dport uint16) {
	p.Src, p.Dst = netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	p.EtherDst = bridged.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	p.Protocol, p.SPort, p.DPort = unix.IPPROTO_UDP, sport, dport
}

func linkLocal(p *nft.Packet, src string) {
	p.Src, p.Dst = netip.MustParseAddr(src), netip.MustParseAddr("ff02::1")
}

func arp(p *nft.Packet, operation uint16, mac [6]byte, src netip.Addr) {
	*p = nft.Packet{
		IIFName: p.IIFName, EtherSrc: p.EtherSrc, EtherDst: p.EtherDst, ARP: &nft.ARP{Operation: operation, SrcEther: mac, Src: src},
	}
}

func nd(w *world, p *nft.Packet, icmp uint8, target netip.Addr) {
	p.Src, p.Dst = w.addr("c1", true), w.addr("c1's gateway", true)
	p.Protocol, p.ICMPType, p.Target = unix.IPPROTO_ICMPV6, icmp, target
}

// TestSourceGuard: the same frames pass where the source guard is off.
func TestSourceGuard(t *testing.T) {
	guarded := newWorld(false)
	open := newWorld(false, func(w *world) { w.networks[0].SourceGuard = false })
	for _, f := range frames {
		t.Run(f.name, func(t *testing.T) {
			for _, w := range []*world{guarded, open} {
				c1 := w.sandboxes["c1"]
				p := w.packet("c1", "R", false, bridged.TCP, 80)
				p.IIFName, p.EtherSrc, p.EtherDst = c1.endpoint.HostInterface, c1.endpoint.MAC, c1.network.BridgeMAC
				f.frame(w, &p)
				trace := w.rules.Walk(nft.Bridge, nft.Prerouting, p)
				dropped := trace.Verdict == nft.VerdictDrop
				switch want := f.want != "" && w == guarded; {
				case dropped != want:
					t.Errorf("dropped: %t, want %t (source guard: %t):\n%s", dropped, want, w == guarded, trace.String())
				case want && trace.Comment() != f.want:
					t.Errorf("dropped as %q, want %q", trace.Comment(), f.want)
				}
			}
		})
	}
}

// TestPortWithoutElements: elements only permit.
func TestPortWithoutElements(t *testing.T) {
	for _, f := range frames {
		w := newWorld(false)
		p := w.packet("c1", "R", false, bridged.TCP, 80)
		p.EtherSrc = w.sandboxes["c1"].endpoint.MAC
		f.frame(w, &p)
		p.IIFName = "bvffffffffffff"
		if trace := w.rules.Walk(nft.Bridge, nft.Prerouting, p); trace.Verdict != nft.VerdictDrop {
			t.Errorf("%s passes:\n%s", f.name, trace.String())
		}
	}
}

// TestGroupFrames: with ICC off they reach the host, and no sibling.
func TestGroupFrames(t *testing.T) {
	for _, icc := range []bool{true, false} {
		w := newWorld(false, func(w *world) { w.networks[0].ICC = icc })
		p := w.packet("c1", "R", false, bridged.TCP, 80)
		p.IIFName, p.EtherSrc = w.sandboxes["c1"].endpoint.HostInterface, w.sandboxes["c1"].endpoint.MAC
		arp(&p, 1, p.EtherSrc, w.addr("c1", false))
		p.EtherDst = bridged.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		for at, want := range map[nft.HookPoint]bool{nft.Prerouting: true, nft.Input: true, nft.Forward: icc} {
			trace := w.rules.Walk(nft.Bridge, at, p)
			if got := trace.Verdict == nft.VerdictAccept; got != want {
				t.Errorf("ICC %t, %s: passes: %t, want %t\n%s", icc, at, got, want, trace.String())
			}
		}
	}
}
