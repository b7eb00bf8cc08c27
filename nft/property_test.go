package nft

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Any rule that can be encoded is listed by nft as our text, encoded as nft does it, and read back as it was.
func TestAnyRuleIsThatOfNFT(t *testing.T) {
	newNamespace(t)
	drawsTheSame(t, 40)
	outer := t
	for _, whole := range []Table{inetTable(), bridgeTable()} {
		rapid.Check(t, func(t *rapid.T) {
			table := Table{ID: whole.ID, Sets: whole.Sets, Chains: []Chain{{Name: "other"}, {Name: "any"}}}
			for range rapid.IntRange(1, 20).Draw(t, "rules") {
				c := table.chain("any")
				c.Rules = append(c.Rules, drawRule(t, &table))
			}
			if err := compareWithNFT(outer, &table); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// drawRule draws a rule that can be encoded.
func drawRule(t *rapid.T, table *Table) Rule {
	rule := Rule{}
	for range rapid.IntRange(1, 5).Draw(t, "statements") {
		s := drawStatement(t, table)
		if _, err := encodeRule(table, append(slices.Clone(rule), s), 1); err == nil {
			rule = append(rule, s)
		}
	}
	end := rapid.SampledFrom([]Stmt{Accept, Drop, Return, Jump("other"), Goto("other"), Counter, Masquerade}).Draw(t, "end")
	if _, err := encodeRule(table, append(slices.Clone(rule), end), 1); err == nil {
		rule = append(rule, end)
	}
	if len(rule) == 0 {
		rule = Rule{Counter}
	}
	if comment := rapid.StringMatching(`[ -!#-~]{0,127}`).Draw(t, "comment"); comment != "" {
		rule = append(rule, Comment("_"+comment[:min(len(comment), maxComment-1)]))
	}
	return rule
}

func drawStatement(t *rapid.T, table *Table) Stmt {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return Counter
	case 1:
		set := rapid.SampledFrom(table.Sets).Draw(t, "map")
		if set.IsMap() {
			f := IPv4
			if set.Data[0] == TypeIPv6 {
				f = IPv6
			}
			return Translate{Source: rapid.Bool().Draw(t, "source"), Family: f, Key: drawKey(t, &set), Map: set.Name}
		}
		fallthrough
	case 2, 3, 4:
		set := rapid.SampledFrom(table.Sets).Draw(t, "set")
		return Match{Expr: drawKey(t, &set), Set: set.Name, Not: rapid.Bool().Draw(t, "not")}
	case 5:
		of := drawField(t)
		return single(of).Verdicts(VerdictMapEntry{drawValue(t, of), Jump("other")}, VerdictMapEntry{drawValue(t, of), Verdict{Kind: VerdictDrop}})
	}
	return drawMatch(t)
}

func drawField(t *rapid.T) field {
	return field(rapid.IntRange(1, len(fields)-1).Draw(t, "field"))
}

// drawKey draws an expression with the types of a set's key, where there is one.
func drawKey(t *rapid.T, s *Set) Expr {
	var x Expr
	for _, typ := range s.Key {
		var of []field
		for f := 1; f < len(fields); f++ {
			if fields[f].typ == typ {
				of = append(of, field(f))
			}
		}
		x.fields = append(x.fields, rapid.SampledFrom(of).Draw(t, "key"))
	}
	return x
}

func drawMatch(t *rapid.T) Match {
	of := drawField(t)
	x, v := single(of), drawValue(t, of)
	switch rapid.IntRange(0, 7).Draw(t, "match") {
	case 0:
		return x.IsNot(v)
	case 1:
		return x.Is(v, drawValue(t, of), drawValue(t, of))
	case 2:
		return x.Any(rapid.SampledFrom([]uint32{1, 2, 6, 8, 0xf, 0x20, 0x21}).Draw(t, "flags"))
	case 3:
		return x.None(rapid.SampledFrom([]uint32{1, 2, 6, 8, 0xf, 0x20, 0x21}).Draw(t, "flags"))
	case 4:
		if bits := rapid.IntRange(1, 128).Draw(t, "bits"); bits <= 8*v.Len() {
			for i := bits; i < 8*v.Len(); i++ {
				v.b[i/8] &^= 0x80 >> (i % 8)
			}
			return x.InPrefix(v, bits)
		}
	case 5:
		return x.Begins(rapid.StringMatching(`[a-z0-9.-]{1,14}`).Draw(t, "beginning"))
	case 6:
		return x.AtLeast(v)
	case 7:
		mask := drawValue(t, of)
		for i := range v.n {
			v.b[i] &= mask.b[i]
		}
		return x.Masked(mask, v)
	}
	return x.Is(v)
}

// drawValue draws a value that a field can have.
func drawValue(t *rapid.T, of field) Value {
	f := of.info()
	if likely := likelyValues[f.typ]; len(likely) > 0 && rapid.Bool().Draw(t, "likely") {
		return rapid.SampledFrom(likely).Draw(t, "value")
	}
	switch f.typ {
	case TypeIfName:
		return Name(rapid.StringMatching(`[a-z0-9.-]{1,15}`).Draw(t, "name"))
	case typeMissing:
		return Byte(rapid.Uint8Range(0, 1).Draw(t, "missing"))
	case TypeFamily:
		return Byte(rapid.SampledFrom([]uint8{2, 10}).Draw(t, "family"))
	case TypeMark:
		return Mark(rapid.Uint32().Draw(t, "mark"))
	}
	if names := f.typ.info().names; len(names) > 0 && rapid.Bool().Draw(t, "named") {
		n := rapid.SampledFrom(names).Draw(t, "value").value
		switch f.len() {
		case 1:
			return Byte(uint8(n))
		case 2:
			return Port(uint16(n))
		case 4:
			return Mark(n)
		}
	}
	b := rapid.SliceOfN(rapid.Byte(), int(f.len()), int(f.len())).Draw(t, "bytes")
	b[0] >>= f.shift
	return Raw(b)
}

// likelyValues are what packets and elements of the tests have.
var likelyValues = map[Type][]Value{
	TypeIfName: {Name("lo"), Name("eth0")},
	TypeIPv4:   {loopback, addr("127.0.0.1"), addr("10.0.0.2")},
	TypeIPv6:   {addr("::1"), linkLocal},
	TypeProto:  {Byte(17), Byte(6)},
	TypePort:   {Port(53), Port(80), Port(1024)},
	TypeMark:   {Mark(0), Mark(1), Mark(0x100)},
}
