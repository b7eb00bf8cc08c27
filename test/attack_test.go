package test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// attack is frames that must arrive nowhere, and frames that differ only in what is forged: they must arrive.
type attack struct {
	name    string
	frames  func(mark string) [][]byte
	control func(mark string) [][]byte
	arrives *flowtest.Wire // where the control's mark is seen; a service of the host answers it to the sender
}

// ambush is a hall with an observer wherever an attack could arrive, and the attacker's wire.
type ambush struct {
	*hall
	self                  *flowtest.Wire            // the attacker's: writes frames
	spared                map[string]*flowtest.Wire // by name: who may see the attack, because nothing is forged towards it
	heard                 *flowtest.Wire            // what arrives at the attacker
	c1, c3, c4, lan, far  *flowtest.Wire            // observers
	everywhere            []*flowtest.Wire
	marks                 map[string]string // of each attack so far: its name
	anyService            *flowtest.Server  // on every address of the host
	attacker, sibling     member
	second                member
	hostLinkLocal         netip.Addr // of the attacker's bridge
	hostLAN               mac
	attackerLL, siblingLL netip.Addr
}

const anyPort = 2223

// ambush opens observers for an attacker in a space; it writes to its eth0.
func (h *hall) ambush(t testing.TB, from *flowtest.Space) *ambush {
	t.Helper()
	a := &ambush{hall: h, marks: make(map[string]string), spared: make(map[string]*flowtest.Wire),
		attacker: h.c2, sibling: h.c1, second: h.c3}
	a.self, a.heard = flowtest.Injector(t, from, "eth0"), flowtest.Observe(t, from)
	a.c1, a.c3, a.c4 = flowtest.Observe(t, h.c1.Space), flowtest.Observe(t, h.c3.Space), flowtest.Observe(t, h.c4.Space)
	a.lan, a.far = flowtest.Observe(t, h.lan), flowtest.Observe(t, h.far)
	a.everywhere = []*flowtest.Wire{a.c1, a.c3, a.c4, a.lan, a.far}
	a.anyService = flowtest.Serve(t, h.host, anyPort)
	a.hostLinkLocal = linkLocalOf(t, h.host, h.masterOf(h.c2.HostInterface))
	a.attackerLL, a.siblingLL = linkLocal(a.attacker.mac), linkLocal(a.sibling.mac)
	a.hostLAN = mustMAC(linksOf(t, h.host)["lan0"].Address)
	return a
}

// run makes one attack.
func (a *ambush) run(t *testing.T, k attack) {
	t.Run(k.name, func(t *testing.T) {
		mark := flowtest.NewMark()
		a.marks[mark] = k.name
		a.self.Send(t, k.frames(mark)...)
		harmless := flowtest.NewMark()
		a.self.Send(t, k.control(harmless)...)
		k.arrives.Until(t, "the control", flowtest.Marked(harmless))
		flowtest.Via(a.host, netip.AddrPortFrom(a.sibling.ip4, 80)).Settle(t)
		a.silent(t, mark)
	})
}

// silent checks that nobody has seen the mark.
func (a *ambush) silent(t *testing.T, mark string) {
	t.Helper()
	for _, o := range a.everywhere {
		if f := o.Saw(flowtest.Marked(mark)); f != nil && o != a.spared[a.marks[mark]] {
			t.Errorf("%s arrives in %s: % x", a.marks[mark], o.Space.Name, f)
		}
	}
	for _, srv := range []*flowtest.Server{a.services, a.anyService} {
		if srv.Got(mark) {
			t.Errorf("%s is heard by a service of the host", a.marks[mark])
		}
	}
}

// Forged frames from a container.
func TestForged(t *testing.T) {
	worlds(t, func(t *testing.T, nf, icc bool) {
		h := newHall(t, nf, icc)
		a := h.ambush(t, h.c2.Space)
		var attacks []attack
		for _, f := range families {
			attacks = append(attacks, a.forgedSources(f, icc)...)
			attacks = append(attacks, a.loopbacks(f)...)
			attacks = append(attacks, a.strayed(f, icc)...)
		}
		attacks = append(attacks, a.forgedLinkLocal()...)
		for _, k := range slices.Concat(a.forgedARP(), a.forgedNeighbours(), a.roles(), a.otherFrames()) {
			if !icc { // no control reaches a sibling
				k.control, k.arrives = a.toLAN, a.lan
			}
			attacks = append(attacks, k)
		}
		for _, k := range attacks {
			a.run(t, k)
		}
		a.unmoved(t)
		for mark := range a.marks {
			a.silent(t, mark)
		}
		h.settled()
	})
}

// toLAN is a frame that works wherever the attacker's own addresses are: a datagram to the LAN.
func (a *ambush) toLAN(mark string) [][]byte {
	return [][]byte{datagram(a.attacker.mac, a.attacker.gatewayMAC, a.attacker.ip4, lan4, 80, mark)}
}

// unmoved checks that the attacks have left the tables as they were: who has which address, and where.
func (a *ambush) unmoved(t *testing.T) {
	t.Helper()
	for _, m := range []member{a.sibling, a.attacker} {
		if got := a.neighbours(t)[m.ip4.String()]; got != "" && got != m.mac.String() {
			t.Errorf("the host believes that %s is at %s, not %s", m.ip4, got, m.mac)
		}
		if got := a.neighbours(t)[m.ip6.String()]; got != "" && got != m.mac.String() {
			t.Errorf("the host believes that %s is at %s, not %s", m.ip6, got, m.mac)
		}
		if got := a.portOf(t, m.mac); got != m.HostInterface {
			t.Errorf("the bridge believes that %s is behind %q, not %s", m.mac, got, m.HostInterface)
		}
	}
}

// forgedSources are IP packets with another's MAC or address, to a sibling and to the LAN.
func (a *ambush) forgedSources(f netip.Addr, icc bool) []attack {
	own := a.attacker.addr(f)
	macs := map[string]mac{"a sibling's MAC": a.sibling.mac, "the gateway's MAC": a.attacker.gatewayMAC,
		"an unknown MAC": mustMAC("02:42:de:ad:be:ef"), "another network's MAC": a.second.mac}
	addrs := map[string]netip.Addr{"a sibling's address": a.sibling.addr(f), "the gateway's address": a.attacker.gateway(f),
		"another network's address": a.second.addr(f), "a LAN host's address": pick(f, lan4, lan6),
		"the host's address": pick(f, hostLAN4, hostLAN6), "a free address of the subnet": a.attacker.addr(f).Next().Next().Next(),
		"a loopback address":      pick(f, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()),
		"the unspecified address": f}
	dests := []struct {
		name string
		mac  mac
		addr netip.Addr
		at   *flowtest.Wire
		when bool
	}{
		{"to a sibling", a.sibling.mac, a.sibling.addr(f), a.c1, icc},
		{"to the LAN", a.attacker.gatewayMAC, pick(f, lan4, lan6), a.lan, true},
		{"to the host", a.attacker.gatewayMAC, a.attacker.gateway(f), a.heard, true},
	}
	var attacks []attack
	for _, d := range dests {
		if !d.when {
			continue
		}
		from := func(m mac, src netip.Addr) func(string) [][]byte {
			return func(mark string) [][]byte { return [][]byte{datagram(m, d.mac, src, d.addr, anyPort, mark)} }
		}
		control := from(a.attacker.mac, own)
		for name, m := range macs {
			attacks = append(attacks, attack{familyName(f) + "/" + name + "/" + d.name, from(m, own), control, d.at})
		}
		for name, src := range addrs {
			attacks = append(attacks, attack{familyName(f) + "/" + name + "/" + d.name, from(a.attacker.mac, src), control, d.at})
		}
	}
	return attacks
}

// datagram is a frame with a UDP packet in it.
func datagram(srcMAC, dstMAC mac, src, dst netip.Addr, port uint16, text string) []byte {
	from, to := netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(dst, port)
	return ethernet(srcMAC, dstMAC, typeOf(dst), packet(src, dst, protoUDP, udp(from, to, text)))
}

// loopbacks are packets to the host's own loopback services, and to a port published there.
func (a *ambush) loopbacks(f netip.Addr) []attack {
	send := func(dst netip.Addr, port uint16) func(string) [][]byte {
		return func(mark string) [][]byte {
			src := a.attacker.addr(f)
			from, to := netip.AddrPortFrom(src, 40001), netip.AddrPortFrom(dst, port)
			syn := ethernet(a.attacker.mac, a.attacker.gatewayMAC, typeOf(dst), packet(src, dst, protoTCP, tcp(from, to, flagSYN, mark)))
			return [][]byte{datagram(a.attacker.mac, a.attacker.gatewayMAC, src, dst, port, mark), syn}
		}
	}
	control := send(a.attacker.gateway(f), anyPort)
	if f.Is6() {
		return []attack{{"IPv6/to the host's ::1", send(netip.IPv6Loopback(), anyPort), control, a.heard}}
	}
	return []attack{
		{"IPv4/to the host's 127.0.0.1", send(netip.MustParseAddr("127.0.0.1"), anyPort), control, a.heard},
		{"IPv4/to a service on 127.0.0.1", send(netip.MustParseAddr("127.0.0.1"), hostService), control, a.heard},
		{"IPv4/to the host's 127.9.9.9", send(netip.MustParseAddr("127.9.9.9"), anyPort), control, a.heard},
		{"IPv4/to a port published on 127.0.0.2", send(netip.MustParseAddr("127.0.0.2"), loopbackPort), control, a.heard},
		{"IPv4/to a port published everywhere", send(netip.MustParseAddr("127.0.0.1"), published), control, a.heard},
	}
}

// strayed are packets with a true source on ways that lead to another network, or past the gateway to a sibling.
func (a *ambush) strayed(f netip.Addr, icc bool) []attack {
	own, lan := a.attacker.addr(f), pick(f, lan4, lan6)
	send := func(via mac, dst netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte { return [][]byte{datagram(a.attacker.mac, via, own, dst, 80, mark)} }
	}
	control := send(a.attacker.gatewayMAC, lan)
	name := familyName(f)
	attacks := []attack{
		{name + "/to another network", send(a.attacker.gatewayMAC, a.second.addr(f)), control, a.lan},
		{name + "/to another network by its bridge's MAC", send(a.second.gatewayMAC, a.second.addr(f)), control, a.lan},
		{name + "/to another network by its MAC", send(a.second.mac, a.second.addr(f)), control, a.lan},
		{name + "/to an internal network", send(a.attacker.gatewayMAC, a.hall.c4.addr(f)), control, a.lan},
		{name + "/a reset without a connection", func(mark string) [][]byte {
			from, to := netip.AddrPortFrom(own, 40002), netip.AddrPortFrom(lan, 80)
			return [][]byte{ethernet(a.attacker.mac, a.attacker.gatewayMAC, typeOf(own), packet(own, lan, protoTCP, tcp(from, to, flagRST, mark)))}
		}, control, a.lan},
	}
	if icc {
		// What the bridge does not know it shows to every port; siblings may be addressed.
		a.spared[name+"/to another network by its bridge's MAC"] = a.c1
		a.spared[name+"/to another network by its MAC"] = a.c1
		return attacks
	}
	all := pick(f, netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb"))
	groupMAC := group(all)
	if f.Is4() {
		groupMAC = mustMAC("01:00:5e:00:00:fb")
	}
	return append(attacks,
		attack{name + "/ICC off/to a sibling", send(a.sibling.mac, a.sibling.addr(f)), control, a.lan},
		attack{name + "/ICC off/to a sibling through the gateway", send(a.attacker.gatewayMAC, a.sibling.addr(f)), control, a.lan},
		attack{name + "/ICC off/broadcast", send(broadcast, a.sibling.addr(f)), control, a.lan},
		attack{name + "/ICC off/multicast", send(groupMAC, all), control, a.lan},
		attack{name + "/ICC off/unknown MAC, flooded", send(mustMAC("02:42:de:ad:be:ef"), a.sibling.addr(f)), control, a.lan},
		attack{name + "/ICC off/another bridge's MAC, flooded", send(a.second.gatewayMAC, a.sibling.addr(f)), control, a.lan},
	)
}

// forgedLinkLocal are packets from link-local addresses that are not the attacker's, to the bridge's.
func (a *ambush) forgedLinkLocal() []attack {
	send := func(src netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{datagram(a.attacker.mac, a.attacker.gatewayMAC, src, a.hostLinkLocal, anyPort, mark)}
		}
	}
	control := send(a.attackerLL)
	return []attack{
		{"link-local/a sibling's", send(a.siblingLL), control, a.heard},
		{"link-local/the bridge's", send(a.hostLinkLocal), control, a.heard},
		{"link-local/nobody's", send(netip.MustParseAddr("fe80::1234")), control, a.heard},
	}
}

// forgedARP are ARP packets that claim what is not the attacker's.
func (a *ambush) forgedARP() []attack {
	own, sib, gw := a.attacker.ip4, a.sibling.ip4, a.attacker.gw4
	send := func(to mac, op uint16, senderMAC mac, sender, target netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{ethernet(a.attacker.mac, to, typeARP, arp(op, senderMAC, sender, mac{}, target, mark))}
		}
	}
	request := send(broadcast, 1, a.attacker.mac, own, sib)
	reply := send(a.sibling.mac, 2, a.attacker.mac, own, sib)
	me := a.attacker.mac
	return []attack{
		{"ARP/request as the gateway", send(broadcast, 1, me, gw, sib), request, a.c1},
		{"ARP/request as a sibling", send(broadcast, 1, me, a.hall.c3.ip4, sib), request, a.c1},
		{"ARP/announcement of the gateway", send(broadcast, 1, me, gw, gw), request, a.c1},
		{"ARP/reply as the gateway", send(a.sibling.mac, 2, me, gw, sib), reply, a.c1},
		{"ARP/reply to all as the gateway", send(broadcast, 2, me, gw, gw), reply, a.c1},
		{"ARP/own address at another MAC", send(broadcast, 1, mustMAC("02:42:de:ad:be:ef"), own, sib), request, a.c1},
		{"ARP/reply with the gateway's MAC", send(a.sibling.mac, 2, a.attacker.gatewayMAC, gw, sib), reply, a.c1},
		{"ARP/unknown operation", send(a.sibling.mac, 9, me, own, sib), reply, a.c1},
	}
}

// allNodes is the group that every IPv6 host is in.
var allNodes = netip.MustParseAddr("ff02::1")

// icmpFrame is a frame with an ICMPv6 message to all nodes, sent from the attacker's link-local address.
func (a *ambush) icmpFrame(src, dst netip.Addr, kind byte, body []byte) []byte {
	return ethernet(a.attacker.mac, a.macFor(dst), typeIPv6, packet(src, dst, protoICMPv6, icmp6(src, dst, kind, 0, body)))
}

func (a *ambush) macFor(dst netip.Addr) mac {
	if dst.IsMulticast() {
		return group(dst)
	}
	return a.sibling.mac
}

// forgedNeighbours are neighbour advertisements and solicitations for what is not the attacker's.
func (a *ambush) forgedNeighbours() []attack {
	const override, optionSource, optionTarget = 0x20, 1, 2
	advert := func(src, dst, target netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{a.icmpFrame(src, dst, neighbourNA, neighbour(override, target, optionTarget, a.attacker.mac, mark))}
		}
	}
	probe := func(target netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte {
			none := netip.IPv6Unspecified()
			// To all nodes and not to the solicited group, so that the sibling gets the control too.
			return [][]byte{a.icmpFrame(none, allNodes, neighbourNS, neighbour(0, target, 0, mac{}, mark))}
		}
	}
	solicit := func(src, target netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{a.icmpFrame(src, allNodes, neighbourNS, neighbour(0, target, optionSource, a.attacker.mac, mark))}
		}
	}
	wrapped := func(target netip.Addr) func(string) [][]byte {
		return func(mark string) [][]byte {
			src, dst := a.attackerLL, allNodes
			m := icmp6(src, dst, neighbourNA, 0, neighbour(override, target, optionTarget, a.attacker.mac, mark))
			return [][]byte{ethernet(a.attacker.mac, group(dst), typeIPv6, packet(src, dst, protoDestOpts, append(extension(protoICMPv6, ""), m...)))}
		}
	}
	own, ll := a.attacker.ip6, a.attackerLL
	return []attack{
		{"NA/of the gateway, to all", advert(ll, allNodes, a.attacker.gw6), advert(ll, allNodes, own), a.c1},
		{"NA/of the gateway, to a sibling", advert(own, a.sibling.ip6, a.attacker.gw6), advert(own, a.sibling.ip6, own), a.c1},
		{"NA/of the gateway's link-local address", advert(ll, allNodes, a.hostLinkLocal), advert(ll, allNodes, ll), a.c1},
		{"NA/of a sibling", advert(ll, allNodes, a.sibling.ip6), advert(ll, allNodes, own), a.c1},
		{"NA/from a sibling", advert(a.siblingLL, allNodes, own), advert(ll, allNodes, own), a.c1},
		{"NA/behind destination options", wrapped(a.attacker.gw6), wrapped(own), a.c1},
		{"NS/detection of a sibling's address", probe(a.sibling.ip6), probe(own), a.c1},
		{"NS/detection of the gateway's address", probe(a.attacker.gw6), probe(own), a.c1},
		{"NS/from a sibling", solicit(a.siblingLL, a.attacker.gw6), solicit(ll, a.attacker.gw6), a.c1},
	}
}

// roles are messages that only a router or a server may send, plain and hidden behind headers.
func (a *ambush) roles() []attack {
	src, dst := a.attackerLL, allNodes
	frame := func(proto byte, payload []byte) []byte {
		return ethernet(a.attacker.mac, group(dst), typeIPv6, packet(src, dst, proto, payload))
	}
	// advertisement of a router with a lifetime, and of the attacker as a harmless neighbour.
	router := func(mark string) []byte {
		return icmp6(src, dst, routerAd, 0, append([]byte{64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}, markOption(mark)...))
	}
	harmless := func(mark string) []byte {
		return icmp6(src, dst, neighbourNA, 0, neighbour(0x20, a.attacker.ip6, 2, a.attacker.mac, mark))
	}
	plain := func(m func(string) []byte) func(string) [][]byte {
		return func(mark string) [][]byte { return [][]byte{frame(protoICMPv6, m(mark))} }
	}
	wrapped := func(m func(string) []byte) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{frame(protoDestOpts, append(extension(protoICMPv6, ""), m(mark)...))}
		}
	}
	atomic := func(m func(string) []byte) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{frame(protoFragment, fragment(protoICMPv6, 7, 0, false, m(mark)))}
		}
	}
	// The first fragment holds nothing but an extension header; the message would stand in the second, which is worth
	// nothing without it.
	hidden := func(mark string) [][]byte {
		padded := extension(protoICMPv6, mark)
		return [][]byte{frame(protoFragment, fragment(protoDestOpts, 8, 0, true, padded))}
	}
	message := func(kind byte, body []byte) func(string) [][]byte {
		return func(mark string) [][]byte {
			return [][]byte{a.icmpFrame(src, dst, kind, append(append([]byte{}, body...), markOption(mark)...))}
		}
	}
	redirect := append(make([]byte, 4), append(a.siblingLL.AsSlice(), a.attacker.gw6.AsSlice()...)...)
	query := make([]byte, 24)
	attacks := []attack{
		{"RA/plain", plain(router), plain(harmless), a.c1},
		{"RA/behind destination options", wrapped(router), wrapped(harmless), a.c1},
		{"RA/in a fragment", atomic(router), atomic(harmless), a.c1},
		{"RA/hidden in a second fragment", hidden, plain(harmless), a.c1},
		{"redirect/IPv6", message(redirect6, redirect), plain(harmless), a.c1},
		{"MLD/query", message(mldQuery, query), plain(harmless), a.c1},
	}
	return append(attacks, a.servers()...)
}

// servers are answers of DHCP servers, and what only IPv4 routers say.
func (a *ambush) servers() []attack {
	serve := func(f netip.Addr, from, to uint16) func(string) [][]byte {
		return func(mark string) [][]byte {
			src, dst := a.attacker.addr(f), a.sibling.addr(f)
			return [][]byte{ethernet(a.attacker.mac, a.sibling.mac, typeOf(f), packet(src, dst, protoUDP,
				udp(netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to), mark)))}
		}
	}
	icmp := func(kind byte) func(string) [][]byte {
		return func(mark string) [][]byte {
			body := append(append([]byte{}, a.attacker.gw4.AsSlice()...), mark...)
			return [][]byte{ethernet(a.attacker.mac, a.sibling.mac, typeIPv4,
				packet(a.attacker.ip4, a.sibling.ip4, protoICMP, icmp4(kind, 0, body)))}
		}
	}
	igmp := func(kind byte) func(string) [][]byte {
		return func(mark string) [][]byte {
			all := netip.MustParseAddr("224.0.0.1")
			body := append([]byte{224, 0, 0, 251}, mark...)
			return [][]byte{ethernet(a.attacker.mac, mustMAC("01:00:5e:00:00:01"), typeIPv4,
				packet(a.attacker.ip4, all, protoIGMP, icmp4(kind, 0, body)))}
		}
	}
	v4, v6 := families[0], families[1]
	return []attack{
		{"IGMP/query", igmp(0x11), igmp(0x16), a.c1},
		{"DHCP/server", serve(v4, 67, 68), serve(v4, 6767, 68), a.c1},
		{"DHCPv6/server", serve(v6, 547, 546), serve(v6, 5470, 546), a.c1},
		{"redirect/IPv4", icmp(5), icmp(8), a.c1},
		{"router advertisement/IPv4", icmp(9), icmp(8), a.c1},
	}
}

// otherFrames are frames that are neither IP nor ARP, or hide it.
func (a *ambush) otherFrames() []attack {
	inner := func(mark string) []byte {
		return packet(a.attacker.ip4, a.sibling.ip4, protoUDP, udp(
			netip.AddrPortFrom(a.attacker.ip4, 40003), netip.AddrPortFrom(a.sibling.ip4, 80), mark))
	}
	send := func(src, dst mac, kind uint16, payload func(string) []byte) func(string) [][]byte {
		return func(mark string) [][]byte { return [][]byte{ethernet(src, dst, kind, payload(mark))} }
	}
	tagged := func(mark string) []byte { return vlan(1, typeIPv4, inner(mark)) }
	twice := func(mark string) []byte { return vlan(1, typeVLAN, vlan(2, typeIPv4, inner(mark))) }
	text := func(mark string) []byte { return []byte(mark) }
	me, sib := a.attacker.mac, a.sibling.mac
	control := send(me, sib, typeIPv4, inner)
	attacks := []attack{
		{"frame/VLAN tag", send(me, sib, typeVLAN, tagged), control, a.c1},
		{"frame/priority tag", send(me, sib, typeVLAN, func(m string) []byte { return vlan(0, typeIPv4, inner(m)) }), control, a.c1},
		{"frame/two VLAN tags", send(me, sib, typeVLAN, twice), control, a.c1},
		{"frame/provider tag", send(me, sib, 0x88a8, tagged), control, a.c1},
		{"frame/MPLS", send(me, sib, 0x8847, text), control, a.c1},
		{"frame/PPPoE", send(me, sib, 0x8864, text), control, a.c1},
		{"frame/experimental type", send(me, sib, 0x88b5, text), control, a.c1},
		{"frame/802.3 length", send(me, sib, 46, text), control, a.c1},
		{"frame/flow control", send(me, mustMAC("01:80:c2:00:00:01"), 0x8808, text), control, a.c1},
	}
	for _, dst := range []string{"01:80:c2:00:00:00", "01:80:c2:00:00:02", "01:80:c2:00:00:03", "01:80:c2:00:00:0e"} {
		for name, src := range map[string]mac{"own": me, "a sibling's": sib, "the gateway's": a.attacker.gatewayMAC} {
			attacks = append(attacks, attack{fmt.Sprintf("frame/to %s from %s MAC", dst, name),
				send(src, mustMAC(dst), 0x88cc, text), control, a.c1})
		}
	}
	return attacks
}

// Forged packets from the LAN.
func TestForgedFromLAN(t *testing.T) {
	for _, nf := range []bool{false, true} {
		t.Run(fmt.Sprintf("nf=%t", nf), func(t *testing.T) {
			h := newHall(t, nf, true)
			// As an administrator may have set it: then the kernel lets 127.0.0.0/8 pass.
			h.host.Sysctl(t, "net/ipv4/conf/lan0/route_localnet", "1")
			h.host.Sysctl(t, "net/ipv4/conf/lan0/rp_filter", "0")
			h.host.Sysctl(t, "net/ipv4/conf/all/rp_filter", "0")
			a := h.ambush(t, h.lan)
			lanMAC := mustMAC(linksOf(t, h.lan)["eth0"].Address)
			send := func(src, dst netip.Addr, port uint16) func(string) [][]byte {
				return func(mark string) [][]byte { return [][]byte{datagram(lanMAC, a.hostLAN, src, dst, port, mark)} }
			}
			loop := netip.MustParseAddr
			for _, f := range families {
				name, own, host := familyName(f)+"/", pick(f, lan4, lan6), pick(f, hostLAN4, hostLAN6)
				sib := h.c1.addr(f)
				service := send(own, host, anyPort)
				open := send(own, host, published)
				attacks := []attack{
					{name + "a container's source to a service", send(sib, host, anyPort), service, a.heard},
					{name + "a container's source to a published port", send(h.c2.addr(f), host, published), open, a.c1},
					{name + "the gateway's source to a container", send(h.c1.gateway(f), sib, 80), open, a.c1},
					{name + "a sibling's source to a container", send(h.c2.addr(f), sib, 80), open, a.c1},
					{name + "direct", send(own, sib, 80), open, a.c1},
					{name + "direct to an internal network", send(own, h.c4.addr(f), 80), open, a.c1},
					{name + "to the bridge's address", send(own, h.c1.gateway(f), anyPort), service, a.heard},
				}
				if f.Is4() {
					attacks = append(attacks,
						attack{"to 127.0.0.1", send(own, loop("127.0.0.1"), anyPort), service, a.heard},
						attack{"to a port published on 127.0.0.2", send(own, loop("127.0.0.2"), loopbackPort), service, a.heard},
						attack{"to a port published everywhere, by 127.0.0.1", send(own, loop("127.0.0.1"), published), service, a.heard},
						attack{"from 127.0.0.1", send(loop("127.0.0.1"), host, anyPort), service, a.heard})
				} else {
					attacks = append(attacks, attack{"to ::1", send(own, netip.IPv6Loopback(), anyPort), service, a.heard})
				}
				for _, k := range attacks {
					a.run(t, k)
				}
			}
			for mark := range a.marks {
				a.silent(t, mark)
			}
		})
	}
}
