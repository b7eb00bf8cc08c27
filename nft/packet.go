package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Packet is a packet, or a frame, that [Ruleset.Walk] leads through the rules. What is left zero the packet does not have; a rule
// that looks for it does not match, as in the kernel.
type Packet struct {
	// IIFName and OIFName are the interfaces by which it comes and goes; "" where there is none yet or no more.
	IIFName, OIFName string

	// EtherSrc, EtherDst and EtherType are what the bridge family sees. EtherType 0 stands for the one of Src, or of ARP.
	EtherSrc, EtherDst [6]byte
	EtherType          uint16
	ARP                *ARP

	// Src and Dst are both IPv4 or both IPv6; invalid in a frame that is neither.
	Src, Dst netip.Addr
	// Protocol is the transport protocol, IPPROTO_*, after the extension headers.
	Protocol     uint8
	SPort, DPort uint16
	// ICMPType is the type of an ICMP, ICMPv6 or IGMP message, Target what a neighbour solicitation or advertisement is about.
	ICMPType uint8
	Target   netip.Addr
	// Fragment is the IPv6 fragment header, nil without one. Only the first fragment has a transport header.
	Fragment *Fragment

	Mark uint32
	// CTState is one of State…, 0 stands for StateNew; CTStatus are the bits Status….
	CTState, CTStatus uint32
	// FIB answers for the routing table; nil: no address is local, and every source is where its route leads.
	FIB FIB
}

// ARP is an ARP packet.
type ARP struct {
	Operation uint16 // 1 is a request, 2 a reply
	SrcEther  [6]byte
	Src       netip.Addr
}

// Fragment is where a fragment belongs.
type Fragment struct {
	Offset uint16 // in units of 8 bytes; 0 is the first
}

// FIB is what the rules ask of the routing table.
type FIB interface {
	// AddrType is the kind of an address, RTN_*: RTNLocal when it is the host's. With an interface that is not "", an address
	// on another interface is not local.
	AddrType(a netip.Addr, ifname string) uint32
	// Leads tells whether what is sent to a leaves by the interface.
	Leads(a netip.Addr, ifname string) bool
}

// headers of the packet

func (p *Packet) network() uint16 {
	switch {
	case p.EtherType != 0:
		return p.EtherType
	case p.ARP != nil:
		return etherARP
	case p.Src.Is4():
		return etherIPv4
	case p.Src.Is6():
		return etherIPv6
	}
	return 0
}

// transport is the protocol whose header can be read; false in later fragments too.
func (p *Packet) transport() (uint8, bool) {
	return p.Protocol, p.Protocol != 0 && (p.Fragment == nil || p.Fragment.Offset == 0)
}

func (p *Packet) hasPorts() bool {
	proto, ok := p.transport()
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDPLITE:
		return ok
	}
	return false
}

// what the fields find

func (p *Packet) iifname() (Value, bool) { return Name(p.IIFName), true }

func (p *Packet) oifname() (Value, bool) { return Name(p.OIFName), true }

func (p *Packet) nfproto() (Value, bool) {
	if p.Src.Is4() {
		return Byte(uint8(IPv4)), true
	}
	return Byte(uint8(IPv6)), p.Src.IsValid()
}

func (p *Packet) l4proto() (Value, bool) { return Byte(p.Protocol), p.Protocol != 0 }

func (p *Packet) mark() (Value, bool) { return Mark(p.Mark), true }

func (p *Packet) ctState() (Value, bool) { return Mark(p.CTState), true }

func (p *Packet) ctStatus() (Value, bool) { return Mark(p.CTStatus), p.CTState != StateInvalid }

func (p *Packet) saddr() (Value, bool) { return addrOf(p.Src) }

func (p *Packet) daddr() (Value, bool) { return addrOf(p.Dst) }

func (p *Packet) sport() (Value, bool) { return Port(p.SPort), p.hasPorts() }

func (p *Packet) dport() (Value, bool) { return Port(p.DPort), p.hasPorts() }

func (p *Packet) thFirstByte() (Value, bool) {
	if p.hasPorts() {
		return Byte(uint8(p.SPort >> 8)), true
	}
	_, ok := p.transport()
	return Byte(p.ICMPType), ok
}

func (p *Packet) ndTarget() (Value, bool) {
	v, ok := addrOf(p.Target)
	_, readable := p.transport()
	return v, ok && readable
}

func (p *Packet) etherSAddr() (Value, bool) { return MAC(p.EtherSrc), true }

func (p *Packet) etherDAddr() (Value, bool) { return MAC(p.EtherDst), true }

func (p *Packet) etherType() (Value, bool) { return Port(p.network()), true }

func (p *Packet) arpOperation() (Value, bool) {
	if p.ARP == nil {
		return Value{}, false
	}
	return Port(p.ARP.Operation), true
}

func (p *Packet) arpSAddrEther() (Value, bool) {
	if p.ARP == nil {
		return Value{}, false
	}
	return MAC(p.ARP.SrcEther), true
}

func (p *Packet) arpSAddrIP() (Value, bool) {
	if p.ARP == nil {
		return Value{}, false
	}
	return addrOf(p.ARP.Src)
}

func (p *Packet) fragOff() (Value, bool) {
	if p.Fragment == nil {
		return Value{}, false
	}
	return Port(p.Fragment.Offset), true
}

func (p *Packet) fibDAddrType() (Value, bool) { return Mark(p.addrType("")), p.Dst.IsValid() }

func (p *Packet) fibDAddrIIFType() (Value, bool) { return Mark(p.addrType(p.IIFName)), p.Dst.IsValid() }

func (p *Packet) fibSAddrIIFOIF() (Value, bool) {
	if p.FIB == nil || p.FIB.Leads(p.Src, p.IIFName) {
		return Byte(1), p.Src.IsValid()
	}
	return Byte(0), p.Src.IsValid()
}

func (p *Packet) addrType(ifname string) uint32 {
	if p.FIB == nil {
		return unix.RTN_UNICAST
	}
	return p.FIB.AddrType(p.Dst, ifname)
}

func addrOf(a netip.Addr) (Value, bool) {
	if !a.IsValid() {
		return Value{}, false
	}
	return Addr(a), true
}
