package nft

import "net/netip"

// Family is an nf_tables family (NFPROTO_*).
type Family uint8

// The families that we use.
const (
	IPv4   Family = 2
	IPv6   Family = 10
	Inet   Family = 1
	Bridge Family = 7
)

// TableID names a table.
type TableID struct {
	Family Family
	Name   string
}

// SetID names a set or a map.
type SetID struct {
	Table TableID
	Name  string
}

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
