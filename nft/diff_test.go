package nft

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawRuleset draws tables, sets and chains from a small stock, so that two of them have much in common, and elements for them.
func drawRuleset(t *rapid.T, label string) Ruleset {
	rs := Ruleset{Elements: make(Elements)}
	for _, id := range []TableID{{Inet, "one"}, {Bridge, "one"}} {
		if rapid.Bool().Draw(t, label+" has table") {
			rs.Tables = append(rs.Tables, drawTable(t, id))
		}
	}
	for i := range rs.Tables {
		for j := range rs.Tables[i].Sets {
			drawElements(t, rs.Elements, rs.Tables[i].ID, &rs.Tables[i].Sets[j])
		}
	}
	return rs
}

func drawTable(t *rapid.T, id TableID) Table {
	table := Table{ID: id}
	for _, s := range []Set{
		{Name: "names", Key: []Type{TypeIfName}, Size: 64},
		{Name: "ports", Key: []Type{TypeProto, TypePort}, Data: []Type{TypeIPv4, TypePort}, Size: 64, Counter: true},
		{Name: "prefixes", Key: []Type{TypeIPv4}, Interval: true},
		{Name: "trusted", Key: []Type{TypeIfName, TypeIPv4}, Interval: true},
	} {
		switch rapid.IntRange(0, 3).Draw(t, s.Name) {
		case 0:
			continue
		case 1:
			s.Size += 64
		}
		table.Sets = append(table.Sets, s)
	}
	for _, c := range []Chain{
		{Name: "base", Hook: &Hook{Type: FilterChain, Point: Forward, Priority: PriorityFilter}},
		{Name: "plain"},
	} {
		kind := rapid.IntRange(0, 3).Draw(t, c.Name)
		if kind == 0 {
			continue
		}
		if kind == 1 && c.Hook != nil {
			c.Hook.Point = Input
		}
		if rapid.Bool().Draw(t, "drop") {
			c.Rules = append(c.Rules, Rule{THDPort.Is(Port(7)), Counter, Drop, Comment("echo")})
		}
		if table.set("names") != nil && rapid.Bool().Draw(t, "lookup") {
			c.Rules = append(c.Rules, Rule{IIFName.In("names"), Accept})
		}
		table.Chains = append(table.Chains, c)
	}
	if base := table.chain("base"); base != nil && table.chain("plain") != nil && rapid.Bool().Draw(t, "jump") {
		base.Rules = append(base.Rules, Rule{L4Proto.Is(Byte(6), Byte(17)), Jump("plain")})
	}
	return table
}

// drawElements draws elements with keys that differ and intervals that don't overlap, but often touch.
func drawElements(t *rapid.T, elements Elements, id TableID, s *Set) {
	at := uint8(0)
	for i := range rapid.IntRange(0, 4).Draw(t, "elements") {
		e := Element{Set: SetID{id, s.Name}}
		name := Name(fmt.Sprint("eth", i))
		switch s.Name {
		case "names":
			e.Key = name
		case "ports":
			e.Key = Concat(Byte(6), Port(uint16(rapid.IntRange(1, 6).Draw(t, "port")*6+i)))
			e.Data = Concat(Addr(netip.AddrFrom4([4]byte{10, 0, 0, 1})), Port(uint16(rapid.IntRange(80, 81).Draw(t, "to"))))
		default:
			first := at + uint8(rapid.IntRange(0, 1).Draw(t, "gap"))
			last := first + uint8(rapid.IntRange(0, 3).Draw(t, "length"))
			at = last + 1
			e.Key, e.End = Addr(netip.AddrFrom4([4]byte{10, 0, 0, first})), Addr(netip.AddrFrom4([4]byte{10, 0, 0, last}))
			if s.Name == "trusted" {
				e.Key, e.End = Concat(name, e.Key), Concat(name, e.End)
			}
		}
		elements[e] = struct{}{}
	}
}

func (rs Ruleset) clone() Ruleset {
	return Ruleset{Tables: slices.Clone(rs.Tables), Elements: maps.Clone(rs.Elements)}
}

// mustBe fails with the difference in nft syntax.
func mustBe(t rapid.TB, what string, got, want Ruleset) {
	t.Helper()
	if len(got.Tables) != len(want.Tables) || !Diff(got, want).Empty() || !Diff(want, got).Empty() {
		t.Fatalf("%s is\n%swant\n%sdifference\n%s", what, got, want, Diff(got, want))
	}
}

func TestDiffOfTheSameIsEmpty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := drawRuleset(t, "it")
		if tx := Diff(rs, rs.clone()); !tx.Empty() || tx.Len() != 0 || tx.String() != "" {
			t.Fatalf("difference to itself:\n%s", tx)
		}
	})
}

func TestDiffAppliedGivesWhatWasWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawRuleset(t, "have"), drawRuleset(t, "want")
		got := have.clone()
		got.Apply(Diff(have, want))
		mustBe(t, "the result", got, want)
	})
}

func TestDiffKeepsWhatHoldsElements(t *testing.T) {
	port := Element{Set: SetID{TableID{Inet, "t"}, "ports"}, Key: Port(80)}
	old := Ruleset{Elements: Elements{port: {}}, Tables: []Table{{
		ID:     TableID{Inet, "t"},
		Sets:   []Set{{Name: "ports", Key: []Type{TypePort}, Size: 16}},
		Chains: []Chain{{Name: "in", Rules: []Rule{{THDPort.In("ports"), Accept}}}},
	}}}
	wanted := old.clone()
	wanted.Tables[0].Chains = []Chain{{Name: "in", Rules: []Rule{{THDPort.In("ports"), Drop}}}}
	want := "add table inet t\nflush table inet t\nadd rule inet t in th dport @ports drop\n"
	if got := Diff(old, wanted).String(); got != want {
		t.Errorf("another rule:\n%swant\n%s", got, want)
	}
	wanted.Tables[0].Sets = []Set{{Name: "ports", Key: []Type{TypePort}, Size: 32}}
	want = "add table inet t\nflush table inet t\ndelete set inet t ports\nadd set inet t ports { type inet_service; size 32; }\n" +
		"add rule inet t in th dport @ports drop\nadd element inet t ports { 80 }\n"
	if got := Diff(old, wanted).String(); got != want {
		t.Errorf("another set:\n%swant\n%s", got, want)
	}
	old.Tables[0].Foreign = []string{"table flags 0x1"}
	if got := Diff(old, wanted).String(); got[:len("delete table inet t\nadd table inet t\n")] != "delete table inet t\nadd table inet t\n" {
		t.Errorf("foreign parts:\n%s", got)
	}
}

func TestDiffReplacesData(t *testing.T) {
	tables := []Table{{ID: TableID{Inet, "t"}, Sets: []Set{{Name: "m", Key: []Type{TypePort}, Data: []Type{TypePort}, Size: 16}}}}
	element := func(to uint16) Element {
		return Element{Set: SetID{tables[0].ID, "m"}, Key: Port(80), Data: Port(to)}
	}
	tx := Diff(Ruleset{tables, Elements{element(1): {}}}, Ruleset{tables, Elements{element(2): {}}})
	if got, want := tx.String(), "delete element inet t m { 80 }\nadd element inet t m { 80 : 2 }\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestApplyDeletesByKey(t *testing.T) {
	id := SetID{TableID{Inet, "t"}, "m"}
	rs := Ruleset{Elements: Elements{{Set: id, Key: Port(80), Data: Port(1)}: {}, {Set: id, Key: Port(81)}: {}}}
	tx := NewTx()
	tx.Delete(Element{Set: id, Key: Port(80)})
	rs.Apply(tx)
	if len(rs.Elements) != 1 {
		t.Errorf("left: %v", rs.Elements)
	}
}

func TestTxIsUsedAgain(t *testing.T) {
	id := SetID{TableID{Inet, "t"}, "s"}
	tx := NewTx()
	for i := range 3 {
		e := Element{Set: id, Key: Port(uint16(i))}
		tx.Add(e)
		tx.Delete(Element{Set: SetID{id.Table, "other"}, Key: Port(9)})
		if got, want := tx.String(), fmt.Sprintf("delete element inet t other { 0x9 }\nadd element inet t s { 0x%x }\n", i); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if tx.Len() != 2 || tx.Empty() {
			t.Errorf("%d changes", tx.Len())
		}
		tx.Reset()
		if !tx.Empty() || tx.String() != "" {
			t.Errorf("after Reset: %s", tx)
		}
	}
}
