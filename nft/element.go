package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Family is an nf_tables family (NFPROTO_*).
type Family uint8

// The families that we use.
const (
	IPv4   Family = 2
	IPv6   Family = 10
	Inet   Family = 1
	Bridge Family = 7
)

// String is the family's name in nft syntax.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "ip"
	case IPv6:
		return "ip6"
	case Inet:
		return "inet"
	case Bridge:
		return "bridge"
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// TableID names a table.
type TableID struct {
	Family Family
	Name   string
}

// String reads "inet bridged".
func (id TableID) String() string { return id.Family.String() + " " + id.Name }

// SetID names a set or a map.
type SetID struct {
	Table TableID
	Name  string
}

// String reads "inet bridged publish4".
func (id SetID) String() string { return id.Table.String() + " " + id.Name }

// Element is one element of a set or a map. Elements compare with ==.
type Element struct {
	Set SetID
	Key Value
	// End is the last value of an interval, included; the zero Value where the set has no intervals.
	End Value
	// Data is what a map gives for Key; the zero Value in a set.
	Data Value
}

// Prefix returns first and last address of p, the Key and End of an interval.
func Prefix(p netip.Prefix) (first, last Value) {
	p = p.Masked()
	first = Addr(p.Addr())
	last = first
	for bit := p.Bits(); bit < p.Addr().BitLen(); bit++ {
		last.b[bit/8] |= 0x80 >> (bit % 8)
	}
	return first, last
}

// Marks returns the Key and End of an interval of firewall marks, last included. In network byte order, unlike what [Mark] makes for
// other sets: the kernel sorts intervals by their bytes.
func Marks(first, last uint32) (key, end Value) {
	key.n, end.n = 4, 4
	binary.BigEndian.PutUint32(key.b[:], first)
	binary.BigEndian.PutUint32(end.b[:], last)
	return key, end
}
