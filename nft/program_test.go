package nft

import "net/netip"

// Two small tables that have every kind of set, statement and match.

func inetTable() Table {
	return Table{
		ID: TableID{Inet, "small"},
		Sets: []Set{
			{Name: "names", Key: []Type{TypeIfName}, Size: 4096},
			{Name: "pairs", Key: []Type{TypeIfName, TypeIfName}, Size: 4096},
			{Name: "services", Key: []Type{TypeIfName, TypeProto, TypePort}, Size: 65536},
			{Name: "families", Key: []Type{TypeFamily}, Size: 4},
			{Name: "protocols", Key: []Type{TypeProto}, Size: 16},
			{Name: "ports", Key: []Type{TypePort}, Interval: true},
			{Name: "marks", Key: []Type{TypeMark}, Interval: true},
			{Name: "exact", Key: []Type{TypeMark}, Size: 16},
			{Name: "prefixes4", Key: []Type{TypeIPv4}, Interval: true},
			{Name: "prefixes6", Key: []Type{TypeIPv6}, Interval: true},
			{Name: "trusted4", Key: []Type{TypeIfName, TypeIPv4}, Interval: true},
			{Name: "trusted6", Key: []Type{TypeIfName, TypeIPv6}, Interval: true},
			{Name: "allowed4", Key: []Type{TypeIPv4, TypeProto, TypePort, TypeIPv4}, Interval: true},
			{Name: "links6", Key: []Type{TypeIPv6, TypeIPv6, TypeProto, TypePort}, Size: 65536},
			{Name: "rates4", Key: []Type{TypeIPv4, TypeProto, TypePort}, Size: 65536, LimitOverPerSecond: 1000},
			{Name: "snat4", Key: []Type{TypeIfName}, Data: []Type{TypeIPv4}, Size: 4096},
			{Name: "snat6", Key: []Type{TypeIfName}, Data: []Type{TypeIPv6}, Size: 4096},
			{Name: "publish4", Key: []Type{TypeIPv4, TypeProto, TypePort}, Data: []Type{TypeIPv4, TypePort}, Size: 131072, Counter: true},
			{Name: "publish6", Key: []Type{TypeProto, TypePort}, Data: []Type{TypeIPv6, TypePort}, Size: 131072, Counter: true},
		},
		Chains: []Chain{
			{Name: "guard", Hook: &Hook{FilterChain, Prerouting, PriorityMangle}, Rules: []Rule{
				{IIFName.In("names"), Accept},
				{IIFName.Is(Name("lo")), Accept},
				{IIFName.Is(Name("b"), Name("a")), OIFName.IsNot(Name("c*")), Counter},
				{IIFName.Begins("bv"), OIFName.NotIn("names"), Jump("inside")},
				{IPDAddr.InPrefix(loopback, 8), Counter, Drop, Comment("host loopback from elsewhere")},
				{CTState.Any(StateEstablished | StateRelated), Accept},
				{CTState.None(StateNew), CTStatus.Any(StatusDNAT), Goto("inside")},
				{IPDAddr.In("prefixes4"), Join(IIFName, IPDAddr).NotIn("trusted4"), Counter, Drop, Comment("direct access")},
				{IP6SAddr.InPrefix(linkLocal, 10), IP6DAddr.InPrefix(linkLocal, 10), Accept},
				{IP6DAddr.InPrefix(Addr(netip.MustParseAddr("2001:db8::")), 64), IP6SAddr.IsNot(Addr(netip.IPv6Loopback())), Counter},
				{FIBDAddrType.Is(Mark(RTNLocal)), FIBDAddrIIFType.IsNot(Mark(RTNLocal)), FIBSAddrIIFOIF.Is(Byte(0)), Drop},
				{FIBSAddrIIFOIF.IsNot(Byte(0)), FIBDAddrType.Is(Mark(3), Mark(5)), Accept},
				{NFProto.Is(Byte(2)), IIFName.In("names"), Drop},
				{NFProto.In("families"), L4Proto.IsNot(Byte(6)), L4Proto.In("protocols"), Return},
				{MetaMark.In("marks"), MetaMark.In("exact"), MetaMark.Is(Mark(0x100), Mark(3)), Accept},
				{ICMPType.Is(Byte(8)), Accept},
				{ICMP6Type.Is(Byte(136), Byte(128), Byte(135), Byte(133)), Accept},
				{IGMPType.Is(Byte(0x11)), Accept},
				{THDPort.In("ports"), THDPort.AtLeast(Port(1024)), Jump("inside")},
				{Jump("inside")},
				{Counter, Drop, Comment("all the rest")},
			}},
			{Name: "inside", Rules: []Rule{
				{Join(IIFName, L4Proto, THDPort).In("services"), Return},
				{Join(IPDAddr, L4Proto, THDPort, IPSAddr).NotIn("allowed4"), Counter, Drop},
				{Join(IP6SAddr, IP6DAddr, L4Proto, THDPort).In("links6"), Return},
				{Join(IPDAddr, L4Proto, THDPort).In("rates4"), Counter, Drop, Comment("rate limit")},
				{Join(IIFName, IP6SAddr).In("trusted6"), IP6SAddr.In("prefixes6"), Return},
				{FragOff.Is(Port(0)), THFirstByte.AtLeast(Byte(0)), Return},
				{FragOff.IsNot(Port(185)), Return},
				{NDTarget.Is(linkLocal), Return},
			}},
			{Name: "nat-in", Hook: &Hook{NATChain, Prerouting, PriorityDstNAT}, Rules: []Rule{
				{DNATTo(IPv4, Join(IPDAddr, L4Proto, THDPort), "publish4")},
				{DNATTo(IPv6, Join(L4Proto, THDPort), "publish6")},
			}},
			{Name: "output", Hook: &Hook{NATChain, Output, PriorityDstNAT}},
			{Name: "nat-out", Hook: &Hook{NATChain, Postrouting, PrioritySrcNAT}, Rules: []Rule{
				{Join(IIFName, OIFName).In("pairs"), Accept},
				{IPSAddr.In("prefixes4"), SNATTo(IPv4, IIFName, "snat4")},
				{IP6SAddr.In("prefixes6"), SNATTo(IPv6, IIFName, "snat6")},
				{IPSAddr.In("prefixes4"), Masquerade},
			}},
			{Name: "late", Hook: &Hook{FilterChain, Forward, PriorityFilter + 10}},
			{Name: "early", Hook: &Hook{FilterChain, Forward, PriorityFilter - 11}},
		},
	}
}

func bridgeTable() Table {
	return Table{
		ID: TableID{Bridge, "small"},
		Sets: []Set{
			{Name: "ports", Key: []Type{TypeIfName}, Size: 65536},
			{Name: "macs", Key: []Type{TypeIfName, TypeEther}, Size: 65536},
			{Name: "source4", Key: []Type{TypeIfName, TypeEther, TypeIPv4}, Size: 65536},
			{Name: "source6", Key: []Type{TypeIfName, TypeEther, TypeIPv6}, Size: 65536},
			{Name: "targets6", Key: []Type{TypeIfName, TypeTarget}, Size: 65536},
		},
		Chains: []Chain{
			{Name: "prerouting", Hook: &Hook{FilterChain, Prerouting, PriorityBrDstNAT}, Rules: []Rule{
				{IIFName.Begins("bv"), Jump("port")},
			}},
			{Name: "forward", Hook: &Hook{FilterChain, Forward, PriorityBrFilter}, Rules: []Rule{
				{EtherDAddr.Masked(groupBit, groupBit), Counter, Drop, Comment("flooded")},
			}},
			{Name: "port", Rules: []Rule{
				{Join(IIFName, EtherSAddr).NotIn("macs"), Counter, Drop, Comment("another's MAC")},
				{EtherSAddr.Is(MAC([6]byte{1, 2, 3, 4, 5, 6})), ICMPType.Is(Byte(5)), Drop},
				{EtherDAddr.Is(MAC([6]byte{2})), EtherSAddr.Is(MAC([6]byte{1})), EtherType.Is(Port(0x8100)), Drop},
				{EtherType.Verdicts(VerdictMapEntry{Port(0x86dd), Goto("from-ip6")}, VerdictMapEntry{Port(0x800), Goto("from-ip")},
					VerdictMapEntry{Port(0x806), Goto("from-arp")}, VerdictMapEntry{Port(0x1234), Verdict{Kind: VerdictDrop}})},
			}},
			{Name: "from-ip", Rules: []Rule{
				{Join(IIFName, EtherSAddr, IPSAddr).In("source4"), Return},
				{IPSAddr.Is(Addr(netip.IPv4Unspecified())), IPDAddr.Is(broadcast), UDPSPort.Is(Port(68)), UDPDPort.Is(Port(67)), Return},
				{UDPSPort.Is(Port(67)), UDPDPort.IsNot(Port(68)), Counter, Drop, Comment("DHCP server")},
				{ICMPType.Is(Byte(9), Byte(5)), Counter, Drop, Comment("router")},
				{IGMPType.Is(Byte(0x11)), Counter, Drop, Comment("multicast querier")},
				{IPSAddr.IsNot(broadcast), IGMPType.IsNot(Byte(0x11)), Accept},
				{L4Proto.Is(Byte(6)), Return},
			}},
			{Name: "from-arp", Rules: []Rule{
				{ARPOperation.Is(Port(2), Port(1)), Join(IIFName, ARPSAddrEther, ARPSAddrIP).In("source4"), Return},
				{ARPOperation.Is(Port(1)), ARPSAddrIP.Is(Addr(netip.IPv4Unspecified())), Join(IIFName, ARPSAddrEther).In("macs"), Return},
				{ARPOperation.Is(Port(1)), ARPSAddrEther.Is(MAC([6]byte{1})), ARPSAddrIP.Is(broadcast), Return},
			}},
			{Name: "from-ip6", Rules: []Rule{
				{Join(IIFName, EtherSAddr, IP6SAddr).In("source6"), Return},
				{IP6SAddr.Is(Addr(netip.IPv6Unspecified())), ICMP6Type.Is(Byte(135)), Join(IIFName, NDTarget).In("targets6"), Return},
				{ICMP6Type.Is(Byte(136)), Join(IIFName, NDTarget).NotIn("targets6"), Drop},
				{FragOff.Is(Port(0)), Jump("fragment")},
			}},
			{Name: "fragment", Rules: []Rule{
				{THFirstByte.AtLeast(Byte(0)), Return},
				{Counter, Drop, Comment("transport header hidden in a later fragment")},
			}},
		},
	}
}

var (
	loopback  = Addr(netip.MustParseAddr("127.0.0.0"))
	linkLocal = Addr(netip.MustParseAddr("fe80::"))
	broadcast = Addr(netip.MustParseAddr("255.255.255.255"))
	groupBit  = MAC([6]byte{1})
)
