package forwarding_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// world is a host H between two neighbours, with sandboxes behind it. It routes and bridges packets as Linux would, and asks the
// program at each hook:
//
//	R ── eth0 ─┐   ┌─ docker0 ── c1, c2
//	           H ──┼─ br2 ────── c3
//	X ── eth1 ─┘   └─ br4 ────── c4    (internal)
//
// 8080 is published to c1:80 on every address, and 127.0.0.2:8081 in IPv4. Port 8084 is published to c4:80.
type world struct {
	rules nft.Ruleset
	// brNetfilter: bridged packets go through the inet table, too.
	brNetfilter bool
	networks    []bridged.Network
	sandboxes   map[string]sandbox
}

// sandbox is one with its only endpoint.
type sandbox struct {
	network  bridged.Network
	endpoint bridged.Endpoint
}

// outer are the addresses that the host and its neighbours have, and the interface of the host that leads there.
var outer = []struct{ name, link, ipv4, ipv6 string }{
	{"H", "eth0", "192.0.2.1", "2001:db8::1"},
	{"R", "eth0", "192.0.2.9", "2001:db8::9"},
	{"X", "eth1", "198.51.100.9", "2001:db8:1::9"},
	{"lo", "lo", "127.0.0.1", "::1"},
	{"lo2", "lo", "127.0.0.2", "::1"},
}

// option changes how a world is made.
type option func(*world)

func iccOff(w *world) { w.networks[0].ICC = false }

// mode sets the gateway modes of the network of c1 and c2, or of c4.
func mode(network int, v4, v6 bridged.GatewayMode) option {
	return func(w *world) { w.networks[network].Gateway4, w.networks[network].Gateway6 = v4, v6 }
}

// trusted lets R's link address c1 and c2 directly.
func trusted(w *world) { w.networks[0].Trusted = []string{"eth0"} }

// fixed gives what leaves the network of c1 and c2 another source than masquerading would.
func fixed(w *world) {
	w.networks[0].Source4, w.networks[0].Source6 = netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77")
}

// link lets c1 talk to one port of c2.
func link(w *world) {
	c1, c2 := w.sandboxes["c1"], w.sandboxes["c2"]
	ports := []bridged.ProtoPort{{Proto: bridged.TCP, Port: 80}, {Proto: bridged.UDP, Port: 80}}
	w.add(forwarding.Link(w.networks[0], c1.endpoint, c2.endpoint, ports)...)
}

func newWorld(brNetfilter bool, options ...option) *world {
	w := &world{
		rules:       nft.Ruleset{Tables: program(), Elements: make(nft.Elements)},
		brNetfilter: brNetfilter,
		sandboxes:   make(map[string]sandbox),
	}
	for i, bridge := range []string{"docker0", "br2", "br4"} {
		net := byte(17 + i)
		w.networks = append(w.networks, changed(docker0(), func(n *bridged.Network) {
			n.Bridge, n.BridgeMAC, n.Internal = bridge, bridged.MAC{2, 0, 0, 0, net, 1}, bridge == "br4"
			n.IPv4 = bridged.Subnet{Prefix: netip.MustParsePrefix(fmt.Sprintf("172.%d.0.0/16", net))}
			n.IPv6 = bridged.Subnet{Prefix: netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", net))}
			n.IPv4.Gateway, n.IPv6.Gateway = n.IPv4.Prefix.Addr().Next(), n.IPv6.Prefix.Addr().Next()
		}))
	}
	for i, network := range []int{0, 0, 1, 2} {
		w.join(fmt.Sprintf("c%d", i+1), network, byte(i+2))
	}
	for _, o := range options {
		o(w)
	}
	w.compile()
	return w
}

func (w *world) join(name string, network int, last byte) {
	n := w.networks[network]
	a4, a6 := n.IPv4.Prefix.Addr().As4(), n.IPv6.Prefix.Addr().As16()
	a4[3], a6[15] = last, last
	w.sandboxes[name] = sandbox{n, bridged.Endpoint{
		HostInterface: fmt.Sprintf("bv%012x", last), MAC: bridged.MAC{2, 0x42, 0, 0, byte(network), last},
		IPv4: netip.PrefixFrom(netip.AddrFrom4(a4), 16), IPv6: netip.PrefixFrom(netip.AddrFrom16(a6), 64),
	}}
}

func (w *world) add(elements ...nft.Element) {
	for _, e := range elements {
		w.rules.Elements[e] = struct{}{}
	}
}

// compile adds the elements of all that is there, as package engine does.
func (w *world) compile() {
	w.add(forwarding.Base()...)
	w.add(forwarding.Host(bridged.Forwarding{IPv4: true, IPv6: true})...)
	for i, n := range w.networks {
		w.add(nat.Network(n)...)
		w.add(forwarding.Network(n)...)
		for name, s := range w.sandboxes {
			if s.network.Bridge == n.Bridge {
				s.network = w.networks[i]
				w.sandboxes[name] = s
				w.add(forwarding.Endpoint(n, s.endpoint, nil)...)
			}
		}
	}
	for _, proto := range []bridged.Proto{bridged.TCP, bridged.UDP} {
		for _, p := range []struct{ host, to string }{
			{"0.0.0.0:8080", "c1"}, {"[::]:8080", "c1"}, {"127.0.0.2:8081", "c1"}, {"0.0.0.0:8084", "c4"}, {"[::]:8084", "c4"},
		} {
			host := netip.MustParseAddrPort(p.host)
			port := bridged.Port{
				Binding:       bridged.Binding{HostIP: host.Addr(), Proto: proto, HostPort: host.Port()},
				ContainerPort: 80,
			}
			to := w.sandboxes[p.to]
			if to.network.Gateway(host.Addr().Is6()) != bridged.GatewayRouted {
				w.add(nat.Port(port, to.endpoint)...)
			}
			w.add(forwarding.Port(to.network, port, to.endpoint)...)
		}
	}
}

// addr is the address of a name: of those in outer, of a sandbox, or of the gateway of a sandbox, as in "c3's gateway".
func (w *world) addr(name string, ipv6 bool) netip.Addr {
	for _, o := range outer {
		if o.name == name && ipv6 {
			return netip.MustParseAddr(o.ipv6)
		}
		if o.name == name {
			return netip.MustParseAddr(o.ipv4)
		}
	}
	sandbox, _, gateway := strings.Cut(name, "'s ")
	s, ok := w.sandboxes[sandbox]
	switch {
	case !ok:
		panic("nobody is called " + name)
	case gateway && ipv6:
		return s.network.IPv6.Gateway
	case gateway:
		return s.network.IPv4.Gateway
	case ipv6:
		return s.endpoint.IPv6.Addr()
	}
	return s.endpoint.IPv4.Addr()
}

// name is whose address it is.
func (w *world) name(a netip.Addr) string {
	for _, o := range outer {
		if a.String() == o.ipv4 || a.String() == o.ipv6 {
			return o.name
		}
	}
	for name, s := range w.sandboxes {
		if slices.Contains(s.endpoint.Addrs(), a) {
			return name
		}
	}
	return a.String()
}

// link is the interface that has a, and whether it is the host's address; or else the one that leads there.
func (w *world) link(a netip.Addr) (name string, local bool) {
	if a.IsLoopback() {
		return "lo", true
	}
	for _, n := range w.networks {
		for _, s := range n.Subnets() {
			if s.Prefix.Contains(a) {
				return n.Bridge, a == s.Gateway
			}
		}
	}
	for _, o := range outer {
		if a.String() == o.ipv4 || a.String() == o.ipv6 {
			return o.link, o.name == "H"
		}
	}
	return "eth0", false
}

// AddrType implements nft.FIB.
func (w *world) AddrType(a netip.Addr, ifname string) uint32 {
	if link, local := w.link(a); local && (ifname == "" || ifname == link) {
		return unix.RTN_LOCAL
	}
	return unix.RTN_UNICAST
}

// Leads implements nft.FIB.
func (w *world) Leads(a netip.Addr, ifname string) bool {
	link, local := w.link(a)
	return !local && link == ifname
}

// send sends a packet and says where it ends: "c1:80", "H:8080", or "dropped: WHY". from is "H", R or X in outer, or a sandbox,
// which asks its gateway for what is not on its link.
func (w *world) send(t *testing.T, from string, p nft.Packet) string {
	t.Helper()
	p.FIB = w
	if s, ok := w.sandboxes[from]; ok {
		mac := s.network.BridgeMAC
		if to, ok := w.sandboxes[w.name(p.Dst)]; ok && to.network.Bridge == s.network.Bridge {
			mac = to.endpoint.MAC
		}
		return w.frame(from, p, mac)
	}
	if from == "H" {
		return w.output(p)
	}
	link, _ := w.link(w.addr(from, p.Src.Is6()))
	return w.arrive(p, link)
}

// frame is what a sandbox sends to a MAC: the gateway's or a sibling's.
func (w *world) frame(from string, p nft.Packet, to bridged.MAC) string {
	s := w.sandboxes[from]
	p.FIB, p.IIFName, p.EtherSrc, p.EtherDst = w, s.endpoint.HostInterface, s.endpoint.MAC, to
	if reason, ok := w.walk(nft.Bridge, nft.Prerouting, &p); !ok {
		return reason
	}
	if to == s.network.BridgeMAC {
		if reason, ok := w.walk(nft.Bridge, nft.Input, &p); !ok {
			return reason
		}
		return w.arrive(p, s.network.Bridge)
	}
	if w.brNetfilter {
		bridged := p
		bridged.IIFName, bridged.OIFName = s.network.Bridge, ""
		if reason, ok := w.walk(nft.Inet, nft.Prerouting, &bridged); !ok {
			return reason
		}
		bridged.OIFName = s.network.Bridge
		if reason, ok := w.walk(nft.Inet, nft.Forward, &bridged); !ok {
			return reason
		}
	}
	if reason, ok := w.walk(nft.Bridge, nft.Forward, &p); !ok {
		return reason
	}
	return fmt.Sprintf("%s:%d", w.name(p.Dst), p.DPort)
}

// arrive is what happens to a packet that comes in at IP level.
func (w *world) arrive(p nft.Packet, link string) string {
	p.IIFName = link
	if reason, ok := w.walk(nft.Inet, nft.Prerouting, &p); !ok {
		return reason
	}
	link, local := w.link(p.Dst)
	if local {
		if reason, ok := w.walk(nft.Inet, nft.Input, &p); !ok {
			return reason
		}
		return fmt.Sprintf("H:%d", p.DPort)
	}
	p.OIFName = link
	if reason, ok := w.walk(nft.Inet, nft.Forward, &p); !ok {
		return reason
	}
	return w.leave(p)
}

// output is what happens to a packet of the host.
func (w *world) output(p nft.Packet) string {
	p.OIFName, _ = w.link(p.Dst)
	if reason, ok := w.walk(nft.Inet, nft.Output, &p); !ok {
		return reason
	}
	link, local := w.link(p.Dst)
	if local {
		return fmt.Sprintf("H:%d", p.DPort)
	}
	p.OIFName = link
	return w.leave(p)
}

// leave is a packet's end, with "as H" when it has an address of the host as its source.
func (w *world) leave(p nft.Packet) string {
	trace := w.rules.Walk(nft.Inet, nft.Postrouting, p)
	end := fmt.Sprintf("%s:%d", w.name(p.Dst), p.DPort)
	if trace.Packet.Src != p.Src {
		return fmt.Sprintf("%s as %s", end, trace.Packet.Src)
	}
	if _, local := w.link(p.Src); trace.Masqueraded || local && !p.Src.IsLoopback() {
		return end + " as H"
	}
	return end
}

func (w *world) walk(f nft.Family, at nft.HookPoint, p *nft.Packet) (reason string, ok bool) {
	trace := w.rules.Walk(f, at, *p)
	*p = trace.Packet
	return "dropped: " + trace.Comment(), trace.Verdict == nft.VerdictAccept
}
