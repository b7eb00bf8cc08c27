package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged/internal/ordered"
)

// String is the transaction in nft syntax, one change a line, elements of a set together: nft -f would do the same with it, except
// that tables have no owner then. Elements are sorted by set and key. Keys of a set whose declaration is not known are numbers.
func (tx *Tx) String() string {
	var b strings.Builder
	tx.del.text(&b, "delete")
	for i := range tx.ops {
		b.WriteString(tx.ops[i].text() + "\n")
	}
	tx.add.text(&b, "add")
	return b.String()
}

func (gs groups) text(b *strings.Builder, verb string) {
	sorted := slices.Clone(gs)
	ordered.SortStable(sorted, func(g, h group) int {
		return strings.Compare(g.id.Table.String()+" "+g.id.Name, h.id.Table.String()+" "+h.id.Name)
	})
	for i := range sorted {
		g := &sorted[i]
		elements := slices.Clone(g.elements)
		sortElements(elements)
		fmt.Fprintf(b, "%s element %s %s %s\n", verb, g.id.Table, g.id.Name, elementsLine(g.set, elements, verb == "delete"))
	}
}

// elementsLine is elements as add element has them: { tcp . 8080 : 172.17.0.2 . 80 }; to delete one its key is enough.
func elementsLine(s *Set, elements []Element, del bool) string {
	texts := make([]string, len(elements))
	for i, e := range elements {
		switch {
		case s == nil && del || s == nil && e.Data.n == 0:
			texts[i] = formatHex(e.Key.Bytes())
		case s == nil:
			texts[i] = formatHex(e.Key.Bytes()) + " : " + formatHex(e.Data.Bytes())
		case del:
			texts[i] = s.keyText(e)
		default:
			texts[i] = ElementText(s, e)
		}
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// text is a change of the program.
func (o *op) text() string {
	table := o.table.ID.String()
	switch o.kind {
	case addTable, takeTable:
		return "add table " + table
	case deleteTable:
		return "delete table " + table
	case addSet:
		return "add " + o.set.kind() + " " + table + " " + o.set.Name + " " + block(o.set.String())
	case deleteSet:
		return "delete " + o.set.kind() + " " + table + " " + o.set.Name
	case addChain:
		if o.chain.Hook == nil {
			return "add chain " + table + " " + o.chain.Name
		}
		return "add chain " + table + " " + o.chain.Name + " " + block(o.table.chainText(&Chain{Name: o.chain.Name, Hook: o.chain.Hook}))
	case deleteChain:
		return "delete chain " + table + " " + o.chain.Name
	case addRule:
		return "add rule " + table + " " + o.chain.Name + " " + o.table.RuleText(o.rule)
	case deleteRules:
		return "flush table " + table
	}
	return ""
}

func (s *Set) kind() string {
	if s.IsMap() {
		return "map"
	}
	return "set"
}

// block puts the block of a declaration of several lines into one.
func block(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var b strings.Builder
	b.WriteString("{ ")
	for _, l := range lines[1 : len(lines)-1] {
		b.WriteString(strings.TrimSuffix(strings.TrimSpace(l), ";") + "; ")
	}
	return b.String() + "}"
}
