package nft

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// errNotOurs: a rule, or a part of one, that no program of ours has.
var errNotOurs = errors.New("not written by this program")

// decodeRule is the inverse of encodeRule: decoding what it encoded gives the same rule. t has its sets and chains; anonymous are the
// anonymous sets by name, with their elements in any order.
//
// A rule that encodeRule would not write like this comes with an error, as an Unknown and its comment.
func decodeRule(t *Table, exprs []expr.Any, userdata []byte, anonymous map[string]anonymousSet) (Rule, error) {
	d := decoder{table: t, exprs: exprs, anonymous: anonymous, saidNetwork: -1, saidTransport: -1}
	rule, err := d.decode()
	if comment, ok := commentOf(userdata); ok {
		rule = append(rule, comment)
	}
	if err == nil {
		err = t.wrote(rule, exprs, userdata)
	}
	if err == nil {
		return rule, nil
	}
	unknown := Rule{Unknown(exprsText(exprs))}
	if comment, ok := commentOf(userdata); ok {
		unknown = append(unknown, comment)
	}
	return unknown, fmt.Errorf("rule [%s]: %w", exprsText(exprs), err)
}

// wrote tells whether the rule, encoded, is what was read. So a decoder that understands too little, or too much, does no harm.
func (t *Table) wrote(r Rule, exprs []expr.Any, userdata []byte) error {
	encoded, err := encodeRule(t, r, 0)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(encoded.exprs, exprs, func(a, b expr.Any) bool { return reflect.DeepEqual(constant(a), constant(b)) })
	if !same || !bytes.Equal(encoded.userdata, userdata) {
		return errNotOurs
	}
	return nil
}

// constant is an expression without what the kernel changes in it: what was counted, the numbers of anonymous sets, and what follows
// from the rest.
func constant(e expr.Any) expr.Any {
	switch e := e.(type) {
	case *expr.Counter:
		return &expr.Counter{}
	case *expr.Lookup:
		c := *e
		c.SetID = 0
		if kind, ok := anonymousName(c.SetName); ok {
			c.SetName = kind
		}
		return &c
	case *expr.NAT:
		c := *e
		c.Specified = false
		if c.RegAddrMax == c.RegAddrMin {
			c.RegAddrMax = 0
		}
		if c.RegProtoMax == c.RegProtoMin {
			c.RegProtoMax = 0
		}
		return &c
	}
	return e
}

// anonymousName is the part of an anonymous set's name that is before its number.
func anonymousName(name string) (string, bool) {
	for _, kind := range []string{"__set", "__map"} {
		if strings.HasPrefix(name, kind) {
			return kind, true
		}
	}
	return "", false
}

// commentOf finds the comment in a rule's user data.
func commentOf(userdata []byte) (Comment, bool) {
	for len(userdata) >= 2 {
		typ, n := userdata[0], int(userdata[1])
		if n > len(userdata)-2 {
			break
		}
		if typ == udataRuleComment {
			return Comment(cString(userdata[2 : 2+n])), true
		}
		userdata = userdata[2+n:]
	}
	return "", false
}

// exprsText names the expressions.
func exprsText(exprs []expr.Any) string {
	names := make([]string, len(exprs))
	for i, e := range exprs {
		names[i] = strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr."))
	}
	return strings.Join(names, ", ")
}

// decoder reads one rule, front to back.
type decoder struct {
	table     *Table
	exprs     []expr.Any // what is left
	anonymous map[string]anonymousSet
	rule      Rule
	// network and transport are the protocols that the packet is known to have, as in encoder. The matches that said so are at
	// saidNetwork and saidTransport in the rule, -1 when there is none: they go when a field turns out to imply them.
	network                    uint16
	transport                  uint8
	saidNetwork, saidTransport int
}

func (d *decoder) decode() (Rule, error) {
	for len(d.exprs) > 0 {
		if err := d.statement(); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(d.rule, func(s Stmt) bool { return s == nil }), nil
}

func (d *decoder) add(s Stmt) { d.rule = append(d.rule, s) }

func (d *decoder) statement() error {
	switch e := d.exprs[0].(type) {
	case *expr.Counter:
		d.add(Counter)
	case *expr.Masq:
		d.add(Masquerade)
	case *expr.Verdict:
		v, err := verdictOf(e)
		if err != nil {
			return err
		}
		d.add(v)
	default:
		return d.match()
	}
	d.exprs = d.exprs[1:]
	return nil
}

func verdictOf(e *expr.Verdict) (Verdict, error) {
	for kind, code := range verdictKinds {
		if kind > 0 && code == e.Kind {
			return Verdict{Kind: VerdictKind(kind), Chain: e.Chain}, nil
		}
	}
	return Verdict{}, errNotOurs
}

// match reads what begins with loads: a comparison, a lookup, or a translation.
func (d *decoder) match() error {
	if m, ok := d.exprs[0].(*expr.Meta); ok && m.Key == expr.MetaKeyPROTOCOL && d.implied() {
		return nil
	}
	n := 0
	for n < len(d.exprs) && isLoad(d.exprs[n]) {
		n++
	}
	if n == 0 || n == len(d.exprs) {
		return errNotOurs
	}
	loads := d.exprs[:n]
	d.exprs = d.exprs[n:]
	switch e := d.exprs[0].(type) {
	case *expr.Lookup:
		d.exprs = d.exprs[1:]
		return d.lookup(loads, e)
	case *expr.Cmp:
		d.exprs = d.exprs[1:]
		return d.compare(loads[0], nil, e)
	case *expr.Bitwise:
		if len(d.exprs) > 1 {
			if cmp, ok := d.exprs[1].(*expr.Cmp); ok {
				d.exprs = d.exprs[2:]
				return d.compare(loads[0], e, cmp)
			}
		}
	}
	return errNotOurs
}

func isLoad(e expr.Any) bool {
	switch e.(type) {
	case *expr.Meta, *expr.Ct, *expr.Payload, *expr.Exthdr, *expr.Fib, *expr.Byteorder:
		return true
	}
	return false
}

// implied reads meta protocol, for which there is no expression of ours: a field that follows implies it.
func (d *decoder) implied() bool {
	if len(d.exprs) < 2 {
		return false
	}
	cmp, ok := d.exprs[1].(*expr.Cmp)
	if !ok || len(cmp.Data) != 2 {
		return false
	}
	d.network, d.saidNetwork = networkSaid(fieldEtherType, &Value{n: 2, b: [MaxValue]byte{cmp.Data[0], cmp.Data[1]}}), -1
	d.exprs = d.exprs[2:]
	return true
}

// lookup reads what follows the loads of a key.
func (d *decoder) lookup(loads []expr.Any, l *expr.Lookup) error {
	var x Expr
	for _, e := range loads {
		if _, ok := e.(*expr.Byteorder); ok {
			continue
		}
		of, ok := d.find(e)
		if !ok {
			return errNotOurs
		}
		x.fields = append(x.fields, of)
	}
	if _, ok := anonymousName(l.SetName); ok && d.table.set(l.SetName) == nil {
		return d.alternatives(x, l)
	}
	if !l.IsDestRegSet {
		d.add(Match{Expr: x, Set: l.SetName, Not: l.Invert})
		return nil
	}
	if len(d.exprs) == 0 {
		return errNotOurs
	}
	nat, ok := d.exprs[0].(*expr.NAT)
	if !ok {
		return errNotOurs
	}
	d.exprs = d.exprs[1:]
	d.add(Translate{Source: nat.Type == expr.NATTypeSourceNAT, Family: Family(nat.Family), Key: x, Map: l.SetName})
	return nil
}

// alternatives reads a lookup in an anonymous set.
func (d *decoder) alternatives(x Expr, l *expr.Lookup) error {
	elements := d.anonymous[l.SetName].elements
	if l.IsDestRegSet {
		entries := make([]VerdictMapEntry, len(elements))
		for i, e := range elements {
			entries[i] = VerdictMapEntry{Key: e.key, Verdict: e.verdict}
		}
		d.add(x.Verdicts(entries...))
		return nil
	}
	values := make([]Value, len(elements))
	for i, e := range elements {
		values[i] = e.key
	}
	m := x.Is(values...)
	m.Not = l.Invert
	d.add(m)
	return nil
}

// compare reads a comparison with one value, or with those of several neighbours in a header.
func (d *decoder) compare(load expr.Any, bitwise *expr.Bitwise, cmp *expr.Cmp) error {
	if len(cmp.Data) == 0 || len(cmp.Data) > MaxValue {
		return errNotOurs
	}
	of, ok := d.find(load)
	switch {
	case bitwise != nil && !ok:
		return errNotOurs
	case bitwise != nil:
		return d.masked(of, bitwise, cmp)
	case ok:
		d.whole(of, cmp)
		return nil
	}
	p, ok := load.(*expr.Payload)
	if !ok || int(p.Len) != len(cmp.Data) {
		return errNotOurs
	}
	if d.neighbours(p, cmp) || d.prefix(p, cmp) {
		return nil
	}
	return errNotOurs
}

// whole reads a comparison of all of a field.
func (d *decoder) whole(of field, cmp *expr.Cmp) {
	data := cmp.Data
	if of.info().wide != 0 {
		data = data[:min(len(data), int(of.info().len()))]
	}
	m := Match{Expr: single(of), Values: []Value{Raw(data)}, Not: cmp.Op == expr.CmpOpNeq, AtLeast: cmp.Op == expr.CmpOpGte}
	m.NamePrefix = of.info().typ == TypeIfName && len(cmp.Data) < int(of.info().len())
	if cmp.Op == expr.CmpOpEq && m.plain() {
		d.said(of, &m.Values[0])
	}
	d.add(m)
}

// masked reads a comparison of some of a field's bits.
func (d *decoder) masked(of field, bitwise *expr.Bitwise, cmp *expr.Cmp) error {
	f := of.info()
	m := Match{Expr: single(of), Not: cmp.Op == expr.CmpOpNeq}
	switch {
	case f.flags():
		m.Flags, m.Not = true, !m.Not
		m.Values = []Value{bounded(bitwise.Mask)}
	case f.shift != 0:
		m.Values = []Value{f.unshifted(cmp.Data)}
	case f.typ == TypeIPv4 || f.typ == TypeIPv6:
		for m.Bits = 1; m.Bits < 8*int(f.len()) && !bytes.Equal(prefixMask(m.Bits, int(f.len())), bitwise.Mask); {
			m.Bits++
		}
		m.Values = []Value{Raw(cmp.Data)}
	default:
		m.Mask, m.Values = bounded(bitwise.Mask), []Value{Raw(cmp.Data)}
	}
	d.add(m)
	return nil
}

// bounded is a value of bytes that may be too many: then they are no value of ours.
func bounded(b []byte) Value {
	if len(b) > MaxValue {
		return Value{}
	}
	return Raw(b)
}

// unshifted is the inverse of data.
func (f *fieldInfo) unshifted(b []byte) Value {
	b = slices.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		b[i] >>= f.shift
		if i > 0 {
			b[i] |= b[i-1] << (8 - f.shift)
		}
	}
	return Raw(b)
}

// neighbours reads a comparison of several fields at once.
func (d *decoder) neighbours(p *expr.Payload, cmp *expr.Cmp) bool {
	var found []field
	for at := uint32(0); at < p.Len; {
		of, ok := field(0), false
		for n := p.Len - at; n > 0 && !ok; n-- {
			of, ok = d.find(&expr.Payload{DestRegister: p.DestRegister, Base: p.Base, Offset: p.Offset + at, Len: n})
		}
		if !ok {
			return false
		}
		found = append(found, of)
		at += uint32(of.info().len())
	}
	data := cmp.Data
	for _, of := range found {
		n := of.info().len()
		v := Raw(data[:n])
		d.said(of, &v)
		d.add(Match{Expr: single(of), Values: []Value{v}})
		data = data[n:]
	}
	return true
}

// prefix reads a comparison of the first bytes of an address.
func (d *decoder) prefix(p *expr.Payload, cmp *expr.Cmp) bool {
	for _, n := range []uint32{4, 16} {
		whole := *p
		whole.Len = n
		of, ok := d.find(&whole)
		if !ok || p.Len >= n {
			continue
		}
		v := Raw(cmp.Data)
		v.n = uint8(n)
		d.add(Match{Expr: single(of), Values: []Value{v}, Bits: 8 * len(cmp.Data), Not: cmp.Op == expr.CmpOpNeq})
		return true
	}
	return false
}

// find is the field that a load reads, the most particular one where there are several: of ICMP rather than of any protocol. What
// it implies need not be said.
func (d *decoder) find(load expr.Any) (field, bool) {
	best := field(0)
	for i := range fields {
		of := field(i)
		f := of.info()
		if of == 0 || f.family != 0 && f.family != d.table.ID.Family || f.network != 0 && f.network != d.network ||
			f.transport != 0 && f.transport != d.transport {
			continue
		}
		if best != 0 && (f.transport == 0 || best.info().transport != 0) {
			continue
		}
		if reflect.DeepEqual(f.into(registerOf(load)), load) {
			best = of
		}
	}
	if best == 0 {
		return 0, false
	}
	f := best.info()
	if f.network != 0 && d.saidNetwork >= 0 {
		d.rule[d.saidNetwork], d.saidNetwork = nil, -1
	}
	if f.transport != 0 && d.saidTransport >= 0 {
		d.rule[d.saidTransport], d.saidTransport = nil, -1
	}
	return best, true
}

// registerOf is where a load puts what it reads.
func registerOf(load expr.Any) uint32 {
	switch l := load.(type) {
	case *expr.Meta:
		return l.Register
	case *expr.Ct:
		return l.Register
	case *expr.Payload:
		return l.DestRegister
	case *expr.Exthdr:
		return l.DestRegister
	case *expr.Fib:
		return l.Register
	}
	return unix.NFT_REG_VERDICT
}

// said notes what the match that is added next says about the packet's protocols.
func (d *decoder) said(of field, v *Value) {
	switch {
	case (of == fieldNFProto || of == fieldEtherType) && d.network == 0:
		d.network, d.saidNetwork = networkSaid(of, v), len(d.rule)
	case of == fieldL4Proto && d.transport == 0 && v.Len() == 1:
		d.transport, d.saidTransport = v.Bytes()[0], len(d.rule)
	}
}
