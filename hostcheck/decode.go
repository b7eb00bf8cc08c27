package hostcheck

import (
	"bytes"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/nft"
)

// expression is one of a rule's, as the kernel gives it.
type expression struct {
	name string
	data []byte
}

// decoder makes [Rule]s of one rule's expressions: one, or one for each element when the rule looks a verdict up in a map. What
// it does not know becomes a match of [Other], so that nothing is taken for more certain than it is.
type decoder struct {
	family nft.Family
	// links are names by index, for iif and oif.
	links map[int]string
	// sets are the sets of the rule's table, by name; elements reads one.
	sets     map[string]setInfo
	elements func(set string) ([]setKey, error)

	registers map[uint32]load
	rule      Rule
	// branches are verdicts by a key; the rule's matches belong to each.
	branches []Rule
}

// load is what a register holds.
type load struct {
	field Field
	// size is the number of bytes; of an address, which has whole bytes, these are the first.
	size, whole int
	mask        []byte
	// index: an interface's index instead of its name.
	index bool
}

// decode is the rules that the expressions stand for.
func (d *decoder) decode(exprs []expression) ([]Rule, error) {
	d.registers, d.rule, d.branches = make(map[uint32]load), Rule{}, nil
	for _, e := range exprs {
		if err := d.expression(e); err != nil {
			return nil, err
		}
	}
	if d.branches == nil {
		return []Rule{d.rule}, nil
	}
	for i := range d.branches {
		d.branches[i].Matches = slices.Concat(d.rule.Matches, d.branches[i].Matches)
	}
	return d.branches, nil
}

// without reports whether an expression lets every packet pass and says nothing about it.
func without(name string) bool {
	return slices.Contains([]string{"counter", "log", "last", "notrack", "dup", "flow_offload", "secmark"}, name)
}

func (d *decoder) expression(e expression) error {
	switch e.name {
	case "meta":
		return unmarshal(d, e, d.meta)
	case "ct":
		return unmarshal(d, e, d.ct)
	case "payload":
		return unmarshal(d, e, d.payload)
	case "bitwise":
		return unmarshal(d, e, d.bitwise)
	case "cmp":
		return unmarshal(d, e, d.cmp)
	case "lookup":
		return unmarshal(d, e, d.lookup)
	case "immediate":
		d.immediate(e.data)
		return nil
	case "match":
		return unmarshal(d, e, d.xtMatch)
	case "target":
		d.xtTarget(e.data)
		return nil
	case "reject":
		d.rule.Verdict = Reject
	case "queue", "synproxy", "tproxy":
		d.rule.Verdict = Undecided
	default:
		if !without(e.name) {
			d.other()
			clear(d.registers)
		}
	}
	return nil
}

// unmarshal reads an expression; one that can't be read is like one that is not known.
func unmarshal[E any, P interface {
	*E
	expr.Any
}](d *decoder, e expression, f func(P) error) error {
	p := P(new(E))
	if expr.Unmarshal(byte(d.family), e.data, p) != nil {
		d.other()
		clear(d.registers)
		return nil
	}
	return f(p)
}

// other adds a match that is not known.
func (d *decoder) other() { d.add(Match{Field: Other}) }

// add adds a match; one Other says as much as several.
func (d *decoder) add(m Match) {
	if m.Field == Other {
		m = Match{}
		if slices.ContainsFunc(d.rule.Matches, func(m Match) bool { return m.Field == Other }) {
			return
		}
	}
	d.rule.Matches = append(d.rule.Matches, m)
}

func (d *decoder) meta(m *expr.Meta) error {
	if m.SourceRegister { // it sets a mark
		return nil
	}
	loads := map[expr.MetaKey]load{
		expr.MetaKeyIIFNAME:    {field: IIFName, size: unix.IFNAMSIZ},
		expr.MetaKeyOIFNAME:    {field: OIFName, size: unix.IFNAMSIZ},
		expr.MetaKeyIIF:        {field: IIFName, size: 4, index: true},
		expr.MetaKeyOIF:        {field: OIFName, size: 4, index: true},
		expr.MetaKeyBRIIIFNAME: {field: IBrName, size: unix.IFNAMSIZ},
		expr.MetaKeyBRIOIFNAME: {field: OBrName, size: unix.IFNAMSIZ},
		expr.MetaKeyNFPROTO:    {field: NFProto, size: 1},
		expr.MetaKeyPROTOCOL:   {field: NFProto, size: 2},
		expr.MetaKeyL4PROTO:    {field: L4Proto, size: 1},
	}
	d.registers[m.Register] = loads[m.Key]
	return nil
}

func (d *decoder) ct(c *expr.Ct) error {
	if c.SourceRegister {
		return nil
	}
	switch c.Key {
	case expr.CtKeySTATE:
		d.registers[c.Register] = load{field: CTState, size: 4}
	case expr.CtKeySTATUS:
		d.registers[c.Register] = load{field: CTStatus, size: 4}
	default:
		delete(d.registers, c.Register)
	}
	return nil
}

// payload reads the network header's addresses and protocol, and the ethertype of the link layer's.
func (d *decoder) payload(p *expr.Payload) error {
	if p.OperationType == expr.PayloadWrite {
		return nil
	}
	delete(d.registers, p.DestRegister)
	family := d.protocol()
	l := load{size: int(p.Len), whole: 4}
	if family == nft.IPv6 {
		l.whole = 16
	}
	switch {
	case p.Base == expr.PayloadBaseLLHeader && p.Offset == 12 && p.Len == 2:
		l.field = NFProto
	case p.Base != expr.PayloadBaseNetworkHeader:
		return nil
	case family == nft.IPv4 && p.Offset == 12 && p.Len <= 4, family == nft.IPv6 && p.Offset == 8 && p.Len <= 16:
		l.field = SAddr
	case family == nft.IPv4 && p.Offset == 16 && p.Len <= 4, family == nft.IPv6 && p.Offset == 24 && p.Len <= 16:
		l.field = DAddr
	case p.Len == 1 && (family == nft.IPv4 && p.Offset == 9 || family == nft.IPv6 && p.Offset == 6): // protocol, next header
		l.field = L4Proto
	default:
		return nil
	}
	d.registers[p.DestRegister] = l
	return nil
}

// protocol is the network protocol that the packet has when it comes to this point of the rule; 0: not known.
func (d *decoder) protocol() nft.Family {
	if d.family == nft.IPv4 || d.family == nft.IPv6 {
		return d.family
	}
	for _, m := range d.rule.Matches {
		if m.Field == NFProto && !m.Not && len(m.Values) == 1 {
			switch m.Values[0] {
			case "ipv4":
				return nft.IPv4
			case "ipv6":
				return nft.IPv6
			}
		}
	}
	return 0
}

func (d *decoder) bitwise(b *expr.Bitwise) error {
	l, ok := d.registers[b.SourceRegister]
	delete(d.registers, b.DestRegister)
	// Older kernels and shifts have no mask and xor like these.
	if ok && l.mask == nil && len(b.Mask) > 0 && len(bytes.Trim(b.Xor, "\x00")) == 0 {
		l.mask = b.Mask
		d.registers[b.DestRegister] = l
	}
	return nil
}

func (d *decoder) cmp(c *expr.Cmp) error {
	l := d.registers[c.Register]
	m := Match{Field: l.field, Not: c.Op == expr.CmpOpNeq}
	switch {
	case c.Op != expr.CmpOpEq && c.Op != expr.CmpOpNeq:
		m.Field = Other
	case l.mask != nil && (l.field == CTState || l.field == CTStatus):
		m = flags(l, c, m)
	default:
		if v, ok := d.value(l, c.Data); ok {
			m.Values = []string{v}
		} else {
			m.Field = Other
		}
	}
	d.add(m)
	return nil
}

// immediate reads a verdict, or a value for a register. (The library's decoder of verdicts panics when one is cut off.)
func (d *decoder) immediate(data []byte) {
	if register := number(data, unix.NFTA_IMMEDIATE_DREG); register != unix.NFT_REG_VERDICT {
		delete(d.registers, register)
		return
	}
	v := nested(nested(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT)
	if len(nested(v, unix.NFTA_VERDICT_CODE)) < 4 {
		d.other()
		return
	}
	d.rule.Verdict, d.rule.Chain = verdictIn(v)
}

// verdictIn reads the attributes of a verdict.
func verdictIn(b []byte) (v Verdict, chain string) {
	return verdictOf(expr.VerdictKind(int32(number(b, unix.NFTA_VERDICT_CODE)))), attribute(b, unix.NFTA_VERDICT_CHAIN)
}

func verdictOf(k expr.VerdictKind) Verdict {
	switch k {
	case expr.VerdictAccept:
		return Accept
	case expr.VerdictDrop:
		return Drop
	case expr.VerdictReturn:
		return Return
	case expr.VerdictJump:
		return Jump
	case expr.VerdictGoto:
		return Goto
	case expr.VerdictContinue:
		return Continue
	}
	return Undecided
}
