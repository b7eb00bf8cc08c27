package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// encodedRule is a rule as the kernel takes it.
type encodedRule struct {
	exprs    []expr.Any // NFTA_RULE_EXPRESSIONS
	userdata []byte     // NFTA_RULE_USERDATA: the comment; nil without one
	// sets have to be created in the same batch before the rule, whose lookups refer to them by id.
	sets []anonymousSet
}

// anonymousSet is a constant set that belongs to one rule and goes with it: icmp type { … }, or a verdict map.
// Flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT, and NFT_SET_MAP for a verdict map.
type anonymousSet struct {
	name string // "__set%d" or "__map%d": the kernel fills in a number
	id   uint32 // NFTA_SET_ID, NFTA_SET_ELEM_LIST_SET_ID, NFTA_LOOKUP_SET_ID
	// keyType and keyLen are NFTA_SET_KEY_TYPE and NFTA_SET_KEY_LEN. Keys are single fields.
	keyType, keyLen uint32
	// verdictMap: NFTA_SET_DATA_TYPE is NFT_DATA_VERDICT (0xffffff00), NFTA_SET_DATA_LEN is 0, and every element has a
	// verdict.
	verdictMap bool
	userdata   []byte // NFTA_SET_USERDATA
	// elements are sorted by key; NFTA_SET_DESC_SIZE is their number.
	elements []anonymousElement
}

// anonymousElement is one element of an anonymousSet.
type anonymousElement struct {
	key     Value
	verdict Verdict // in a verdict map; else the zero Verdict
}

// maxComment is the longest comment, in bytes, that nft takes (NFTNL_UDATA_COMMENT_MAXLEN).
const maxComment = 127

// encodeRule lowers a rule of t to expressions, exactly as nft 1.0.6 does it. Its anonymous sets get the ids setID, setID+1, …,
// which must be unique in the batch.
//
// There is one way to write each rule, so that equal programs are equal values, and nft's list reads as they do: what the rule's
// other matches imply (meta nfproto ipv4 beside ip saddr) must be left out, alternatives must be in order, neighbours in a header
// side by side. Other rules are errors that say so.
func encodeRule(t *Table, r Rule, setID uint32) (encodedRule, error) {
	if t.ID.Family != Inet && t.ID.Family != Bridge {
		return encodedRule{}, fmt.Errorf("rules of family %s are not supported: use inet or bridge", t.ID.Family)
	}
	e := encoder{table: t, setID: setID}
	if len(r) == 0 {
		return encodedRule{}, errors.New("cannot encode a rule that does nothing")
	}
	if _, ok := r[0].(Comment); ok {
		return encodedRule{}, fmt.Errorf("cannot encode rule %q: it does nothing", t.RuleText(r))
	}
	for i, s := range r {
		if err := e.statement(s, r[i+1:]); err != nil {
			return encodedRule{}, fmt.Errorf("cannot encode rule %q: %w", t.RuleText(r), err)
		}
	}
	return e.out, nil
}

// encoder lowers one rule, statement by statement.
type encoder struct {
	table    *Table
	out      encodedRule
	setID    uint32
	known    knowledge
	compared []comparison
}

// comparison is where a header field was compared.
type comparison struct {
	op         expr.CmpOp
	base       expr.PayloadBase
	start, end uint32
	at         int // its index in the expressions
}

func (e *encoder) emit(exprs ...expr.Any) { e.out.exprs = append(e.out.exprs, exprs...) }

func (e *encoder) statement(s Stmt, rest Rule) error {
	switch s := s.(type) {
	case Match:
		return e.match(&s)
	case Verdict:
		if err := last(rest); err != nil {
			return err
		}
		v, err := e.verdict(s)
		if err == nil {
			e.emit(v)
		}
		return err
	case VerdictMap:
		return e.verdictMap(s)
	case Translate:
		if err := e.nat(rest); err != nil {
			return err
		}
		return e.translate(s)
	case counterStmt:
		e.emit(&expr.Counter{})
		return nil
	case masqueradeStmt:
		e.emit(&expr.Masq{})
		return e.nat(rest)
	case Comment:
		return e.comment(s, rest)
	}
	return fmt.Errorf("cannot encode %T", s)
}

// last is an error when more than a comment follows what ends a rule.
func last(rest Rule) error {
	for _, s := range rest {
		if _, ok := s.(Comment); !ok {
			return errors.New("nothing but a comment can follow a verdict")
		}
	}
	return nil
}

// nat is an error where addresses cannot be translated.
func (e *encoder) nat(rest Rule) error {
	if e.table.ID.Family == Bridge {
		return errors.New("no translation in family bridge")
	}
	return last(rest)
}

func (e *encoder) comment(c Comment, rest Rule) error {
	switch {
	case len(rest) > 0:
		return errors.New("a comment is the last statement")
	case c == "" || len(c) > maxComment:
		return fmt.Errorf("a comment has 1 to %d bytes", maxComment)
	case strings.ContainsAny(string(c), "\"\n\x00"):
		return errors.New("a comment has no quotation marks, newlines or zero bytes")
	}
	e.out.userdata = udataTLV(udataRuleComment, append([]byte(c), 0))
	return nil
}

func (e *encoder) verdict(v Verdict) (*expr.Verdict, error) {
	if v.Kind == 0 || int(v.Kind) >= len(verdictKinds) {
		return nil, fmt.Errorf("no such verdict: %d", v.Kind)
	}
	if jumps := v.Kind == VerdictJump || v.Kind == VerdictGoto; jumps != (v.Chain != "") {
		return nil, errors.New("jump and goto have a chain, other verdicts have none")
	}
	if v.Chain != "" && e.table.chain(v.Chain) == nil {
		return nil, fmt.Errorf("table %s has no chain %q", e.table.ID, v.Chain)
	}
	return &expr.Verdict{Kind: verdictKinds[v.Kind], Chain: v.Chain}, nil
}

// verdictKinds are the kernel's verdicts.
var verdictKinds = [...]expr.VerdictKind{
	VerdictAccept: expr.VerdictAccept,
	VerdictDrop:   expr.VerdictDrop,
	VerdictReturn: expr.VerdictReturn,
	VerdictJump:   expr.VerdictJump,
	VerdictGoto:   expr.VerdictGoto,
}

func (e *encoder) verdictMap(m VerdictMap) error {
	elements := make([]anonymousElement, len(m.Map))
	for i, entry := range m.Map {
		if _, err := e.verdict(entry.Verdict); err != nil {
			return err
		}
		elements[i] = anonymousElement{key: entry.Key, verdict: entry.Verdict}
	}
	f, err := e.single(m.Expr)
	if err != nil {
		return err
	}
	if f.typ == typeInteger || f.typ == TypeTarget {
		return fmt.Errorf("%s: no verdict maps of raw bytes", f.syntax)
	}
	set, err := e.anonymousSet(f, elements, true)
	if err != nil {
		return err
	}
	if err := e.load(m.Expr, nil); err != nil {
		return err
	}
	e.emit(&expr.Lookup{SourceRegister: register(0), DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true,
		SetName: set.name, SetID: set.id})
	return nil
}

// translate looks the new address, and the new port when the map has one, up in a map, into the registers that the key was in.
func (e *encoder) translate(t Translate) error {
	set := e.table.set(t.Map)
	switch {
	case set == nil || !set.IsMap():
		return fmt.Errorf("table %s has no map %q", e.table.ID, t.Map)
	case t.Family != IPv4 && t.Family != IPv6:
		return fmt.Errorf("cannot translate addresses of family %s", t.Family)
	}
	address := TypeIPv4
	if t.Family == IPv6 {
		address = TypeIPv6
	}
	if set.Data[0] != address || len(set.Data) > 2 || len(set.Data) == 2 && set.Data[1] != TypePort {
		return fmt.Errorf("map %q must give an address of family %s, and at most a port", t.Map, t.Family)
	}
	if err := e.load(t.Key, set); err != nil {
		return err
	}
	if k := &e.known; k.network == oneOf || k.network > oneOf && nfprotoOf(k.ethertype) != Byte(uint8(t.Family)) {
		return fmt.Errorf("%s: the packet is of another family", t)
	}
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: register(0)}
	if t.Source {
		nat.Type = expr.NATTypeSourceNAT
	}
	if len(set.Data) == 2 {
		nat.RegProtoMin = register(words(address.info().len))
	}
	e.emit(&expr.Lookup{SourceRegister: register(0), DestRegister: register(0), IsDestRegSet: true, SetName: t.Map}, nat)
	return nil
}

// anonymousSet makes the set of the alternatives of a field.
func (e *encoder) anonymousSet(f *fieldInfo, elements []anonymousElement, verdicts bool) (*anonymousSet, error) {
	if len(elements) == 0 || f.shift != 0 || f.flags() || f.typ == typeMissing {
		return nil, fmt.Errorf("%s: no alternatives", f.syntax)
	}
	d := f.typ.info()
	for i := range elements {
		if err := f.check(&elements[i].key); err != nil {
			return nil, err
		}
		if i > 0 && compareValues(d, &elements[i-1].key, &elements[i].key) >= 0 {
			return nil, errors.New("alternatives must be in order, each once")
		}
	}
	set := anonymousSet{name: "__set%d", id: e.setID + uint32(len(e.out.sets)), keyType: d.magic, keyLen: uint32(f.len()),
		verdictMap: verdicts, userdata: udataUint32(udataSetKeyByteOrder, uint32(d.order)), elements: elements}
	if verdicts {
		set.name = "__map%d"
		set.userdata = append(set.userdata, udataUint32(udataSetDataByteOrder, uint32(noOrder))...)
	}
	e.out.sets = append(e.out.sets, set)
	return &e.out.sets[len(e.out.sets)-1], nil
}

// compareValues orders values the way nft lists them: as numbers, and names like numbers in the byte order of the host.
func compareValues(d *datatype, a, b *Value) int {
	x, y := a.Bytes(), b.Bytes()
	if d.order == hostOrder && littleEndian {
		x, y = slices.Clone(x), slices.Clone(y)
		slices.Reverse(x)
		slices.Reverse(y)
	}
	return bytes.Compare(x, y)
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
