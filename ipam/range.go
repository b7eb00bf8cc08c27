package ipam

import (
	"net/netip"
	"slices"
)

// Range is the addresses from First to Last, both included. In a [Config] a zero Addr is the first or last address of the subnet that a
// host can have.
type Range struct{ First, Last netip.Addr }

// String is as in "10.0.0.10-10.0.0.20".
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// Contains reports whether a is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.Is4() == r.First.Is4() && a.Compare(r.First) >= 0 && a.Compare(r.Last) <= 0
}

// size is the number of addresses; from 2⁶² on it is 2⁶², more than can ever be in use.
func (r Range) size() uint64 {
	first, last := r.First.As16(), r.Last.As16()
	var n uint64
	borrow := 0
	for i := len(first) - 1; i >= 0; i-- {
		d := int(last[i]) - int(first[i]) - borrow
		if borrow = 0; d < 0 {
			d, borrow = d+256, 1
		}
		if at := len(first) - 1 - i; at < 8 {
			n |= uint64(d) << (8 * at)
		} else if d > 0 {
			return 1 << 62
		}
	}
	return min(n, 1<<62-1) + 1
}

// ranges are the parts of the (masked and checked) configuration that addresses are chosen from.
func (c Config) ranges() []Range {
	if len(c.Ranges) == 0 {
		return []Range{{c.Range.Addr(), last(c.Range)}}
	}
	all := make([]Range, len(c.Ranges))
	for i, r := range c.Ranges {
		all[i] = c.complete(r)
	}
	return all
}

// complete sets what the zero values of a range stand for.
func (c Config) complete(r Range) Range {
	if !r.First.IsValid() {
		if r.First = c.Prefix.Addr(); c.special(r.First) != "" {
			r.First = r.First.Next()
		}
	}
	if !r.Last.IsValid() {
		if r.Last = last(c.Prefix); c.special(r.Last) != "" {
			r.Last = r.Last.Prev()
		}
	}
	return r
}

// checkRanges says what is wrong with the ranges.
func (c Config) checkRanges() error {
	if len(c.Ranges) == 0 {
		return nil
	}
	all := c.ranges()
	for i, r := range all {
		switch {
		case !c.Prefix.Contains(r.First), !c.Prefix.Contains(r.Last):
			return errorf(ErrConfig, "range %s is outside the subnet %s", r, c.Prefix)
		case r.Last.Less(r.First):
			return errorf(ErrConfig, "range %s ends before it begins", r)
		}
		for _, other := range all[:i] {
			if r.Contains(other.First) || other.Contains(r.First) {
				return errorf(ErrConfig, "ranges %s and %s overlap", other, r)
			}
		}
	}
	return nil
}

// Chooses reports whether [Pool.Take] may come to a, of a configuration that [New] takes.
func (c Config) Chooses(a netip.Addr) bool {
	return slices.ContainsFunc(c.masked().ranges(), func(r Range) bool { return r.Contains(a) })
}
