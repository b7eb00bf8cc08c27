package hostcheck

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/ordered"
)

// setInfo is what a set is like.
type setInfo struct {
	// named: it may change without the rule, and be large.
	named, interval bool
}

// setKey is an element.
type setKey struct {
	value []byte
	// end: in an interval set, value is the first one after an interval.
	end bool
	// verdict and chain are of a map of verdicts.
	verdict Verdict
	chain   string
}

// lookup is a match with a set, or a verdict out of a map. Sets are read when they say something about interfaces, or belong to
// the rule; others may be large, and change.
func (d *decoder) lookup(l *expr.Lookup) error {
	loaded := d.registers[l.SourceRegister]
	set, known := d.sets[l.SetName]
	switch {
	case !known || loaded.field == Other || loaded.mask != nil:
		return d.unknownLookup(l)
	case set.named && loaded.field != IIFName && loaded.field != OIFName:
		return d.unknownLookup(l)
	case l.IsDestRegSet && l.DestRegister != unix.NFT_REG_VERDICT:
		return d.unknownLookup(l)
	}
	keys, err := d.elements(l.SetName)
	if err != nil {
		return err
	}
	values, ok := d.values(loaded, keys, set.interval)
	switch {
	case !ok:
		return d.unknownLookup(l)
	case l.IsDestRegSet:
		d.branch(loaded.field, keys, values)
	default:
		d.add(Match{Field: loaded.field, Not: l.Invert, Values: values})
	}
	return nil
}

// unknownLookup is a lookup of which nothing can be said. A map of verdicts may have any.
func (d *decoder) unknownLookup(l *expr.Lookup) error {
	switch {
	case !l.IsDestRegSet:
		d.other()
	case l.DestRegister == unix.NFT_REG_VERDICT:
		d.branches = append(d.branches, Rule{Matches: []Match{{}}, Verdict: Undecided})
	default:
		d.other()
		delete(d.registers, l.DestRegister)
	}
	return nil
}

// branch is a rule for each element of a map of verdicts.
func (d *decoder) branch(f Field, keys []setKey, values []string) {
	if d.branches == nil {
		d.branches = []Rule{} // a map without elements decides nothing
	}
	for i, v := range values {
		d.branches = append(d.branches, Rule{
			Matches: []Match{{Field: f, Values: []string{v}}},
			Verdict: keys[i].verdict, Chain: keys[i].chain,
		})
	}
}

// values are the keys of a set in nft's words, in their order; false when one of them can't be said.
func (d *decoder) values(l load, keys []setKey, interval bool) ([]string, bool) {
	if interval {
		return intervals(l, keys)
	}
	var values []string
	for _, k := range keys {
		if l.size != len(k.value) {
			return nil, false
		}
		v, ok := d.value(l, k.value)
		if !ok {
			return nil, false
		}
		values = append(values, v)
	}
	return values, true
}

// intervals are the ranges of an interval set of addresses, without those of verdicts.
func intervals(l load, keys []setKey) ([]string, bool) {
	if l.field != SAddr && l.field != DAddr {
		return nil, false
	}
	type bound struct {
		at  netip.Addr
		end bool
	}
	var bounds []bound
	for _, k := range keys {
		a, ok := netip.AddrFromSlice(k.value)
		if !ok || k.verdict != Continue {
			return nil, false
		}
		bounds = append(bounds, bound{a, k.end})
	}
	ordered.Sort(bounds, func(a, b bound) int {
		if c := a.at.Compare(b.at); c != 0 || a.end == b.end {
			return c
		}
		if a.end { // the one before ends where the next begins
			return -1
		}
		return 1
	})
	var values []string
	for i, b := range bounds {
		switch {
		case b.end:
		case i+1 < len(bounds) && bounds[i+1].end:
			values = append(values, b.at.String()+"-"+bounds[i+1].at.Prev().String())
		case i+1 == len(bounds): // to the last address that there is
			values = append(values, b.at.String()+"-"+spanOf(netip.PrefixFrom(b.at, 0)).last.String())
		default:
			return nil, false
		}
	}
	return values, true
}
