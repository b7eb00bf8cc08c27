package nft

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/ordered"
)

// elementAttributes are the parts of an element that we know.
type elementAttributes struct {
	key, end, data []byte
	verdict        Verdict
	intervalEnd    bool // it is the first value after an interval
	foreign        bool
}

// eachElement reads one message of an element list. What f gets is good until f returns.
func eachElement(attrs []byte, f func(*elementAttributes)) {
	var e elementAttributes
	var typ uint16
	var v, w []byte
	for list := attributes(find(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)); list.next(&typ, &v); {
		e = elementAttributes{}
		for a := attributes(v); a.next(&typ, &w); {
			switch typ {
			case unix.NFTA_SET_ELEM_KEY:
				e.key = find(w, unix.NFTA_DATA_VALUE)
			case elemKeyEnd:
				e.end = find(w, unix.NFTA_DATA_VALUE)
			case unix.NFTA_SET_ELEM_DATA:
				e.data = find(w, unix.NFTA_DATA_VALUE)
				e.verdict = decodeVerdict(find(w, unix.NFTA_DATA_VERDICT))
			case unix.NFTA_SET_ELEM_FLAGS:
				e.intervalEnd = bigEndian(w)&unix.NFT_SET_ELEM_INTERVAL_END != 0
			case unix.NFTA_SET_ELEM_TIMEOUT:
				e.foreign = true
			}
		}
		if len(e.key) == 0 || len(e.key) > MaxValue || len(e.end) > MaxValue || len(e.data) > MaxValue { // the catch-all has no key
			e.foreign = true
		}
		f(&e)
	}
}

func decodeVerdict(b []byte) Verdict {
	if b == nil {
		return Verdict{}
	}
	code := bigEndian(find(b, unix.NFTA_VERDICT_CODE))
	for kind := VerdictAccept; kind <= VerdictGoto; kind++ {
		if uint32(verdictKinds[kind]) == code {
			return Verdict{Kind: kind, Chain: cString(find(b, unix.NFTA_VERDICT_CHAIN))}
		}
	}
	return Verdict{}
}

// listElements calls f for each element of a set.
func (o *observation) listElements(set string, f func(*elementAttributes)) error {
	return o.dump(unix.NFT_MSG_GETSETELEM, func(b *batch) { b.str(unix.NFTA_SET_ELEM_LIST_SET, set) }, func(attrs []byte) error {
		eachElement(attrs, f)
		return nil
	})
}

// namedSet reads the elements of a named set.
func (o *observation) namedSet(s *Set) error {
	id := SetID{o.table.ID, s.Name}
	var bounds []bound
	err := o.listElements(s.Name, func(e *elementAttributes) {
		switch {
		case e.foreign || !s.fits(e):
			o.foreign("set %s: an element that no program of ours adds", s.Name)
		case s.Interval && !s.concatenated():
			bounds = append(bounds, bound{key: Raw(e.key), data: Raw(e.data), end: e.intervalEnd})
		default:
			n := Element{Set: id, Key: Raw(e.key), Data: Raw(e.data)}
			if s.Interval {
				n.End = n.Key
				if e.end != nil {
					n.End = Raw(e.end)
				}
			}
			o.elements.add(&n)
		}
	})
	if err != nil {
		return fmt.Errorf("set %s: %w", s.Name, err)
	}
	eachInterval(id, bounds, o.elements.add)
	return nil
}

// fits tells whether the element's values have the lengths of the set's types. The mark behind an interval has no data.
func (s *Set) fits(e *elementAttributes) bool {
	return len(e.key) == int(s.keyLen()) && (e.end == nil || s.concatenated() && len(e.end) == len(e.key)) &&
		(len(e.data) == int(s.dataLen()) || e.intervalEnd && len(e.data) == 0)
}

// bound is how the kernel holds an interval of one field: its first value, and the first value after it.
type bound struct {
	key, data Value
	end       bool
}

// eachInterval calls add with the elements that bounds, in whatever order they are, make. Intervals that touch have an end and a beginning of
// the same value. An interval without an end goes to the last value there is; an end without a beginning is what nft puts at 0.
func eachInterval(id SetID, bounds []bound, add func(*Element)) {
	ordered.Sort(bounds, func(a, b bound) int {
		if c := bytes.Compare(a.key.Bytes(), b.key.Bytes()); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	var open *bound
	for i := range bounds {
		b := &bounds[i]
		if open != nil && b.end {
			add(&Element{Set: id, Key: open.key, End: b.key.previous(), Data: open.data})
		}
		open = nil
		if !b.end {
			open = b
		}
	}
	if open != nil {
		last := open.key
		for i := range last.Bytes() {
			last.b[i] = 0xff
		}
		add(&Element{Set: id, Key: open.key, End: last, Data: open.data})
	}
}
