package nft

import (
	"encoding/binary"
	"net/netip"
)

// MaxValue is the room for a value, in bytes: the longest key of ours is a concatenation of 40.
const MaxValue = 40

// Value is the bytes of a key or of a map's data, as the kernel holds them. In a concatenation each field is padded
// to four bytes. The zero Value is none. Values compare with ==.
type Value struct {
	n uint8
	b [MaxValue]byte
}

// Len is the length in bytes; 0 for the zero Value.
func (v *Value) Len() int { return int(v.n) }

// Bytes are the value's bytes. They belong to v.
func (v *Value) Bytes() []byte { return v.b[:v.n] }

// Raw makes a value of bytes as they are; it panics when there are more than MaxValue.
func Raw(b []byte) Value {
	if len(b) > MaxValue {
		panic("nft: value longer than MaxValue")
	}
	v := Value{n: uint8(len(b))}
	copy(v.b[:], b)
	return v
}

// Name is an interface's name: 16 bytes, padded with zeros (IFNAMSIZ).
func Name(name string) Value {
	if len(name) > 15 {
		panic("nft: interface name longer than 15 bytes: " + name)
	}
	v := Value{n: 16}
	copy(v.b[:], name)
	return v
}

// Addr is an IPv4 (4 bytes) or IPv6 (16 bytes) address.
func Addr(a netip.Addr) Value {
	if a.Is4() {
		b := a.As4()
		v := Value{n: 4}
		copy(v.b[:], b[:])
		return v
	}
	b := a.As16()
	v := Value{n: 16}
	copy(v.b[:], b[:])
	return v
}

// MAC is an Ethernet address: 6 bytes.
func MAC(m [6]byte) Value {
	v := Value{n: 6}
	copy(v.b[:], m[:])
	return v
}

// Byte is one byte: a protocol number, a family, an ICMP type.
func Byte(p uint8) Value { return Value{n: 1, b: [MaxValue]byte{p}} }

// Port is a transport port, or another 16-bit number in network byte order.
func Port(p uint16) Value {
	v := Value{n: 2}
	binary.BigEndian.PutUint16(v.b[:], p)
	return v
}

// Mark is a firewall mark: 4 bytes in host byte order.
func Mark(m uint32) Value {
	v := Value{n: 4}
	binary.NativeEndian.PutUint32(v.b[:], m)
	return v
}

// Concat joins values: each field, the last one included, is padded to four bytes.
func Concat(fields ...Value) Value {
	var v Value
	for i := range fields {
		f := &fields[i]
		padded := (f.n + 3) &^ 3
		if int(v.n)+int(padded) > MaxValue {
			panic("nft: concatenation longer than MaxValue")
		}
		copy(v.b[v.n:], f.b[:f.n])
		v.n += padded
	}
	return v
}
