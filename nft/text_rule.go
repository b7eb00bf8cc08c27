package nft

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// String is the expression in nft syntax.
func (x Expr) String() string {
	s := make([]string, len(x.fields))
	for i, f := range x.fields {
		s[i] = f.info().syntax
	}
	return strings.Join(s, " . ")
}

// String is the rule in nft syntax, as it is written in the inet family.
func (r Rule) String() string { return ruleText(Inet, r) }

// RuleText is a rule of the table in nft syntax, as nft lists it.
func (t *Table) RuleText(r Rule) string { return ruleText(t.ID.Family, r) }

func ruleText(f Family, r Rule) string {
	words := make([]string, 0, len(r))
	network := uint16(0) // as far as known
	for _, s := range r {
		for _, of := range fieldsOf(s) {
			info := of.info()
			if info.shown && network == 0 {
				words = append(words, networkText(f, info.network))
			}
			if info.network != 0 {
				network = info.network
			}
		}
		if m, ok := s.(Match); ok && m.plain() && !m.Not && len(m.Values) == 1 && len(m.Expr.fields) == 1 {
			network = max(network, networkSaid(m.Expr.fields[0], &m.Values[0]))
		}
		words = append(words, stmtText(s))
	}
	return strings.Join(words, " ")
}

// fieldsOf are the fields that a statement looks at.
func fieldsOf(s Stmt) []field {
	switch s := s.(type) {
	case Match:
		return s.Expr.fields
	case VerdictMap:
		return s.Expr.fields
	case Translate:
		return s.Key.fields
	}
	return nil
}

// networkText is how a rule asks for a network protocol.
func networkText(f Family, network uint16) string {
	if f == Bridge {
		v := Port(network)
		return "ether type " + typeEtherType.info().text(v.Bytes())
	}
	v := nfprotoOf(network)
	return "meta nfproto " + TypeFamily.info().text(v.Bytes())
}

func stmtText(s Stmt) string {
	switch s := s.(type) {
	case Match:
		return s.String()
	case Verdict:
		return s.String()
	case VerdictMap:
		return s.String()
	case Translate:
		return s.String()
	case counterStmt:
		return "counter"
	case masqueradeStmt:
		return "masquerade"
	case Comment:
		return `comment "` + string(s) + `"`
	case Unknown:
		return "# " + oneLine(string(s))
	}
	return fmt.Sprintf("# %T", s)
}

// String is the match in nft syntax.
func (m Match) String() string {
	x := m.Expr.String()
	op := " "
	if m.Not {
		op = " != "
	}
	if m.Set != "" {
		return x + op + "@" + m.Set
	}
	if len(m.Values) == 0 || len(m.Expr.fields) != 1 {
		return x + op + "?"
	}
	v := &m.Values[0]
	d := m.Expr.fields[0].info().typ.info()
	switch {
	case len(m.Values) > 1:
		texts := make([]string, len(m.Values))
		for i := range m.Values {
			texts[i] = d.text(m.Values[i].Bytes())
		}
		return x + op + "{ " + strings.Join(texts, ", ") + " }"
	case m.Flags:
		if m.Not {
			op = " ! "
		}
		return x + op + d.flagsText(v)
	case m.AtLeast:
		return x + " >= " + d.text(v.Bytes())
	case m.Mask != Value{}:
		if !m.Not {
			op = " == "
		}
		return x + " & " + d.format(m.Mask.Bytes()) + op + d.format(v.Bytes())
	case m.Bits != 0:
		return fmt.Sprintf("%s%s%s/%d", x, op, d.text(v.Bytes()), m.Bits)
	case m.NamePrefix:
		return x + op + `"` + string(v.Bytes()) + `*"`
	}
	return x + op + d.text(v.Bytes())
}

// flagsText lists bits by name.
func (d *datatype) flagsText(v *Value) string {
	if v.Len() != 4 {
		return formatHex(v.Bytes())
	}
	var names []string
	rest := binary.NativeEndian.Uint32(v.Bytes())
	for _, s := range d.names {
		if rest&s.value != 0 {
			names = append(names, s.name)
			rest &^= s.value
		}
	}
	if rest != 0 || len(names) == 0 {
		names = append(names, fmt.Sprintf("0x%x", rest))
	}
	return strings.Join(names, ",")
}

// String is the verdict in nft syntax.
func (v Verdict) String() string {
	switch v.Kind {
	case VerdictAccept:
		return "accept"
	case VerdictDrop:
		return "drop"
	case VerdictReturn:
		return "return"
	case VerdictJump:
		return "jump " + v.Chain
	case VerdictGoto:
		return "goto " + v.Chain
	}
	return fmt.Sprintf("# verdict %d", v.Kind)
}

// String is the statement in nft syntax.
func (m VerdictMap) String() string {
	var entries []string
	for _, e := range m.Map {
		key := formatHex(e.Key.Bytes())
		if len(m.Expr.fields) == 1 {
			key = m.Expr.fields[0].info().typ.info().text(e.Key.Bytes())
		}
		entries = append(entries, key+" : "+e.Verdict.String())
	}
	return m.Expr.String() + " vmap { " + strings.Join(entries, ", ") + " }"
}

// String is the statement in nft syntax.
func (t Translate) String() string {
	kind := "dnat"
	if t.Source {
		kind = "snat"
	}
	return fmt.Sprintf("%s %s to %s map @%s", kind, t.Family, t.Key, t.Map)
}
