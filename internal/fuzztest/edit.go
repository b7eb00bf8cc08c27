// Package fuzztest edits netlink messages for fuzz targets: bytes that are changed at random seldom make a message whose lengths fit.
package fuzztest

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// attribute is one in a message, with others inside when it is nested.
type attribute struct {
	kind   uint16 // with its flags
	value  []byte // of one that is not nested
	inside []*attribute
	nested bool
}

// editSize is how many bytes make one edit.
const editSize = 4

// Edit changes attributes, at whatever depth, and gives them lengths that fit again. Each four bytes of edits are one: which attribute, what to do
// with it (delete it, double it, cut it, lengthen it, change a byte, change its kind), and an argument.
func Edit(attributes, edits []byte) []byte {
	root := &attribute{nested: true, inside: parse(attributes)}
	for ; len(edits) >= editSize; edits = edits[editSize:] {
		places := root.places(nil)
		if len(places) == 0 {
			break
		}
		p := places[int(binary.LittleEndian.Uint16(edits))%len(places)]
		p.edit(edits[2], edits[3])
	}
	return root.encode(nil)
}

// parse reads attributes; what follows the last that is whole is lost.
func parse(b []byte) (list []*attribute) {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			break
		}
		a := &attribute{kind: binary.NativeEndian.Uint16(b[2:])}
		if a.nested = a.kind&unix.NLA_F_NESTED != 0; a.nested {
			a.inside = parse(b[unix.SizeofNlAttr:size])
		} else {
			a.value = slices.Clone(b[unix.SizeofNlAttr:size])
		}
		list = append(list, a)
		b = b[min(len(b), (size+3)&^3):]
	}
	return list
}

// place is where an attribute is.
type place struct {
	in *attribute
	at int
}

// places are those of all attributes in a, in order.
func (a *attribute) places(all []place) []place {
	for i, inner := range a.inside {
		all = inner.places(append(all, place{a, i}))
	}
	return all
}

func (p place) edit(what, argument uint8) {
	a := p.in.inside[p.at]
	n := int(argument)
	switch what % 6 {
	case 0:
		p.in.inside = slices.Delete(p.in.inside, p.at, p.at+1)
	case 1:
		p.in.inside = slices.Insert(p.in.inside, p.at, a.clone())
	case 2:
		if a.nested {
			a.inside = a.inside[:n%(len(a.inside)+1)]
		} else {
			a.value = a.value[:n%(len(a.value)+1)]
		}
	case 3:
		a.value = append(a.value, make([]byte, n%32)...)
	case 4:
		if len(a.value) > 0 {
			a.value[n%len(a.value)] += uint8(1 + n/len(a.value))
		}
	case 5:
		a.kind = a.kind&^0xff | uint16(argument)
	}
}

func (a *attribute) clone() *attribute {
	c := *a
	c.value, c.inside = slices.Clone(a.value), make([]*attribute, len(a.inside))
	for i := range a.inside {
		c.inside[i] = a.inside[i].clone()
	}
	return &c
}

// encode appends what is inside. An attribute that has become longer than its length can say is left out.
func (a *attribute) encode(b []byte) []byte {
	for _, inner := range a.inside {
		value := inner.value
		if inner.nested {
			value = inner.encode(nil)
		}
		if len(value) > 0xffff-unix.SizeofNlAttr {
			continue
		}
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
		b = binary.NativeEndian.AppendUint16(b, inner.kind)
		b = append(b, value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}
