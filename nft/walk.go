package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged/internal/ordered"
)

// Trace is the way of a packet through the rules at one hook.
type Trace struct {
	// Verdict is VerdictAccept or VerdictDrop.
	Verdict VerdictKind
	// Steps are the rules that matched, in order. When the packet was dropped, the last one did it.
	Steps []Step
	// Packet is the packet as it leaves the hook: after DNAT and SNAT. The new source of a masqueraded packet is not known here.
	Packet Packet
	// Masqueraded: the packet gets the address of the interface that it leaves by.
	Masqueraded bool
}

// Step is a rule that matched.
type Step struct {
	Table TableID
	Chain string
	Rule  Rule
}

// Comment is the comment of the last rule that matched; "" when it has none or none matched.
func (t Trace) Comment() string {
	if len(t.Steps) == 0 {
		return ""
	}
	for _, s := range t.Steps[len(t.Steps)-1].Rule {
		if c, ok := s.(Comment); ok {
			return string(c)
		}
	}
	return ""
}

// String is a line for each step and one for the verdict.
func (t Trace) String() string {
	var b strings.Builder
	for _, s := range t.Steps {
		table := Table{ID: s.Table}
		fmt.Fprintf(&b, "%s %s: %s\n", s.Table, s.Chain, table.RuleText(s.Rule))
	}
	b.WriteString(Verdict{Kind: t.Verdict}.String() + "\n")
	return b.String()
}

// Walk leads a packet through the chains that a family's tables have at a hook, in order of priority, as the kernel would: an
// accept ends a chain, a drop ends everything, chains of type nat see new connections only and translate them once.
//
// What happens between hooks, routing above all, is the caller's: the packet of one Trace goes into the next Walk. Elements with a rate
// are taken as not exceeded, and rules with Unknown as not matching. It looks at every element of rs: Walk is made to explain, not to
// be fast.
func (rs Ruleset) Walk(f Family, at HookPoint, p Packet) Trace {
	if p.CTState == 0 {
		p.CTState = StateNew
	}
	w := walker{elements: make(map[SetID][]Element), trace: Trace{Verdict: VerdictAccept, Packet: p}}
	for e := range rs.Elements {
		w.elements[e.Set] = append(w.elements[e.Set], e)
	}
	for _, base := range rs.basesAt(f, at) {
		if base.chain.Hook.Type == NATChain && (p.CTState != StateNew || w.translated) {
			continue
		}
		w.table = base.table
		if w.walk(base.chain, 0) == VerdictDrop {
			w.trace.Verdict = VerdictDrop
			break
		}
	}
	return w.trace
}

// base is a base chain in its table.
type base struct {
	table *Table
	chain *Chain
}

func (rs Ruleset) basesAt(f Family, at HookPoint) []base {
	var bases []base
	for i := range rs.Tables {
		t := &rs.Tables[i]
		if t.ID.Family != f {
			continue
		}
		for j := range t.Chains {
			if c := &t.Chains[j]; c.Hook != nil && c.Hook.Point == at {
				bases = append(bases, base{t, c})
			}
		}
	}
	ordered.SortStable(bases, func(a, b base) int { return int(a.chain.Hook.Priority) - int(b.chain.Hook.Priority) })
	return bases
}

// walker is one Walk.
type walker struct {
	elements   map[SetID][]Element
	table      *Table
	translated bool
	trace      Trace
}

// maxJumps is how deep jumps can be nested: NFT_JUMP_STACK_SIZE. The kernel refuses rules that would go deeper.
const maxJumps = 16

// walk goes through a chain. It gives VerdictReturn when the chain decides nothing.
func (w *walker) walk(c *Chain, depth int) VerdictKind {
	if c == nil || depth > maxJumps {
		return VerdictDrop
	}
	for _, r := range c.Rules {
		v, matched := w.rule(r)
		if !matched {
			continue
		}
		w.trace.Steps = append(w.trace.Steps, Step{w.table.ID, c.Name, r})
		switch v.Kind {
		case 0:
		case VerdictJump:
			if k := w.walk(w.table.chain(v.Chain), depth+1); k != VerdictReturn {
				return k
			}
		case VerdictGoto:
			return w.walk(w.table.chain(v.Chain), depth)
		default:
			return v.Kind
		}
	}
	return VerdictReturn
}

// rule tells whether the packet comes to the rule's end, and with which verdict; the zero one goes on with the next rule.
func (w *walker) rule(r Rule) (v Verdict, matched bool) {
	for _, s := range r {
		switch s := s.(type) {
		case Match:
			if !w.match(&s) {
				return Verdict{}, false
			}
		case VerdictMap:
			key, ok := w.find(s.Expr)
			if !ok {
				return Verdict{}, false
			}
			i := slices.IndexFunc(s.Map, func(e VerdictMapEntry) bool { return e.Key == key })
			if i < 0 {
				return Verdict{}, false
			}
			return s.Map[i].Verdict, true
		case Verdict:
			return s, true
		case Translate:
			return Verdict{Kind: VerdictAccept}, w.translate(s)
		case masqueradeStmt:
			w.trace.Masqueraded, w.translated = true, true
			return Verdict{Kind: VerdictAccept}, true
		case Unknown:
			return Verdict{}, false
		}
	}
	return Verdict{}, true
}

// find is what an expression finds in the packet; false when the packet lacks it.
func (w *walker) find(x Expr) (Value, bool) {
	values := make([]Value, len(x.fields))
	p := &w.trace.Packet
	for i, of := range x.fields {
		f := of.info()
		if f.network != 0 && f.network != p.network() || f.transport != 0 && f.transport != p.Protocol {
			return Value{}, false
		}
		v, ok := f.find(p)
		if !ok {
			return Value{}, false
		}
		values[i] = v
	}
	if len(values) == 1 {
		return values[0], true
	}
	return Concat(values...), true
}

func (w *walker) match(m *Match) bool {
	v, ok := w.find(m.Expr)
	if !ok {
		return false
	}
	if m.Set != "" {
		_, found := w.lookup(m.Set, &v)
		return found != m.Not
	}
	return slices.ContainsFunc(m.Values, func(want Value) bool { return m.holds(&v, &want) }) != m.Not
}

// holds compares what was found with a value; Not is not looked at.
func (m *Match) holds(v, want *Value) bool {
	b := slices.Clone(v.Bytes())
	switch {
	case m.Flags:
		return binary.NativeEndian.Uint32(b)&binary.NativeEndian.Uint32(want.Bytes()) != 0
	case m.AtLeast:
		return bytes.Compare(b, want.Bytes()) >= 0
	case m.NamePrefix:
		return bytes.HasPrefix(b, want.Bytes())
	case m.Mask != Value{}:
		for i := range b {
			b[i] &= m.Mask.b[i]
		}
	case m.Bits != 0:
		for i, mask := range prefixMask(m.Bits, len(b)) {
			b[i] &= mask
		}
	}
	return bytes.Equal(b, want.Bytes())
}

// lookup finds the element for a key.
func (w *walker) lookup(name string, key *Value) (*Element, bool) {
	set := w.table.set(name)
	if set == nil || set.LimitOverPerSecond != 0 {
		return nil, false
	}
	if set.Interval {
		key = set.sortable(key)
	}
	elements := w.elements[SetID{w.table.ID, name}]
	for i := range elements {
		if e := &elements[i]; e.Key == *key || set.Interval && set.within(e, key) {
			return e, true
		}
	}
	return nil, false
}

// sortable is a key with its numbers in network byte order.
func (s *Set) sortable(key *Value) *Value {
	k := *key
	at := uint8(0)
	for _, t := range s.Key {
		if t == TypeMark {
			binary.BigEndian.PutUint32(k.b[at:], binary.NativeEndian.Uint32(k.b[at:]))
		}
		at += (t.info().len + 3) &^ 3
	}
	return &k
}

// within tells whether each field of a key is between those of an element's Key and End.
func (s *Set) within(e *Element, key *Value) bool {
	if e.End.n != key.n || e.Key.n != key.n {
		return false
	}
	at := uint8(0)
	for _, t := range s.Key {
		end := at + t.info().len
		k := key.b[at:end]
		if bytes.Compare(e.Key.b[at:end], k) > 0 || bytes.Compare(k, e.End.b[at:end]) > 0 {
			return false
		}
		at = (end + 3) &^ 3
	}
	return true
}

// translate gives the packet the address, and the port, that the map has for it. A packet of the other family is left as it is, also
// where the key says nothing of families (nft_nat_inet_eval).
func (w *walker) translate(t Translate) bool {
	family := etherIPv4
	if t.Family == IPv6 {
		family = etherIPv6
	}
	if w.trace.Packet.network() != family {
		return false
	}
	key, ok := w.find(t.Key)
	if !ok {
		return false
	}
	e, ok := w.lookup(t.Map, &key)
	if !ok {
		return false
	}
	n := TypeIPv4.info().len
	if t.Family == IPv6 {
		n = TypeIPv6.info().len
	}
	addr, ok := netip.AddrFromSlice(e.Data.b[:n])
	if !ok || e.Data.n < n {
		return false
	}
	p := &w.trace.Packet
	port := &p.DPort
	if t.Source {
		p.Src, port = addr, &p.SPort
	} else {
		p.Dst = addr
		p.CTStatus |= StatusDNAT
	}
	if e.Data.n >= n+2 {
		*port = binary.BigEndian.Uint16(e.Data.b[n:])
	}
	w.translated = true
	return true
}
