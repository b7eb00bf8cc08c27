package nft

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostFIB is a host with one address on one interface, and a route for 10/8 out of br0.
type hostFIB struct{}

func (hostFIB) AddrType(a netip.Addr, ifname string) uint32 {
	if a == netip.MustParseAddr("203.0.113.1") && (ifname == "" || ifname == "eth0") {
		return RTNLocal
	}
	return unix.RTN_UNICAST
}

func (hostFIB) Leads(a netip.Addr, ifname string) bool {
	return ifname == "br0" && netip.MustParsePrefix("10.0.0.0/8").Contains(a)
}

// walkTable is a host that publishes a port and fences a network.
func walkTable() Ruleset {
	id := TableID{Inet, "small"}
	t := Table{
		ID: id,
		Sets: []Set{
			{Name: "bridges", Key: []Type{TypeIfName}, Size: 16},
			{Name: "inside", Key: []Type{TypeIfName, TypeIPv4}, Interval: true},
			{Name: "marks", Key: []Type{TypeMark}, Interval: true},
			{Name: "rates", Key: []Type{TypePort}, Size: 16, LimitOverPerSecond: 5},
			{Name: "publish", Key: []Type{TypeProto, TypePort}, Data: []Type{TypeIPv4, TypePort}, Size: 16, Counter: true},
		},
		Chains: []Chain{
			{Name: "nat", Hook: &Hook{NATChain, Prerouting, PriorityDstNAT}, Rules: []Rule{
				{FIBDAddrType.Is(Mark(RTNLocal)), Jump("DOCKER")},
			}},
			{Name: "DOCKER", Rules: []Rule{{DNATTo(IPv4, Join(L4Proto, THDPort), "publish")}}},
			{Name: "guard", Hook: &Hook{FilterChain, Prerouting, PriorityMangle}, Rules: []Rule{
				{IPSAddr.InPrefix(loopback, 8), Counter, Drop, Comment("loopback from elsewhere")},
				{IIFName.In("bridges"), FIBSAddrIIFOIF.Is(Byte(0)), Jump("spoofed")},
				{MetaMark.In("marks"), Accept},
				{THDPort.In("rates"), Drop},
				{ICMP6Type.Is(Byte(134), Byte(137)), Drop, Comment("router")},
			}},
			{Name: "spoofed", Rules: []Rule{
				{Join(IIFName, IPSAddr).In("inside"), Return},
				{Counter, Drop, Comment("spoofed source")},
			}},
			{Name: "forward", Hook: &Hook{FilterChain, Forward, PriorityFilter}, Rules: []Rule{
				{CTState.Any(StateEstablished | StateRelated), Accept},
				{CTStatus.Any(StatusDNAT), Goto("fence")},
				{Drop, Comment("not published")},
			}},
			{Name: "fence", Rules: []Rule{{OIFName.Begins("br"), Accept}}},
			{Name: "out", Hook: &Hook{NATChain, Postrouting, PrioritySrcNAT}, Rules: []Rule{{OIFName.Is(Name("eth0")), Masquerade}}},
		},
	}
	elements := make(Elements)
	add := func(set string, key, end, data Value) { elements[Element{SetID{id, set}, key, end, data}] = struct{}{} }
	first, last := Prefix(netip.MustParsePrefix("10.1.0.0/16"))
	add("bridges", Name("br0"), Value{}, Value{})
	add("bridges", Name("br1"), Value{}, Value{})
	add("inside", Concat(Name("br1"), first), Concat(Name("br1"), last), Value{})
	low, high := Marks(0x100, 0x1ff)
	add("marks", low, high, Value{})
	add("rates", Port(99), Value{}, Value{})
	add("publish", Concat(Byte(6), Port(8080)), Value{}, Concat(addr("10.0.0.2"), Port(80)))
	return Ruleset{Tables: []Table{t}, Elements: elements}
}

func TestWalk(t *testing.T) {
	rs := walkTable()
	ip := netip.MustParseAddr
	for _, c := range []struct {
		what string
		at   HookPoint
		p    Packet
		want string // the verdict and the comment of the last rule
	}{
		{"a loopback source", Prerouting, Packet{Src: ip("127.0.0.1"), Dst: ip("203.0.113.1")}, "drop loopback from elsewhere"},
		{"a good source", Prerouting, Packet{IIFName: "br0", Src: ip("10.0.0.2"), Dst: ip("198.51.100.1")}, "accept"},
		{"a spoofed source", Prerouting, Packet{IIFName: "br1", Src: ip("10.0.0.2"), Dst: ip("198.51.100.1")}, "drop spoofed source"},
		{"one that is permitted", Prerouting, Packet{IIFName: "br1", Src: ip("10.1.2.3"), Dst: ip("198.51.100.1")}, "accept"},
		{"an IPv6 packet in a rule for IPv4", Prerouting, Packet{IIFName: "br1", Src: ip("fd00::1"), Dst: ip("fd00::2")}, "drop spoofed source"},
		{"a rate that is not exceeded", Prerouting, Packet{Src: ip("1.2.3.4"), Dst: ip("1.2.3.5"), Protocol: 6, DPort: 99}, "accept"},
		{"a router advertisement", Prerouting, Packet{Src: ip("fe80::1"), Dst: ip("ff02::1"), Protocol: 58, ICMPType: 134}, "drop router"},
		{"its second fragment", Prerouting,
			Packet{Src: ip("fe80::1"), Dst: ip("ff02::1"), Protocol: 58, ICMPType: 134, Fragment: &Fragment{Offset: 185}}, "accept"},
		{"the same type of another protocol", Prerouting, Packet{Src: ip("1.2.3.4"), Dst: ip("1.2.3.5"), Protocol: 1, ICMPType: 134}, "accept"},
		{"a new flow", Forward, Packet{Src: ip("1.2.3.4"), Dst: ip("10.0.0.2")}, "drop not published"},
		{"an established flow", Forward, Packet{Src: ip("1.2.3.4"), Dst: ip("10.0.0.2"), CTState: StateEstablished}, "accept"},
		{"a published port", Forward, Packet{OIFName: "br0", Src: ip("1.2.3.4"), Dst: ip("10.0.0.2"), CTStatus: StatusDNAT}, "accept"},
	} {
		c.p.FIB = hostFIB{}
		trace := rs.Walk(Inet, c.at, c.p)
		got := strings.TrimSpace(Verdict{Kind: trace.Verdict}.String() + " " + trace.Comment())
		if got != c.want {
			t.Errorf("%s: %s, want %s; the way:\n%s", c.what, got, c.want, trace.String())
		}
	}
}

func TestWalkTranslates(t *testing.T) {
	rs := walkTable()
	p := Packet{IIFName: "eth0", Src: netip.MustParseAddr("198.51.100.7"), Dst: netip.MustParseAddr("203.0.113.1"),
		Protocol: unix.IPPROTO_TCP, DPort: 8080, FIB: hostFIB{}}
	trace := rs.Walk(Inet, Prerouting, p)
	if got := trace.Packet; got.Dst != netip.MustParseAddr("10.0.0.2") || got.DPort != 80 || got.CTStatus != StatusDNAT {
		t.Errorf("not translated: %+v", got)
	}
	want := `inet small nat: fib daddr type local jump DOCKER
inet small DOCKER: dnat ip to meta l4proto . th dport map @publish
accept
`
	if trace.String() != want {
		t.Errorf("got\n%s", trace.String())
	}

	p.CTState = StateEstablished
	if trace := rs.Walk(Inet, Prerouting, p); trace.Packet.Dst != p.Dst {
		t.Error("the address was translated for a packet that is not the first of its flow")
	}
	if trace := rs.Walk(Inet, Postrouting, Packet{OIFName: "eth0"}); !trace.Masqueraded {
		t.Error("not masqueraded")
	}
}

func TestWalkFrames(t *testing.T) {
	id := TableID{Bridge, "small"}
	table := bridgeTable()
	mac := [6]byte{2, 0, 0, 0, 0, 1}
	own := netip.MustParseAddr("fe80::1")
	rs := Ruleset{Tables: []Table{table}, Elements: Elements{
		{Set: SetID{id, "macs"}, Key: Concat(Name("bv0"), MAC(mac))}:                      {},
		{Set: SetID{id, "source4"}, Key: Concat(Name("bv0"), MAC(mac), addr("10.0.0.2"))}: {},
		{Set: SetID{id, "targets6"}, Key: Concat(Name("bv0"), Addr(own))}:                 {},
	}}
	for _, c := range []struct {
		what, want string
		p          Packet
	}{
		{"another's MAC", "drop another's MAC", Packet{EtherSrc: [6]byte{2, 2}, EtherType: 0x1234}},
		{"an unknown ethertype", "drop", Packet{EtherSrc: mac, EtherType: 0x1234}},
		{"own ARP", "accept", Packet{EtherSrc: mac, ARP: &ARP{2, mac, netip.MustParseAddr("10.0.0.2")}}},
		{"an advertisement of its own", "accept", Packet{EtherSrc: mac, Src: own, Dst: own, Protocol: 58, ICMPType: 136, Target: own}},
		{"an advertisement for another", "drop",
			Packet{EtherSrc: mac, Src: own, Dst: own, Protocol: 58, ICMPType: 136, Target: netip.MustParseAddr("fe80::2")}},
		{"a hidden transport header", "drop transport header hidden in a later fragment",
			Packet{EtherSrc: mac, Src: own, Dst: own, Fragment: &Fragment{}}},
	} {
		c.p.IIFName = "bv0"
		trace := rs.Walk(Bridge, Prerouting, c.p)
		if got := strings.TrimSpace(Verdict{Kind: trace.Verdict}.String() + " " + trace.Comment()); got != c.want {
			t.Errorf("%s: %s, want %s; the way:\n%s", c.what, got, c.want, trace.String())
		}
	}
}
