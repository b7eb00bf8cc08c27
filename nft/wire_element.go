package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// elements appends the messages that add or delete elements of one set: as many as their attributes' 16-bit lengths need. It does
// not allocate once b's memory has grown.
//
//	NFTA_SET_ELEM_LIST_TABLE  "bridged\0"
//	NFTA_SET_ELEM_LIST_SET    "publish4any\0"
//	NFTA_SET_ELEM_LIST_ELEMENTS
//	    NFTA_LIST_ELEM
//	        NFTA_SET_ELEM_KEY      NFTA_DATA_VALUE …
//	        NFTA_SET_ELEM_KEY_END  NFTA_DATA_VALUE …   concatenations with intervals
//	        NFTA_SET_ELEM_DATA     NFTA_DATA_VALUE …   maps
//	        NFTA_SET_ELEM_FLAGS    INTERVAL_END        the element after an interval of one field
func (b *batch) elements(tx int, g *group, del bool) error {
	typ, flags := uint16(unix.NFT_MSG_NEWSETELEM), uint16(createFlags)
	if del {
		typ, flags = unix.NFT_MSG_DELSETELEM, writeFlags
	}
	for i := 0; i < len(g.elements); {
		b.message(typ, flags, message{tx: tx, delete: del, table: g.id.Table, object: g.id.Name, set: g.set})
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, g.id.Table.Name)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, g.id.Name)
		list := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		first := i
		for i < len(g.elements) && len(b.buf)-list < maxNested {
			if err := b.element(g.set, &g.elements[i], del); err != nil {
				return fmt.Errorf("set %s %s: %w", g.id.Table, g.id.Name, err)
			}
			i++
		}
		b.messages[len(b.messages)-1].elements = g.elements[first:i]
		b.unnest(list)
		b.end()
	}
	return nil
}

var (
	errNoEnd      = errors.New("the set has intervals: an element needs an end")
	errUnknownSet = errors.New("an interval needs the declaration of its set: make the transaction with NewTx")
	errNoInterval = errors.New("the set has no intervals: an element has no end")
)

func (b *batch) element(s *Set, e *Element, del bool) error {
	switch {
	case e.End.n == 0 && s != nil && s.Interval:
		return errNoEnd
	case e.End.n != 0 && s == nil:
		return errUnknownSet
	case e.End.n != 0 && !s.Interval:
		return errNoInterval
	}
	if e.End.n == 0 {
		b.single(e, del)
		return nil
	}
	outer := b.nest(unix.NFTA_LIST_ELEM)
	b.value(unix.NFTA_SET_ELEM_KEY, e.Key.b[:e.Key.n])
	if s.concatenated() {
		b.value(elemKeyEnd, e.End.b[:e.End.n])
		b.data(e, del)
		b.unnest(outer)
		return nil
	}
	b.data(e, del)
	after, more := e.End.next()
	if !more {
		// nft shows an interval to the end of the address space by this mark (NFTNL_UDATA_SET_ELEM_FLAGS, F_INTERVAL_OPEN).
		if !del {
			b.bytes(unix.NFTA_SET_ELEM_USERDATA, udataIntervalOpen[:])
		}
		b.unnest(outer)
		return nil
	}
	b.unnest(outer)
	outer = b.nest(unix.NFTA_LIST_ELEM)
	b.value(unix.NFTA_SET_ELEM_KEY, after.b[:after.n])
	b.uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	b.unnest(outer)
	return nil
}

// single appends an element that is no interval. It is the hot path: what is written is copied whole and then cut to its length, without
// branches, which are foretold badly by a processor that was in the kernel just before.
func (b *batch) single(e *Element, del bool) {
	const attribute, most = unix.SizeofNlAttr, 5*unix.SizeofNlAttr + 2*MaxValue
	at := len(b.buf)
	b.buf = slices.Grow(b.buf, most)[:at+most]
	m := (*[most]byte)(b.buf[at:])
	key := putValue(m[attribute:], unix.NFTA_SET_ELEM_KEY, &e.Key)
	n := attribute + key
	if !del && e.Data.n > 0 {
		n += putValue(m[n:], unix.NFTA_SET_ELEM_DATA, &e.Data)
	}
	binary.NativeEndian.PutUint16(m[:], uint16(n))
	binary.NativeEndian.PutUint16(m[2:], unix.NFTA_LIST_ELEM|nested)
	b.buf = b.buf[:at+n]
}

// putValue is batch.value into memory that has room for the longest one; it returns the length. A Value is zero behind its end, which is the
// padding.
func putValue(m []byte, typ uint16, v *Value) (n int) {
	const attribute = unix.SizeofNlAttr
	w := (*[2*attribute + MaxValue]byte)(m)
	n = 2*attribute + (int(v.n)+3)&^3
	binary.NativeEndian.PutUint16(w[:], uint16(n))
	binary.NativeEndian.PutUint16(w[2:], typ|nested)
	binary.NativeEndian.PutUint16(w[4:], uint16(attribute+int(v.n)))
	binary.NativeEndian.PutUint16(w[6:], unix.NFTA_DATA_VALUE)
	*(*[MaxValue]byte)(w[8:]) = v.b
	return n
}

func (b *batch) data(e *Element, del bool) {
	if !del && e.Data.n > 0 {
		b.value(unix.NFTA_SET_ELEM_DATA, e.Data.b[:e.Data.n])
	}
}

// next is the value after v, as a big-endian number; more is false after the last.
func (v Value) next() (n Value, more bool) {
	for i := int(v.n) - 1; i >= 0; i-- {
		v.b[i]++
		if v.b[i] != 0 {
			return v, true
		}
	}
	return v, false
}

// previous is the value before v, as a big-endian number.
func (v Value) previous() Value {
	for i := int(v.n) - 1; i >= 0; i-- {
		v.b[i]--
		if v.b[i] != 0xff {
			break
		}
	}
	return v
}
