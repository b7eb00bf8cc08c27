package test

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Frames, built from the inside out: what an attacker with root in its namespace writes to its interface.

// mac is an Ethernet address; mustMAC reads one.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

func mustMAC(s string) (m mac) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	copy(m[:], hw)
	return m
}

var broadcast = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Ethernet types.
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeVLAN = 0x8100
	typeIPv6 = 0x86dd
)

// IP protocols.
const (
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoFragment = 44
	protoICMPv6   = 58
	protoDestOpts = 60
)

func ethernet(src, dst mac, kind uint16, payload []byte) []byte {
	f := append(append([]byte{}, dst[:]...), src[:]...)
	f = binary.BigEndian.AppendUint16(f, kind)
	f = append(f, payload...)
	for len(f) < 60 {
		f = append(f, 0)
	}
	return f
}

// vlan is the payload of a tagged frame.
func vlan(id, kind uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, payload...)
}

// typeOf is the Ethernet type for an address.
func typeOf(a netip.Addr) uint16 {
	if a.Is4() {
		return typeIPv4
	}
	return typeIPv6
}

// packet is an IPv4 or IPv6 packet, as the addresses are.
func packet(src, dst netip.Addr, proto byte, payload []byte) []byte {
	var b []byte
	if src.Is4() {
		b = make([]byte, 20, 20+len(payload))
		b[0], b[8], b[9] = 0x45, 255, proto
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[10:], checksum(b))
	} else {
		b = make([]byte, 40, 40+len(payload))
		b[0], b[6], b[7] = 0x60, proto, 255
		binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
	}
	return append(b, payload...)
}

// udp is a packet with a datagram in it.
func udp(src, dst netip.AddrPort, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b[0:], src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[6:], transportChecksum(src.Addr(), dst.Addr(), protoUDP, b))
	return b
}

// tcp is a segment with these flags; a SYN may carry data.
func tcp(src, dst netip.AddrPort, flags byte, payload string) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b[0:], src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint32(b[4:], 0x01020304)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 0xffff)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[16:], transportChecksum(src.Addr(), dst.Addr(), protoTCP, b))
	return b
}

// TCP flags.
const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// icmp4 is an ICMP message: type, code, and what follows the checksum.
func icmp4(kind, code byte, body []byte) []byte {
	b := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// icmp6 is an ICMPv6 message between two addresses.
func icmp6(src, dst netip.Addr, kind, code byte, body []byte) []byte {
	b := append([]byte{kind, code, 0, 0}, body...)
	binary.BigEndian.PutUint16(b[2:], transportChecksum(src, dst, protoICMPv6, b))
	return b
}

// neighbour is the body of a neighbour solicitation or advertisement, with a link-layer option and a mark.
func neighbour(flags byte, target netip.Addr, option byte, lladdr mac, mark string) []byte {
	b := append([]byte{flags, 0, 0, 0}, target.AsSlice()...)
	if option != 0 {
		b = append(append(b, option, 1), lladdr[:]...)
	}
	return append(b, markOption(mark)...)
}

// markOption is a mark as an option of neighbour discovery that everybody ignores (RFC 4727: 253 is for experiments).
func markOption(mark string) []byte {
	n := (2 + len(mark) + 7) / 8
	b := append([]byte{253, byte(n)}, mark...)
	return append(b, make([]byte, n*8-len(b))...)
}

// Types of ICMPv6 messages.
const (
	mldQuery    = 130
	routerAd    = 134
	neighbourNS = 135
	neighbourNA = 136
	redirect6   = 137
)

// arp is a packet that asks or answers for IPv4 addresses. Behind it stands a mark, as padding.
func arp(op uint16, senderMAC mac, sender netip.Addr, targetMAC mac, target netip.Addr, mark string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, byte(op)}
	b = append(append(b, senderMAC[:]...), sender.AsSlice()...)
	b = append(append(b, targetMAC[:]...), target.AsSlice()...)
	return append(b, mark...)
}

// extension is an IPv6 extension header, hop-by-hop or destination options, with nothing but padding that holds a text.
func extension(next byte, text string) []byte {
	const padN = 1
	b := append([]byte{next, 0, padN, byte(len(text))}, text...)
	for len(b)%8 != 0 {
		b = append(b, 0)
		b[3]++
	}
	b[1] = byte(len(b)/8 - 1)
	return b
}

// fragment is one fragment; offset is in bytes.
func fragment(next byte, id uint32, offset int, more bool, payload []byte) []byte {
	at := uint16(offset)
	if more {
		at |= 1
	}
	b := binary.BigEndian.AppendUint16([]byte{next, 0}, at)
	b = binary.BigEndian.AppendUint32(b, id)
	return append(b, payload...)
}

// linkLocal is the EUI-64 link-local address of a MAC.
func linkLocal(m mac) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// group is the MAC of an IPv6 multicast address.
func group(a netip.Addr) mac {
	b := a.As16()
	return mac{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// checksum is the Internet checksum (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func transportChecksum(src, dst netip.Addr, proto byte, b []byte) uint16 {
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b)))
	pseudo = append(pseudo, 0, 0, 0, proto)
	if sum := checksum(pseudo, b); sum != 0 || proto != protoUDP {
		return sum
	}
	return 0xffff
}
