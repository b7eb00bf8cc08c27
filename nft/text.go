package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged/internal/ordered"
)

// String is the program in nft syntax: what nft -s list table prints of the table without elements.
func (t Table) String() string { return t.text(nil) }

// String is all tables with their elements in nft syntax, as nft -s list ruleset prints them; but elements are sorted by key.
func (rs Ruleset) String() string {
	bySet := make(map[SetID][]Element)
	for e := range rs.Elements {
		bySet[e.Set] = append(bySet[e.Set], e)
	}
	var b strings.Builder
	for i := range rs.Tables {
		b.WriteString(rs.Tables[i].text(bySet))
	}
	return b.String()
}

func (t *Table) text(elements map[SetID][]Element) string {
	var blocks []string
	for _, f := range t.Foreign {
		blocks = append(blocks, "\t# "+oneLine(f)+"\n")
	}
	for i := range t.Sets {
		s := &t.Sets[i]
		blocks = append(blocks, s.text(elements[SetID{t.ID, s.Name}]))
	}
	for i := range t.Chains {
		blocks = append(blocks, t.chainText(&t.Chains[i]))
	}
	return "table " + t.ID.String() + " {\n" + strings.Join(blocks, "\n") + "}\n"
}

// String is the declaration in nft syntax.
func (s Set) String() string { return s.text(nil) }

func (s *Set) text(elements []Element) string {
	var b strings.Builder
	kind := "set"
	if s.IsMap() {
		kind = "map"
	}
	fmt.Fprintf(&b, "\t%s %s {\n\t\t%s", kind, s.Name, typesText(s.Key))
	if s.IsMap() {
		fmt.Fprintf(&b, " : %s", fieldsText(s.Data, typeof(s.Key)))
	}
	b.WriteString("\n")
	if s.Size != 0 {
		fmt.Fprintf(&b, "\t\tsize %d\n", s.Size)
	}
	if s.Interval {
		b.WriteString("\t\tflags interval\n")
	}
	if state := s.stateText(); state != "" {
		fmt.Fprintf(&b, "\t\t%s\n", state[1:])
	}
	if len(elements) > 0 {
		b.WriteString(s.elementsText(elements))
	}
	b.WriteString("\t}\n")
	return b.String()
}

// stateText is what each element carries, with a space before it.
func (s *Set) stateText() string {
	var state string
	if s.Counter {
		state = " counter"
	}
	if s.LimitOverPerSecond != 0 {
		state += fmt.Sprintf(" limit rate over %d/second", s.LimitOverPerSecond)
	}
	return state
}

// typesText is the declaration of a key.
func typesText(types []Type) string {
	if typeof(types) {
		return "typeof " + fieldsText(types, true)
	}
	return "type " + fieldsText(types, false)
}

func fieldsText(types []Type, typeof bool) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.info().name
		if typeof {
			names[i] = t.info().typeof
		}
	}
	return strings.Join(names, " . ")
}

// chainText is a chain with its rules. Names of priorities depend on the family.
func (t *Table) chainText(c *Chain) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
	if h := c.Hook; h != nil {
		fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", h.Type, h.Point, h.priorityText(t.ID.Family))
	}
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "\t\t%s\n", t.RuleText(r))
	}
	b.WriteString("\t}\n")
	return b.String()
}

// String is the hook's name in nft syntax.
func (p HookPoint) String() string {
	names := [...]string{"prerouting", "input", "forward", "output", "postrouting"}
	if int(p) < len(names) {
		return names[p]
	}
	return fmt.Sprintf("hook %d", uint8(p))
}

// priority is a priority with a name, for chains at one hook or, with anyHook, at all.
type priority struct {
	name  string
	value int32
	hook  HookPoint
}

const anyHook HookPoint = 0xff

// priorityReach is how far from a name nft counts.
const priorityReach = 10

var (
	inetPriorities = []priority{{"raw", -300, anyHook}, {"mangle", -150, anyHook}, {"dstnat", -100, Prerouting},
		{"filter", 0, anyHook}, {"security", 50, anyHook}, {"srcnat", 100, Postrouting}}
	bridgePriorities = []priority{{"dstnat", -300, Prerouting}, {"filter", -200, anyHook}, {"out", 100, Output},
		{"srcnat", 300, Postrouting}}
)

func (h *Hook) priorityText(f Family) string {
	named := inetPriorities
	if f == Bridge {
		named = bridgePriorities
	}
	for _, p := range named {
		if p.hook != anyHook && p.hook != h.Point {
			continue
		}
		switch off := h.Priority - p.value; {
		case off == 0:
			return p.name
		case off > 0 && off <= priorityReach:
			return fmt.Sprintf("%s + %d", p.name, off)
		case off < 0 && off >= -priorityReach:
			return fmt.Sprintf("%s - %d", p.name, -off)
		}
	}
	return fmt.Sprint(h.Priority)
}

// oneLine keeps words of others from ending a comment.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// sortElements orders elements by key.
func sortElements(elements []Element) {
	ordered.Sort(elements, func(a, b Element) int {
		if c := slices.Compare(a.Key.Bytes(), b.Key.Bytes()); c != 0 {
			return c
		}
		return slices.Compare(a.End.Bytes(), b.End.Bytes())
	})
}
