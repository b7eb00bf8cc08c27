package nft

import (
	"bytes"
	"fmt"
	"math/bits"
	"strings"
)

// ElementText is an element of a set in nft syntax: "eth0" . 10.0.0.0/8, or in a map tcp . 8080 : 172.17.0.2 . 80. What does not fit
// the set's types is printed as a number.
func ElementText(set *Set, e Element) string {
	key := set.keyText(e)
	if !set.IsMap() {
		return key
	}
	return key + " : " + valueText(set.Data, &e.Data)
}

// elementsText is elements = { … } as nft lays it out.
func (s *Set) elementsText(elements []Element) string {
	sortElements(elements)
	perLine := s.elementsPerLine()
	var b strings.Builder
	b.WriteString("\t\telements = { ")
	for i, e := range elements {
		switch {
		case i == 0:
		case i%perLine == 0:
			b.WriteString(",\n\t\t\t     ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(s.keyText(e) + s.stateText())
		if s.IsMap() {
			b.WriteString(" : " + valueText(s.Data, &e.Data))
		}
	}
	b.WriteString(" }\n")
	return b.String()
}

// elementsPerLine is how many elements nft writes in a line.
func (s *Set) elementsPerLine() int {
	if len(s.Key) != 1 || s.IsMap() {
		return 1
	}
	switch s.Key[0] {
	case TypeIPv4:
		return 2
	case TypeProto, TypePort, TypeMark, TypeFamily:
		return 5
	}
	return 1
}

// keyText is the key, or the interval from Key to End.
func (s *Set) keyText(e Element) string {
	last := &e.End
	if !s.Interval || last.Len() != e.Key.Len() {
		last = &e.Key
	}
	if e.Key.Len() != int(lenOf(s.Key)) {
		return formatHex(e.Key.Bytes())
	}
	fields := make([]string, len(s.Key))
	at := 0
	for i, t := range s.Key {
		n := int(t.info().len)
		fields[i] = t.intervalText(s.Interval, e.Key.Bytes()[at:at+n], last.Bytes()[at:at+n])
		at += (n + 3) &^ 3
	}
	return strings.Join(fields, " . ")
}

// intervalText is a field of a key, from first to last; in sets with intervals numbers are in network byte order.
func (t Type) intervalText(swapped bool, first, last []byte) string {
	text := t.info().text
	if t == TypeMark && swapped {
		text = func(b []byte) string { return fmt.Sprintf("0x%08x", b) }
	}
	switch prefix, ok := prefixLen(first, last); {
	case bytes.Equal(first, last):
		return text(first)
	case ok && (t == TypeIPv4 || t == TypeIPv6 || t == TypeMark):
		return fmt.Sprintf("%s/%d", text(first), prefix)
	}
	return text(first) + "-" + text(last)
}

// prefixLen is how many leading bits first and last have in common, if they are all that have them.
func prefixLen(first, last []byte) (int, bool) {
	n := 0
	for i := range first {
		differ := first[i] ^ last[i]
		if differ == 0 {
			n += 8
			continue
		}
		n += bits.LeadingZeros8(differ)
		break
	}
	rest := n
	for i := range first {
		m := byte(0xff)
		if rest > 0 {
			m >>= min(rest, 8)
			rest -= min(rest, 8)
		}
		if first[i]&m != 0 || last[i]&m != m {
			return 0, false
		}
	}
	return n, true
}

// valueText is a value with fields of these types.
func valueText(types []Type, v *Value) string {
	if v.Len() != int(lenOf(types)) {
		return formatHex(v.Bytes())
	}
	fields := make([]string, len(types))
	at := 0
	for i, t := range types {
		n := int(t.info().len)
		fields[i] = t.info().text(v.Bytes()[at : at+n])
		at += (n + 3) &^ 3
	}
	return strings.Join(fields, " . ")
}
