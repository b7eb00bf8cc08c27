package test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// IPv6 extension headers, and further types of messages.
const (
	protoHopByHop    = 0
	protoRouting     = 43
	mldReport        = 143
	routerSolicit    = 133
	routerRenumber   = 138
	typeProviderVLAN = 0x88a8
	typePPPoE        = 0x8864
)

// den is an attacker on a network, and who is with it there.
type den struct {
	attacker, sibling, third member
	self                     *flowtest.Wire // the attacker's
	sees                     *flowtest.Wire // the sibling's
	gatewayLL                netip.Addr
}

func (w *world) den(t testing.TB, network string) *den {
	t.Helper()
	d := &den{attacker: w.member(network+"2", network), sibling: w.member(network+"1", network), third: w.member(network+"3", network)}
	d.self, d.sees = flowtest.Injector(t, d.attacker.Space, "eth0"), flowtest.Observe(t, d.sibling.Space)
	d.gatewayLL = linkLocalOf(t, w.host, w.masterOf(d.sibling.HostInterface))
	// The sibling believes what it hears: routers, and a neighbour that was heard just before.
	d.sibling.Space.Sysctl(t, "net/ipv6/conf/eth0/accept_ra", "2")
	d.sibling.Space.Sysctl(t, "net/ipv4/neigh/eth0/locktime", "0")
	return d
}

// forgery is frames that must not arrive where there is a source guard, and do where there is none.
type forgery struct {
	name   string
	frames func(mark string) [][]byte
}

// Whatever is forged and however it is hidden: the source guard drops it, and nothing else would.
func TestSourceGuard(t *testing.T) {
	need(t, "curl")
	w := newWorld(t)
	w.daemon("--ipv6")
	w.bridged("network", "create", "--ipv6", "-o", "bridged.source-guard=false", "open")
	w.bridged("network", "create", "--ipv6", "second")
	guarded, open, peer := w.den(t, "bridge"), w.den(t, "open"), w.member("peer", "second")
	lan := flowtest.Observe(t, w.lan)
	flowtest.Serve(t, w.lan, 80)
	for _, nf := range []bool{false, true} {
		w.bridgeNetfilter(nf)
		t.Run(fmt.Sprintf("nf=%t", nf), func(t *testing.T) {
			for _, d := range []*den{guarded, open} {
				d.meetGateway(t)
			}
			for _, k := range guarded.forgeries() {
				t.Run(k.name, func(t *testing.T) { guarded.drops(t, k, lan) })
			}
			guarded.overlap(t)
			guarded.believes(t, guarded.attacker.gatewayMAC, false)
			for _, k := range open.forgeries() {
				t.Run("without a guard/"+k.name, func(t *testing.T) {
					mark := flowtest.NewMark()
					open.self.Send(t, k.frames(mark)...)
					open.sees.Until(t, k.name, flowtest.Marked(mark))
				})
			}
			open.believes(t, open.attacker.mac, true)
			for _, f := range families {
				t.Run("behind a router/"+familyName(f), func(t *testing.T) {
					guarded.nested(t, f, lan, false)
					open.nested(t, f, lan, true)
				})
			}
			guarded.works(t, w, peer)
		})
	}
	w.settled()
}

// meetGateway makes the sibling know its gateway's MAC, as after any packet that it sent there.
func (d *den) meetGateway(t *testing.T) {
	t.Helper()
	for _, gateway := range []netip.Addr{d.sibling.gw4, d.sibling.gw6, d.gatewayLL} {
		d.sibling.Space.IP(t, fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud stale", gateway, d.sibling.gatewayMAC))
	}
}

// drops sends a forgery, and after it a frame that is none. Only that may arrive.
func (d *den) drops(t *testing.T, k forgery, lan *flowtest.Wire) {
	mark, harmless := flowtest.NewMark(), flowtest.NewMark()
	d.self.Send(t, k.frames(mark)...)
	d.self.Send(t, d.honest(harmless)...)
	d.sees.Until(t, "the control", flowtest.Marked(harmless))
	for _, o := range []*flowtest.Wire{d.sees, lan} {
		if f := o.Saw(flowtest.Marked(mark)); f != nil {
			t.Errorf("it arrives in %s: % x", o.Space.Name, f)
		}
	}
}

// honest is a datagram to the sibling with everything as it should be.
func (d *den) honest(mark string) [][]byte {
	return [][]byte{datagram(d.attacker.mac, d.sibling.mac, d.attacker.ip4, d.sibling.ip4, 9, mark)}
}

// believes checks where the sibling's own kernel believes its gateway, and whether it has found another router.
func (d *den) believes(t *testing.T, gatewayMAC mac, router bool) {
	t.Helper()
	known := (&world{t: t, host: d.sibling.Space}).neighbours(t)
	for _, a := range []netip.Addr{d.sibling.gw4, d.sibling.gw6, d.gatewayLL} {
		if known[a.String()] != gatewayMAC.String() {
			t.Errorf("%s believes that %s is at %s, not %s", d.sibling.Name, a, known[a.String()], gatewayMAC)
		}
	}
	routes := d.sibling.Space.Output(t, "ip", "-6", "route", "show", "default")
	if has := strings.Contains(routes, linkLocal(d.attacker.mac).String()); has != router {
		t.Errorf("the attacker is a router of %s: %t, want %t:\n%s", d.sibling.Name, has, router, routes)
	}
}

// nested sends from an address behind the attacker, as a router does, to the LAN; and from its own one afterwards.
func (d *den) nested(t *testing.T, f netip.Addr, lan *flowtest.Wire, passes bool) {
	t.Helper()
	send := func(src netip.Addr) string {
		mark := flowtest.NewMark()
		d.self.Send(t, datagram(d.attacker.mac, d.attacker.gatewayMAC, src, pick(f, lan4, lan6), 9, mark))
		return mark
	}
	behind := send(pick(f, netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("fd99::1")))
	lan.Until(t, "the control", flowtest.Marked(send(d.attacker.addr(f))))
	if arrives := lan.Saw(flowtest.Marked(behind)) != nil; arrives != passes {
		t.Errorf("what is behind %s reaches the LAN: %t, want %t", d.attacker.Name, arrives, passes)
	}
}

// overlap sends fragments of which one covers what another said. The guard looks at first fragments, so these pass it; no
// receiver puts them together (RFC 5722).
func (d *den) overlap(t *testing.T) {
	t.Helper()
	src := linkLocal(d.attacker.mac)
	for i, k := range d.messages6() {
		options := extension(protoICMPv6, "")
		echo := append(append([]byte{}, options...), icmp6(src, allNodes, 128, 0, make([]byte, 60))...)
		id := uint32(1000 + i)
		first := fragment(protoDestOpts, id, 0, true, echo)
		second := fragment(protoDestOpts, id, len(options), false, k.payload(flowtest.NewMark()))
		for _, order := range [][][]byte{{first, second}, {second, first}} {
			for _, f := range order {
				d.self.Send(t, d.frame(allNodes, typeIPv6, packet(src, allNodes, protoFragment, f)))
			}
		}
	}
	mark := flowtest.NewMark()
	d.self.Send(t, d.honest(mark)...)
	d.sees.Until(t, "the control", flowtest.Marked(mark))
}

// frame is the attacker's, to the sibling or a group.
func (d *den) frame(dst netip.Addr, kind uint16, payload []byte) []byte {
	to := d.sibling.mac
	switch {
	case dst.Is6() && dst.IsMulticast():
		to = group(dst)
	case dst.IsMulticast():
		to = mustMAC("01:00:5e:00:00:01")
	}
	return ethernet(d.attacker.mac, to, kind, payload)
}

// message is what an IP packet from the attacker may not carry.
type message struct {
	name     string
	src, dst netip.Addr
	proto    byte
	payload  func(mark string) []byte
}

// messages6 are forged ones of IPv6, with true source addresses.
func (d *den) messages6() []message {
	src := linkLocal(d.attacker.mac)
	icmp := func(name string, dst netip.Addr, kind byte, body func(mark string) []byte) message {
		return message{name, src, dst, protoICMPv6, func(mark string) []byte { return icmp6(src, dst, kind, 0, body(mark)) }}
	}
	advert := func(flags byte, target netip.Addr) func(string) []byte {
		return func(mark string) []byte { return neighbour(flags, target, 2, d.attacker.mac, mark) }
	}
	with := func(body []byte) func(string) []byte {
		return func(mark string) []byte { return append(slices.Clone(body), markOption(mark)...) }
	}
	const routerFlag, solicited, override = 0x80, 0x40, 0x20
	redirect := append(make([]byte, 4), append(d.sibling.gw6.AsSlice(), lan6.AsSlice()...)...)
	own, sib := d.attacker.ip6, d.sibling.ip6
	return []message{
		icmp("NA of the gateway", allNodes, neighbourNA, advert(override, d.sibling.gw6)),
		icmp("NA of the gateway, as an answer", sib, neighbourNA, advert(routerFlag|solicited|override, d.sibling.gw6)),
		icmp("NA of the gateway, without override", sib, neighbourNA, advert(solicited, d.sibling.gw6)),
		icmp("NA of the gateway's link-local address", allNodes, neighbourNA, advert(routerFlag|override, d.gatewayLL)),
		icmp("NA of a sibling", allNodes, neighbourNA, advert(override, d.third.ip6)),
		icmp("NA of a free address", allNodes, neighbourNA, advert(override, netip.MustParseAddr("fd00::1234"))),
		icmp("RA", allNodes, routerAd, with([]byte{64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0})),
		icmp("redirect", sib, redirect6, with(redirect)),
		icmp("MLD query", allNodes, mldQuery, with(make([]byte, 24))),
		icmp("router renumbering", allNodes, routerRenumber, with(make([]byte, 12))),
		{"DHCPv6 answer", own, sib, protoUDP, func(mark string) []byte {
			return udp(netip.AddrPortFrom(own, 547), netip.AddrPortFrom(sib, 546), mark)
		}},
	}
}

// part is the payload of one packet.
type part struct {
	proto   byte
	payload []byte
}

// wrapping hides what an IPv6 packet carries.
type wrapping struct {
	name string
	wrap func(proto byte, payload []byte, mark string) []part
}

// wrappings are all ways to hide a payload, none among them. Where only the first of two fragments need be dropped, only that has
// the mark in it.
func wrappings() []wrapping {
	single := func(name string, outer byte, wrap func(next byte, payload []byte) []byte) wrapping {
		return wrapping{name: name, wrap: func(proto byte, payload []byte, _ string) []part {
			return []part{{outer, wrap(proto, payload)}}
		}}
	}
	options := func(next byte, payload []byte) []byte { return append(extension(next, ""), payload...) }
	routing := func(next byte, payload []byte) []byte { return append([]byte{next, 0, 253, 0, 0, 0, 0, 0}, payload...) }
	atomic := func(next byte, payload []byte) []byte { return fragment(next, 70, 0, false, payload) }
	const unit = 8 // of fragments
	split := func(next byte, payload []byte, headers []byte, outer byte) []part {
		for len(payload)%unit != 0 {
			payload = append(payload, 0)
		}
		whole := append(slices.Clone(headers), payload...)
		id := binary.BigEndian.Uint32(payload[len(payload)-24:]) // of the mark
		return []part{
			{protoFragment, fragment(outer, id, 0, true, whole)},
			{protoFragment, fragment(outer, id, len(whole), false, make([]byte, unit))},
		}
	}
	hidden := func(headers func(proto byte, mark string) (first byte, b []byte)) func(byte, []byte, string) []part {
		return func(proto byte, payload []byte, mark string) []part {
			next, b := headers(proto, mark)
			id := binary.BigEndian.Uint32([]byte(mark)[8:])
			rest := slices.Clone(payload)
			for i := range rest { // the mark in it would be seen: this one may pass, alone it is worth nothing
				if i >= 8 && strings.HasPrefix(string(rest[i:]), "mark") {
					clear(rest[i : i+4])
				}
			}
			return []part{{protoFragment, fragment(next, id, 0, true, b)}, {protoFragment, fragment(next, id, len(b), false, rest)}}
		}
	}
	return []wrapping{
		{name: "plain", wrap: func(proto byte, payload []byte, _ string) []part { return []part{{proto, payload}} }},
		single("hop-by-hop options", protoHopByHop, options),
		single("destination options", protoDestOpts, options),
		single("a routing header", protoRouting, routing),
		single("several headers", protoHopByHop, func(next byte, payload []byte) []byte {
			return options(protoDestOpts, options(protoRouting, routing(protoDestOpts, options(next, payload))))
		}),
		single("an atomic fragment", protoFragment, atomic),
		single("options in an atomic fragment", protoHopByHop, func(next byte, payload []byte) []byte {
			return options(protoFragment, atomic(protoDestOpts, options(next, payload)))
		}),
		{name: "two fragments", wrap: func(proto byte, payload []byte, _ string) []part {
			return split(proto, payload, nil, proto)
		}},
		{name: "options in two fragments", wrap: func(proto byte, payload []byte, _ string) []part {
			return split(proto, payload, extension(proto, ""), protoDestOpts)
		}},
		{name: "a second fragment", wrap: hidden(func(proto byte, mark string) (byte, []byte) {
			return protoDestOpts, extension(proto, mark)
		})},
		{name: "a second fragment, behind several headers", wrap: hidden(func(proto byte, mark string) (byte, []byte) {
			return protoRouting, routing(protoDestOpts, extension(proto, mark))
		})},
	}
}

// forgeries are all that the source guard knows of.
func (d *den) forgeries() []forgery {
	var all []forgery
	for _, m := range d.messages6() {
		for _, h := range wrappings() {
			all = append(all, forgery{"IPv6/" + m.name + "/" + h.name, func(mark string) [][]byte {
				var frames [][]byte
				for _, p := range h.wrap(m.proto, m.payload(mark), mark) {
					frames = append(frames, d.frame(m.dst, typeIPv6, packet(m.src, m.dst, p.proto, p.payload)))
				}
				return frames
			}})
		}
	}
	all = append(all, d.forgeries4()...)
	all = append(all, d.forgedSources()...)
	all = append(all, d.forgedARP()...)
	all = append(all, d.otherFrames()...)
	return all
}

// forgeries4 are messages of IPv4 that only routers and servers send: plain, behind IP options, in fragments.
func (d *den) forgeries4() []forgery {
	own, sib, all := d.attacker.ip4, d.sibling.ip4, netip.MustParseAddr("224.0.0.1")
	gateway := d.sibling.gw4.AsSlice()
	messages := []message{
		{"DHCP answer", own, sib, protoUDP, func(mark string) []byte {
			return udp(netip.AddrPortFrom(own, 67), netip.AddrPortFrom(sib, 68), mark)
		}},
		{"redirect", own, sib, protoICMP, func(mark string) []byte { return icmp4(5, 1, append(slices.Clone(gateway), mark...)) }},
		{"RA", own, all, protoICMP, func(mark string) []byte { return icmp4(9, 0, append(slices.Clone(gateway), mark...)) }},
		{"IGMP query", own, all, protoIGMP, func(mark string) []byte { return icmp4(0x11, 100, append(make([]byte, 4), mark...)) }},
	}
	var forged []forgery
	for _, m := range messages {
		send := func(name string, wrap func(whole []byte) [][]byte) {
			forged = append(forged, forgery{"IPv4/" + m.name + "/" + name, func(mark string) [][]byte {
				var frames [][]byte
				for _, p := range wrap(packet(m.src, m.dst, m.proto, m.payload(mark))) {
					frames = append(frames, d.frame(m.dst, typeIPv4, p))
				}
				return frames
			}})
		}
		send("plain", func(p []byte) [][]byte { return [][]byte{p} })
		send("IP options", func(p []byte) [][]byte { return [][]byte{withOptions(p)} })
		send("fragments", fragments4)
		send("fragments with IP options", func(p []byte) [][]byte { return fragments4(withOptions(p)) })
	}
	return forged
}

// withOptions is an IPv4 packet with eight bytes of options that mean nothing.
func withOptions(p []byte) []byte {
	p = slices.Insert(slices.Clone(p), 20, 1, 1, 1, 1, 1, 1, 1, 0)
	p[0] = 0x47
	return header4(p, 0)
}

// fragments4 are the two fragments of an IPv4 packet; the second has nothing in it that matters.
func fragments4(p []byte) [][]byte {
	size := int(p[0]&0xf) * 4
	first := slices.Clone(p)
	for (len(first)-size)%8 != 0 {
		first = append(first, 0)
	}
	copy(first[4:6], first[len(first)-12:]) // the id: bytes of the mark
	second := append(slices.Clone(first[:size]), make([]byte, 8)...)
	return [][]byte{header4(first, 0x2000), header4(second, uint16(len(first)-size)/8)}
}

// header4 sets the header's length, fragment offset and checksum.
func header4(p []byte, offset uint16) []byte {
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[6:], offset)
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], checksum(p[:int(p[0]&0xf)*4]))
	return p
}

// forgedSources are datagrams from addresses that the attacker does not have.
func (d *den) forgedSources() []forgery {
	var forged []forgery
	for _, f := range families {
		sources := map[string]netip.Addr{"a sibling": d.third.addr(f), "the gateway": d.sibling.gateway(f), "the receiver": d.sibling.addr(f),
			"a LAN host": pick(f, lan4, lan6), "nobody": pick(f, netip.MustParseAddr("172.17.77.77"), netip.MustParseAddr("fd00::77"))}
		if f.Is6() {
			sources["a sibling's link-local address"], sources["the gateway's link-local address"] = linkLocal(d.third.mac), d.gatewayLL
		}
		for name, src := range sources {
			forged = append(forged, forgery{"source/" + familyName(f) + " of " + name, func(mark string) [][]byte {
				return [][]byte{datagram(d.attacker.mac, d.sibling.mac, src, d.sibling.addr(f), 9, mark)}
			}})
			if f.Is4() {
				continue
			}
			for _, h := range wrappings()[1:] {
				forged = append(forged, forgery{"source/IPv6 of " + name + "/" + h.name, func(mark string) [][]byte {
					var frames [][]byte
					payload := udp(netip.AddrPortFrom(src, 9), netip.AddrPortFrom(d.sibling.ip6, 9), mark)
					for _, p := range h.wrap(protoUDP, payload, mark) {
						frames = append(frames, d.frame(d.sibling.ip6, typeIPv6, packet(src, d.sibling.ip6, p.proto, p.payload)))
					}
					return frames
				}})
			}
		}
		// Not the receiver's own MAC, nor the gateway's: where nobody guards, the bridge would lead answers astray from then on.
		for name, m := range map[string]mac{"a sibling": d.third.mac, "nobody": mustMAC("02:42:de:ad:be:ef")} {
			forged = append(forged, forgery{"source/MAC of " + name + ", " + familyName(f), func(mark string) [][]byte {
				return [][]byte{datagram(m, d.sibling.mac, d.attacker.addr(f), d.sibling.addr(f), 9, mark)}
			}})
		}
	}
	return forged
}

// forgedARP are claims of another's neighbour entry in IPv4.
func (d *den) forgedARP() []forgery {
	me, gw := d.attacker.mac, d.sibling.gw4
	send := func(name string, to mac, op uint16, sender mac, addr netip.Addr, target mac, asked netip.Addr) forgery {
		return forgery{"ARP/" + name, func(mark string) [][]byte {
			return [][]byte{ethernet(me, to, typeARP, arp(op, sender, addr, target, asked, mark))}
		}}
	}
	return []forgery{
		send("answer", d.sibling.mac, 2, me, gw, d.sibling.mac, d.sibling.ip4),
		send("announcement", broadcast, 1, me, gw, mac{}, gw),
		send("announcement as an answer", broadcast, 2, me, gw, broadcast, gw),
		send("question", broadcast, 1, me, gw, mac{}, d.sibling.ip4),
		send("question, unicast", d.sibling.mac, 1, me, gw, mac{}, d.sibling.ip4),
		send("a sibling's", broadcast, 1, me, d.third.ip4, mac{}, d.sibling.ip4),
		send("own address, another's MAC", broadcast, 1, d.third.mac, d.attacker.ip4, mac{}, d.sibling.ip4),
		send("probe with another's MAC", broadcast, 1, d.third.mac, netip.IPv4Unspecified(), mac{}, gw),
		send("reverse", broadcast, 3, me, gw, mac{}, gw),
		{"ARP/true, from another's MAC", func(mark string) [][]byte {
			return [][]byte{ethernet(d.third.mac, broadcast, typeARP, arp(1, me, d.attacker.ip4, mac{}, d.sibling.ip4, mark))}
		}},
	}
}

// otherFrames carry what would pass or not in frames that the source guard does not look into.
func (d *den) otherFrames() []forgery {
	src := linkLocal(d.attacker.mac)
	inner := []struct {
		name string
		kind uint16
		body func(mark string) []byte
	}{
		{"IPv4", typeIPv4, func(mark string) []byte {
			return packet(d.attacker.ip4, d.sibling.ip4, protoUDP, udp(netip.AddrPortFrom(d.attacker.ip4, 9), netip.AddrPortFrom(d.sibling.ip4, 9), mark))
		}},
		{"ARP", typeARP, func(mark string) []byte {
			return arp(2, d.attacker.mac, d.sibling.gw4, d.sibling.mac, d.sibling.ip4, mark)
		}},
		{"RA", typeIPv6, func(mark string) []byte {
			body := append([]byte{64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}, markOption(mark)...)
			return packet(src, allNodes, protoICMPv6, icmp6(src, allNodes, routerAd, 0, body))
		}},
	}
	tag := func(id uint16) func(uint16, []byte) []byte {
		return func(kind uint16, b []byte) []byte { return vlan(id, kind, b) }
	}
	type carrier struct {
		name string
		kind uint16 // 0: the length of what it carries
		wrap func(kind uint16, b []byte) []byte
	}
	carriers := []carrier{
		{"802.1Q", typeVLAN, tag(1)},
		{"802.1Q, another VLAN", typeVLAN, tag(7)},
		{"a priority tag", typeVLAN, tag(0)},
		{"802.1ad", typeProviderVLAN, tag(1)},
		{"QinQ", typeProviderVLAN, func(kind uint16, b []byte) []byte { return vlan(1, typeVLAN, vlan(1, kind, b)) }},
		{"two 802.1Q tags", typeVLAN, func(kind uint16, b []byte) []byte { return vlan(0, typeVLAN, vlan(0, kind, b)) }},
		{"LLC and SNAP", 0, func(kind uint16, b []byte) []byte {
			return append(binary.BigEndian.AppendUint16([]byte{0xaa, 0xaa, 3, 0, 0, 0}, kind), b...)
		}},
		{"LLC", 0, func(_ uint16, b []byte) []byte { return append([]byte{0x06, 0x06, 3}, b...) }},
		{"PPPoE", typePPPoE, func(_ uint16, b []byte) []byte {
			return append([]byte{0x11, 0, 0, 1, 0, byte(len(b) + 2), 0, 0x21}, b...)
		}},
	}
	var forged []forgery
	for _, c := range carriers {
		for _, i := range inner {
			forged = append(forged, forgery{"frame/" + i.name + " in " + c.name, func(mark string) [][]byte {
				b := c.wrap(i.kind, i.body(mark))
				kind := c.kind
				if kind == 0 {
					kind = uint16(len(b))
				}
				return [][]byte{ethernet(d.attacker.mac, d.sibling.mac, kind, b)}
			}})
		}
	}
	return forged
}

// works checks what must go on working behind the source guard.
func (d *den) works(t *testing.T, w *world, peer member) {
	for _, k := range d.honestFrames() {
		t.Run("works/"+k.name, func(t *testing.T) {
			mark := flowtest.NewMark()
			d.self.Send(t, k.frames(mark)...)
			d.sees.Until(t, k.name, flowtest.Marked(mark))
		})
	}
	t.Run("works/multicast", d.multicast)
	t.Run("works/duplicate address detection", d.detection)
	t.Run("two networks", func(t *testing.T) { d.secondAddress(t, w, peer) })
}

// honestFrames are what the guard must know to be harmless.
func (d *den) honestFrames() []forgery {
	me, own, ll := d.attacker.mac, d.attacker.ip6, linkLocal(d.attacker.mac)
	none4, none6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	frame := func(name string, build func(mark string) []byte) forgery {
		return forgery{name: name, frames: func(mark string) [][]byte { return [][]byte{build(mark)} }}
	}
	icmp := func(name string, src netip.Addr, kind byte, body func(mark string) []byte) forgery {
		return frame(name, func(mark string) []byte {
			return d.frame(allNodes, typeIPv6, packet(src, allNodes, protoICMPv6, icmp6(src, allNodes, kind, 0, body(mark))))
		})
	}
	sendARP := func(name string, op uint16, sender, target netip.Addr) forgery {
		return frame(name, func(mark string) []byte {
			return ethernet(me, broadcast, typeARP, arp(op, me, sender, mac{}, target, mark))
		})
	}
	client := func(name string, src, dst netip.Addr, to mac, from, port uint16) forgery {
		return frame(name, func(mark string) []byte {
			return ethernet(me, to, typeOf(src), packet(src, dst, protoUDP, udp(netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, port), mark)))
		})
	}
	servers := netip.MustParseAddr("ff02::1:2")
	return []forgery{
		sendARP("ARP probe", 1, none4, d.attacker.ip4),
		sendARP("ARP announcement", 1, d.attacker.ip4, d.attacker.ip4),
		sendARP("ARP announcement as an answer", 2, d.attacker.ip4, d.attacker.ip4),
		sendARP("ARP question", 1, d.attacker.ip4, d.sibling.ip4),
		icmp("address detection", none6, neighbourNS, func(m string) []byte { return neighbour(0, own, 0, mac{}, m) }),
		icmp("address detection, link-local", none6, neighbourNS, func(m string) []byte { return neighbour(0, ll, 0, mac{}, m) }),
		icmp("NS", own, neighbourNS, func(m string) []byte { return neighbour(0, d.sibling.ip6, 1, me, m) }),
		icmp("NA, unsolicited", own, neighbourNA, func(m string) []byte { return neighbour(0x20, own, 2, me, m) }),
		icmp("NA, without override", ll, neighbourNA, func(m string) []byte { return neighbour(0, ll, 2, me, m) }),
		icmp("RS", ll, routerSolicit, func(m string) []byte { return append(make([]byte, 4), markOption(m)...) }),
		client("DHCP question", none4, netip.MustParseAddr("255.255.255.255"), broadcast, 68, 67),
		client("DHCPv6 question", ll, servers, group(servers), 546, 547),
	}
}

// multicast joins groups in the attacker, wants its reports to be seen, and datagrams to arrive as in mDNS: to the group, and back.
func (d *den) multicast(t *testing.T) {
	for _, address := range []string{"224.0.0.251:5353", "[ff02::fb]:5353", "239.1.2.3:5353", "[ff05::123]:5353"} {
		to := netip.MustParseAddrPort(address)
		sees := flowtest.Observe(t, d.sibling.Space)
		var listener, conn *net.UDPConn
		err := d.attacker.Space.Do(func() (err error) {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			listener, err = net.ListenMulticastUDP("udp", eth0, net.UDPAddrFromAddrPort(onLink(to, eth0.Index)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		sees.Until(t, "the report of the group "+to.Addr().String(), reports(to.Addr()))
		mark := flowtest.NewMark()
		err = d.sibling.Space.Do(func() (err error) {
			src := netip.AddrPortFrom(d.sibling.addr(to.Addr()), 0)
			if conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(src)); err != nil {
				return err
			}
			index, err := flowtest.LinkIndex("eth0")
			if err != nil {
				return err
			}
			_, err = conn.WriteToUDPAddrPort([]byte(mark), onLink(to, index))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		buf := make([]byte, 256)
		listener.SetDeadline(flowtest.Deadline())
		conn.SetDeadline(flowtest.Deadline())
		n, from, err := listener.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != mark {
			t.Fatalf("%s: %q from %s, %v", to, buf[:n], from, err)
		}
		if _, err := listener.WriteToUDPAddrPort([]byte(mark), from); err != nil {
			t.Fatal(err)
		}
		if n, _, err := conn.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != mark {
			t.Errorf("%s: the answer is %q, %v", to, buf[:n], err)
		}
	}
}

// onLink is a group on an interface, by its number: names are looked up once for all namespaces (package net keeps them for a minute).
func onLink(group netip.AddrPort, index int) netip.AddrPort {
	if group.Addr().Is4() {
		return group
	}
	return netip.AddrPortFrom(group.Addr().WithZone(strconv.Itoa(index)), group.Port())
}

// reports matches frames that tell of a member of a group: IGMP, or MLD behind its router alert.
func reports(group netip.Addr) func([]byte) bool {
	return func(f []byte) bool {
		if len(f) < 14+24 || !strings.Contains(string(f[14+20:]), string(group.AsSlice())) {
			return false
		}
		if group.Is4() {
			return binary.BigEndian.Uint16(f[12:]) == typeIPv4 && f[14+9] == protoIGMP
		}
		return binary.BigEndian.Uint16(f[12:]) == typeIPv6 && len(f) > 14+48 && f[14+6] == protoHopByHop && f[14+48] == mldReport
	}
}

// detection lets the attacker's kernel detect duplicates of its own address; there are none.
func (d *den) detection(t *testing.T) {
	sees := flowtest.Observe(t, d.sibling.Space)
	s, address := d.attacker.Space, fmt.Sprintf("%s/%d", d.attacker.ip6, d.attacker.GlobalIPv6PrefixLen)
	for name, value := range map[string]string{"accept_dad": "1", "dad_transmits": "1", "router_solicitation_delay": "0"} {
		s.Sysctl(t, "net/ipv6/conf/eth0/"+name, value)
	}
	s.Sysctl(t, "net/ipv6/neigh/eth0/retrans_time_ms", "20")
	s.IP(t, "addr del "+address+" dev eth0", "addr add "+address+" dev eth0")
	for end := flowtest.Deadline(); ; {
		var here, tentative bool
		for _, a := range linksOf(t, s)["eth0"].AddrInfo {
			if a.Local == d.attacker.ip6.String() {
				here, tentative = true, a.Tentative
			}
		}
		if here && !tentative {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s is tentative for ever", address)
		}
	}
	s.IP(t, "route replace default via "+d.attacker.gw6.String()+" dev eth0")
	target := d.attacker.ip6.AsSlice()
	if sees.Saw(func(f []byte) bool {
		return len(f) >= 78 && binary.BigEndian.Uint16(f[12:]) == typeIPv6 && f[54] == neighbourNS && string(f[62:78]) == string(target) &&
			netip.AddrFrom16([16]byte(f[22:38])).IsUnspecified()
	}) == nil {
		t.Errorf("%s has not seen that %s asked for duplicates", d.sibling.Name, d.attacker.Name)
	}
}

// secondAddress puts the attacker in a second network: it may use either of its addresses there and here, and nobody else's.
func (d *den) secondAddress(t *testing.T, w *world, peer member) {
	networkCall := func(verb string) {
		w.host.Output(t, "curl", "-sS", "--fail-with-body", "--unix-socket", "/run/bridged/bridged.sock", "-X", "POST",
			"-H", "Content-Type: application/json", "-d", fmt.Sprintf(`{"Container": %q}`, d.attacker.Name), "http://bridged/networks/second/"+verb)
	}
	networkCall("connect")
	defer networkCall("disconnect")
	e := w.endpoint(d.attacker.Name, "second")
	other := both{addrOrNone(e.IPAddress), addrOrNone(e.GlobalIPv6Address)}
	there := mustMAC(e.MacAddress)
	gatewayThere := mustMAC(linksOf(t, w.host)[w.masterOf(e.HostInterface)].Address)
	lan, second := flowtest.Observe(t, w.lan), flowtest.Injector(t, d.attacker.Space, "eth1")
	third := flowtest.Injector(t, d.third.Space, "eth0")
	for _, f := range families {
		to := pick(f, lan4, lan6)
		for name, k := range map[string]struct {
			by     *flowtest.Wire
			mac    mac
			bridge mac
			own    netip.Addr
			source netip.Addr
			passes bool
		}{
			"its other address, here":              {d.self, d.attacker.mac, d.attacker.gatewayMAC, d.attacker.addr(f), other.of(f), true},
			"its other address, there":             {second, there, gatewayThere, other.of(f), d.attacker.addr(f), true},
			"a sibling's of there, here":           {d.self, d.attacker.mac, d.attacker.gatewayMAC, d.attacker.addr(f), peer.addr(f), false},
			"a sibling's of here, there":           {second, there, gatewayThere, other.of(f), d.sibling.addr(f), false},
			"a sibling's, there":                   {second, there, gatewayThere, other.of(f), peer.addr(f), false},
			"a sibling, with the address of there": {third, d.third.mac, d.third.gatewayMAC, d.third.addr(f), other.of(f), false},
			"the gateway's of there, here":         {d.self, d.attacker.mac, d.attacker.gatewayMAC, d.attacker.addr(f), peer.gateway(f), false},
		} {
			t.Run(familyName(f)+"/"+name, func(t *testing.T) {
				mark, harmless := flowtest.NewMark(), flowtest.NewMark()
				k.by.Send(t, datagram(k.mac, k.bridge, k.source, to, 9, mark), datagram(k.mac, k.bridge, k.own, to, 9, harmless))
				lan.Until(t, "the control", flowtest.Marked(harmless))
				if arrives := lan.Saw(flowtest.Marked(mark)) != nil; arrives != k.passes {
					t.Errorf("it arrives: %t, want %t", arrives, k.passes)
				}
			})
		}
	}
}
