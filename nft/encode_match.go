package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables/expr"
)

// maxJoined is the most that one comparison can hold: a register.
const maxJoined = 16

// match lowers a match: load, then compare or look up.
func (e *encoder) match(m *Match) error {
	if m.Set != "" {
		return e.lookup(m)
	}
	f, err := e.single(m.Expr)
	if err != nil {
		return err
	}
	if err := m.check(f); err != nil {
		return err
	}
	if len(m.Values) > 1 {
		elements := make([]anonymousElement, len(m.Values))
		for i, v := range m.Values {
			elements[i].key = v
		}
		set, err := e.anonymousSet(f, elements, false)
		if err != nil {
			return err
		}
		if err := e.load(m.Expr, nil); err != nil {
			return err
		}
		e.emit(&expr.Lookup{SourceRegister: register(0), SetName: set.name, SetID: set.id, Invert: m.Not})
		return e.says(m.Expr.fields[0], m.Values)
	}
	if m.plain() && !m.Not {
		return e.is(m.Expr.fields[0], &m.Values[0])
	}
	return e.compare(m, f)
}

// lookup matches against a named set.
func (e *encoder) lookup(m *Match) error {
	if len(m.Values) > 0 || !m.plain() {
		return errors.New("a match has a set or values, not both")
	}
	set := e.table.set(m.Set)
	if set == nil || set.IsMap() {
		return fmt.Errorf("table %s has no set %q", e.table.ID, m.Set)
	}
	if err := e.load(m.Expr, set); err != nil {
		return err
	}
	e.emit(&expr.Lookup{SourceRegister: register(0), SetName: m.Set, Invert: m.Not})
	return nil
}

// plain tells whether the match compares the whole value for equality.
func (m *Match) plain() bool {
	return m.Mask == Value{} && !m.Flags && !m.AtLeast && m.Bits == 0 && !m.NamePrefix
}

// check refuses what a field cannot be asked.
func (m *Match) check(f *fieldInfo) error {
	kinds := 0
	for _, is := range []bool{m.Mask != Value{}, m.Flags, m.AtLeast, m.Bits != 0, m.NamePrefix} {
		if is {
			kinds++
		}
	}
	address := f.typ == TypeIPv4 || f.typ == TypeIPv6
	switch {
	case len(m.Values) == 0:
		return fmt.Errorf("%s: neither set nor values", f.syntax)
	case kinds > 1 || kinds == 1 && len(m.Values) > 1:
		return fmt.Errorf("%s: one value and one kind of comparison", f.syntax)
	case f.flags() != m.Flags:
		return fmt.Errorf("%s: flags, and nothing else, are matched by Any and None", f.syntax)
	case m.Mask != Value{} && (f.typ != TypeEther || m.Mask.Len() != int(f.len())):
		return fmt.Errorf("%s: no mask of %d bytes", f.syntax, m.Mask.Len())
	case m.AtLeast && (m.Not || f.typ != TypePort && f.typ != typeInteger && !address):
		return fmt.Errorf("%s: cannot be compared by size", f.syntax)
	case m.Bits != 0 && (!address || m.Bits < 0 || m.Bits >= 8*int(f.len())):
		return fmt.Errorf("%s: no prefix of %d bits", f.syntax, m.Bits)
	case m.NamePrefix && f.typ != TypeIfName, m.NamePrefix && (m.Values[0].Len() == 0 || m.Values[0].Len() > 14):
		return fmt.Errorf("%s: no beginning of a name", f.syntax)
	case m.NamePrefix:
		return nil
	}
	return f.check(&m.Values[0])
}

// check refuses values that a field cannot have.
func (f *fieldInfo) check(v *Value) error {
	if v.Len() != int(f.len()) {
		return fmt.Errorf("%s: %d bytes instead of %d", f.syntax, v.Len(), f.len())
	}
	if f.shift != 0 && v.Bytes()[0]>>(8-f.shift) != 0 {
		return fmt.Errorf("%s: more than %d bits", f.syntax, 8*f.len()-f.shift)
	}
	return nil
}

// is compares a field for equality. Fields that are neighbours in a header are compared at once, as nft does it (the rule's
// implied question for the ether type too). nft would move a neighbour over other statements: that is refused.
func (e *encoder) is(of field, v *Value) error {
	f := of.info()
	if err := e.need(f); err != nil {
		return err
	}
	if err := e.says(of, []Value{*v}); err != nil {
		return err
	}
	if joined, err := e.join(f, expr.CmpOpEq, v); err != nil || joined {
		return err
	}
	e.emit(f.into(register(0)))
	e.cmp(f, expr.CmpOpEq, f.data(v))
	return nil
}

// join appends to the comparison of a neighbour, if there is one. What is compared but for equality must not be joined, though
// nft 1.0.6 does it: not (a and b) is something else than not a and not b.
func (e *encoder) join(f *fieldInfo, op expr.CmpOp, v *Value) (bool, error) {
	p := f.payload()
	if p == nil || f.alone {
		return false, nil
	}
	for i := range e.compared {
		c := &e.compared[i]
		if c.op != op || c.base != p.Base || c.end != p.Offset && c.start != p.Offset+p.Len || c.end-c.start+p.Len > maxJoined {
			continue
		}
		if op != expr.CmpOpEq {
			return false, fmt.Errorf("%s and its neighbour in the header: nft would join the comparisons into another one", f.syntax)
		}
		if c.end != p.Offset || c.at != len(e.out.exprs)-2 {
			return false, fmt.Errorf("%s must stand beside its neighbour in the header, in the header's order", f.syntax)
		}
		load, cmp := e.out.exprs[c.at].(*expr.Payload), e.out.exprs[c.at+1].(*expr.Cmp)
		load.Len += p.Len
		cmp.Data = append(cmp.Data, v.Bytes()...)
		c.end += p.Len
		return true, nil
	}
	e.compared = append(e.compared,
		comparison{op: op, base: p.Base, start: p.Offset, end: p.Offset + p.Len, at: len(e.out.exprs)})
	return false, nil
}

// compare lowers every other comparison with one value.
func (e *encoder) compare(m *Match, f *fieldInfo) error {
	if err := e.need(f); err != nil {
		return err
	}
	op, v := expr.CmpOpEq, &m.Values[0]
	if m.Not {
		op = expr.CmpOpNeq
	}
	load := f.into(register(0))
	switch {
	case m.Flags: // any bit set: the bits are not all 0
		op = expr.CmpOpNeq
		if m.Not {
			op = expr.CmpOpEq
		}
		e.emit(load, mask(v.Bytes()))
		e.cmp(nil, op, make([]byte, v.Len()))
		return nil
	case m.AtLeast:
		op = expr.CmpOpGte
	case m.Mask != Value{}:
		e.emit(load, mask(m.Mask.Bytes()))
		e.cmp(nil, op, v.Bytes())
		return nil
	case m.Bits != 0 && m.Bits%8 == 0: // fewer bytes are loaded
		p := load.(*expr.Payload)
		p.Len = uint32(m.Bits / 8)
		e.emit(p)
		e.cmp(nil, op, v.Bytes()[:p.Len])
		return nil
	case m.Bits != 0:
		e.emit(load, mask(prefixMask(m.Bits, v.Len())))
		e.cmp(nil, op, v.Bytes())
		return nil
	}
	if _, err := e.join(f, op, v); err != nil {
		return err
	}
	e.emit(load)
	e.cmp(f, op, f.data(v))
	return nil
}

// cmp compares the first register; where the field is but a part of what was loaded (f is nil when it is known to be all), it is
// cut out before.
func (e *encoder) cmp(f *fieldInfo, op expr.CmpOp, data []byte) {
	if f != nil && f.shift != 0 {
		m := make([]byte, len(data))
		for i := range m {
			m[i] = 0xff
		}
		m[len(m)-1] <<= f.shift
		e.emit(mask(m))
	}
	e.emit(&expr.Cmp{Op: op, Register: register(0), Data: append([]byte(nil), data...)})
}

// data are the bytes of a value as the register has them once the field is loaded.
func (f *fieldInfo) data(v *Value) []byte {
	b := append([]byte(nil), v.Bytes()...)
	for len(b) < int(f.wide) {
		b = append(b, 0)
	}
	if f.shift == 0 {
		return b
	}
	for i := range b {
		b[i] <<= f.shift
		if i+1 < len(b) {
			b[i] |= b[i+1] >> (8 - f.shift)
		}
	}
	return b
}

func mask(m []byte) *expr.Bitwise {
	return &expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: uint32(len(m)),
		Mask: append([]byte(nil), m...), Xor: make([]byte, len(m))}
}

func prefixMask(bits, length int) []byte {
	m := make([]byte, length)
	for bit := range bits {
		m[bit/8] |= 0x80 >> (bit % 8)
	}
	return m
}

// load loads the fields of x side by side, as keys of a set, which is nil when it is anonymous.
func (e *encoder) load(x Expr, set *Set) error {
	if len(x.fields) == 0 {
		return errors.New("an expression without fields")
	}
	if set != nil {
		if err := set.takes(x); err != nil {
			return err
		}
	}
	for _, of := range x.fields {
		if of.info().shift != 0 {
			return fmt.Errorf("%s: cannot be looked up", of.info().syntax)
		}
		if err := e.need(of.info()); err != nil {
			return err
		}
	}
	word := 0
	for _, of := range x.fields {
		f := of.info()
		e.emit(f.into(register(word)))
		if set != nil && set.Interval && f.hostOrder {
			e.swap(f, register(word), len(x.fields) > 1)
		}
		word += words(f.len())
	}
	return nil
}

// swap turns a number into network order, by which interval sets are sorted. In a concatenation nft swaps single bytes too, in
// words of two of which there is none: it does nothing, and is here to be the same.
func (e *encoder) swap(f *fieldInfo, register uint32, concatenated bool) {
	swap := &expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: uint32(f.len()), Size: 4}
	if f.len() == 1 {
		if !concatenated {
			return
		}
		swap.Size = 2
	}
	e.emit(swap)
}

// takes refuses an expression whose types are not those of the set's keys.
func (s *Set) takes(x Expr) error {
	ok := len(x.fields) == len(s.Key)
	for i := 0; ok && i < len(s.Key); i++ {
		ok = x.fields[i].info().typ == s.Key[i]
	}
	if !ok {
		return fmt.Errorf("%s is no key of %q, whose type is %s", x, s.Name, typesText(s.Key))
	}
	return nil
}

// single is the only field of x.
func (e *encoder) single(x Expr) (*fieldInfo, error) {
	if len(x.fields) != 1 {
		return nil, fmt.Errorf("%s: only named sets have concatenated keys", x)
	}
	return x.fields[0].info(), nil
}
