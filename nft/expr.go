package nft

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Ethertypes, which stand for network protocols.
const (
	etherIPv4 uint16 = unix.ETH_P_IP
	etherIPv6 uint16 = unix.ETH_P_IPV6
	etherARP  uint16 = unix.ETH_P_ARP
)

// fieldInfo describes a field once, for all who deal with it: how a rule loads it (encode, decode), what it is called (text)
// and where a Packet has it (Walk).
type fieldInfo struct {
	syntax string
	typ    Type
	// load reads the field into a register: an *expr.Meta, Ct, Payload, Exthdr or Fib without the register.
	load expr.Any
	// network is the network protocol that the packet must have, transport the protocol of its payload; 0: any. A rule asks
	// for them before it reads the field, and nft does not print that it does, but for fields with shown.
	network   uint16
	transport uint8
	// byMeta: in the bridge family nft asks meta protocol for network, and otherwise ether type.
	byMeta bool
	shown  bool
	// family is the only one whose rules have the field; 0: both have.
	family Family
	// hostOrder: a number in host byte order, which has to be swapped before it is looked up in an interval set.
	hostOrder bool
	// shift is where the field begins in what load reads, in bits from the right; what is to the right of it is masked.
	shift uint8
	// wide is how many bytes are compared where that is more than the field has: zeros follow it in the register.
	wide uint8
	// alone: nft does not join the comparison of this header field with that of the next one (see encoder.equal).
	alone bool
	find  func(p *Packet) (Value, bool)
}

// fields has an entry for every field.
var fields = [...]fieldInfo{
	fieldIIFName: {syntax: "iifname", typ: TypeIfName, load: meta(expr.MetaKeyIIFNAME), find: (*Packet).iifname},
	fieldOIFName: {syntax: "oifname", typ: TypeIfName, load: meta(expr.MetaKeyOIFNAME), find: (*Packet).oifname},
	fieldNFProto: {syntax: "meta nfproto", typ: TypeFamily, load: meta(expr.MetaKeyNFPROTO), family: Inet, hostOrder: true,
		find: (*Packet).nfproto},
	fieldL4Proto: {syntax: "meta l4proto", typ: TypeProto, load: meta(expr.MetaKeyL4PROTO), hostOrder: true,
		find: (*Packet).l4proto},
	fieldMark: {syntax: "meta mark", typ: TypeMark, load: meta(expr.MetaKeyMARK), hostOrder: true, find: (*Packet).mark},

	// Many kernels have no ct in the bridge family.
	fieldCTState: {syntax: "ct state", typ: typeCTState, load: &expr.Ct{Key: expr.CtKeySTATE}, family: Inet,
		find: (*Packet).ctState},
	fieldCTStatus: {syntax: "ct status", typ: typeCTStatus, load: &expr.Ct{Key: expr.CtKeySTATUS}, family: Inet,
		find: (*Packet).ctStatus},

	fieldIPSAddr: {syntax: "ip saddr", typ: TypeIPv4, load: network(12, 4), network: etherIPv4, byMeta: true, alone: true,
		find: (*Packet).saddr},
	fieldIPDAddr: {syntax: "ip daddr", typ: TypeIPv4, load: network(16, 4), network: etherIPv4, byMeta: true, alone: true,
		find: (*Packet).daddr},
	fieldIP6SAddr: {syntax: "ip6 saddr", typ: TypeIPv6, load: network(8, 16), network: etherIPv6, byMeta: true, alone: true,
		find: (*Packet).saddr},
	fieldIP6DAddr: {syntax: "ip6 daddr", typ: TypeIPv6, load: network(24, 16), network: etherIPv6, byMeta: true, alone: true,
		find: (*Packet).daddr},

	fieldTHDPort:  {syntax: "th dport", typ: TypePort, load: transport(2, 2), alone: true, find: (*Packet).dport},
	fieldUDPSPort: {syntax: "udp sport", typ: TypePort, load: transport(0, 2), transport: unix.IPPROTO_UDP, find: (*Packet).sport},
	fieldUDPDPort: {syntax: "udp dport", typ: TypePort, load: transport(2, 2), transport: unix.IPPROTO_UDP, find: (*Packet).dport},
	fieldICMPType: {syntax: "icmp type", typ: typeICMPType, load: transport(0, 1), network: etherIPv4,
		transport: unix.IPPROTO_ICMP, find: (*Packet).thFirstByte},
	fieldICMP6Type: {syntax: "icmpv6 type", typ: typeICMP6Type, load: transport(0, 1), network: etherIPv6,
		transport: unix.IPPROTO_ICMPV6, find: (*Packet).thFirstByte},
	fieldIGMPType: {syntax: "igmp type", typ: typeIGMPType, load: transport(0, 1), network: etherIPv4,
		transport: unix.IPPROTO_IGMP, shown: true, find: (*Packet).thFirstByte},

	fieldEtherSAddr: {syntax: "ether saddr", typ: TypeEther, load: link(6, 6), family: Bridge, find: (*Packet).etherSAddr},
	fieldEtherDAddr: {syntax: "ether daddr", typ: TypeEther, load: link(0, 6), family: Bridge, find: (*Packet).etherDAddr},
	fieldEtherType:  {syntax: "ether type", typ: typeEtherType, load: link(12, 2), family: Bridge, find: (*Packet).etherType},
	fieldARPOperation: {syntax: "arp operation", typ: typeARPOperation, load: network(6, 2), network: etherARP, family: Bridge,
		find: (*Packet).arpOperation},
	fieldARPSAddrEther: {syntax: "arp saddr ether", typ: TypeEther, load: network(8, 6), network: etherARP, family: Bridge,
		find: (*Packet).arpSAddrEther},
	fieldARPSAddrIP: {syntax: "arp saddr ip", typ: TypeIPv4, load: network(14, 4), network: etherARP, family: Bridge,
		find: (*Packet).arpSAddrIP},

	// The fragment header (44) has 13 bits of offset, 2 reserved, 1 more fragments.
	fieldFragOff: {syntax: "frag frag-off", typ: typeNumber, network: etherIPv6, shift: 3,
		load: &expr.Exthdr{Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6}, find: (*Packet).fragOff},
	fieldNDTarget:    {syntax: "@th,64,128", typ: TypeTarget, load: transport(8, 16), alone: true, find: (*Packet).ndTarget},
	fieldTHFirstByte: {syntax: "@th,0,8", typ: typeInteger, load: transport(0, 1), alone: true, find: (*Packet).thFirstByte},

	fieldFIBDAddrType: {syntax: "fib daddr type", typ: typeFIBAddrType, family: Inet,
		load: &expr.Fib{FlagDADDR: true, ResultADDRTYPE: true}, find: (*Packet).fibDAddrType},
	fieldFIBDAddrIIFType: {syntax: "fib daddr . iif type", typ: typeFIBAddrType, family: Inet,
		load: &expr.Fib{FlagDADDR: true, FlagIIF: true, ResultADDRTYPE: true}, find: (*Packet).fibDAddrIIFType},
	fieldFIBSAddrIIFOIF: {syntax: "fib saddr . iif oif", typ: typeMissing, family: Inet, wide: 4,
		load: &expr.Fib{FlagSADDR: true, FlagIIF: true, FlagPRESENT: true, ResultOIF: true}, find: (*Packet).fibSAddrIIFOIF},
}

func (f field) info() *fieldInfo { return &fields[f] }

// len is the field's length in bytes.
func (f *fieldInfo) len() uint8 {
	if n := f.typ.info().len; n != 0 {
		return n
	}
	switch l := f.load.(type) {
	case *expr.Payload:
		return uint8(l.Len)
	case *expr.Exthdr:
		return uint8(l.Len)
	}
	return 0
}

// flags tells whether the field's bits are flags.
func (f *fieldInfo) flags() bool { return f.typ == typeCTState || f.typ == typeCTStatus }

// payload is the field's place in a header; nil when it is in none.
func (f *fieldInfo) payload() *expr.Payload {
	p, _ := f.load.(*expr.Payload)
	return p
}

// into is the expression that loads the field into a register.
func (f *fieldInfo) into(register uint32) expr.Any {
	switch l := f.load.(type) {
	case *expr.Meta:
		c := *l
		c.Register = register
		return &c
	case *expr.Ct:
		c := *l
		c.Register = register
		return &c
	case *expr.Payload:
		c := *l
		c.DestRegister = register
		return &c
	case *expr.Exthdr:
		c := *l
		c.DestRegister = register
		return &c
	case *expr.Fib:
		c := *l
		c.Register = register
		return &c
	}
	panic("nft: field without a way to load it: " + f.syntax)
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key} }

func link(offset, length uint32) expr.Any {
	return &expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: offset, Len: length}
}

func network(offset, length uint32) expr.Any {
	return &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func transport(offset, length uint32) expr.Any {
	return &expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
}

// register is the register at a 4-byte word of the register file that nft fills from the front. Each four words are one
// 16-byte register (NFT_REG_1 …), and the kernel calls a word by that name where one begins.
func register(word int) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + uint32(word/4)
	}
	return unix.NFT_REG32_00 + uint32(word)
}

// words is how many registers of 4 bytes a value of n bytes fills.
func words(n uint8) int { return int(n+3) / 4 }
