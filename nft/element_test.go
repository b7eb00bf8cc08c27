package nft

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addr(s string) Value { return Addr(netip.MustParseAddr(s)) }

// someElements has elements for the sets of a table, of every kind.
func someElements(table TableID) Elements {
	elements := make(Elements)
	add := func(set string, key, end, data Value) {
		elements[Element{SetID{table, set}, key, end, data}] = struct{}{}
	}
	prefix := func(set string, p string) {
		first, last := Prefix(netip.MustParsePrefix(p))
		add(set, first, last, Value{})
	}
	concatPrefix := func(set, name, p string) {
		first, last := Prefix(netip.MustParsePrefix(p))
		add(set, Concat(Name(name), first), Concat(Name(name), last), Value{})
	}
	none := Value{}
	if table.Family == Bridge {
		mac := MAC([6]byte{2, 0, 0, 0xab, 4, 5})
		add("ports", Name("bv0123456789ab"), none, none)
		add("macs", Concat(Name("bv0"), mac), none, none)
		add("source4", Concat(Name("bv0"), mac, addr("10.0.0.2")), none, none)
		add("source6", Concat(Name("bv0"), mac, addr("fe80::2")), none, none)
		add("targets6", Concat(Name("bv0"), addr("fd00::2")), none, none)
		add("targets6", Concat(Name("bv0"), addr("::")), none, none)
		return elements
	}
	for _, name := range []string{"lo", "eth0", "br-1"} {
		add("names", Name(name), none, none)
	}
	add("pairs", Concat(Name("a"), Name("b")), none, none)
	add("services", Concat(Name("a"), Byte(17), Port(53)), none, none)
	add("families", Byte(2), none, none)
	add("families", Byte(10), none, none)
	for _, proto := range []uint8{6, 17, 132, 200, 1, 58, 2} {
		add("protocols", Byte(proto), none, none)
	}
	add("ports", Port(80), Port(80), none)
	add("ports", Port(1024), Port(2047), none)
	for _, m := range [][2]uint32{{1, 1}, {5, 9}, {0x100, 0x1ff}} {
		first, last := Marks(m[0], m[1])
		add("marks", first, last, none)
	}
	add("exact", Mark(0x100), none, none)
	for _, p := range []string{"10.0.0.0/8", "11.0.0.1/32", "172.16.0.0/12"} {
		prefix("prefixes4", p)
	}
	add("prefixes4", addr("192.0.2.1"), addr("192.0.2.4"), none)
	for _, p := range []string{"fe80::/10", "2001:db8::/64", "::1/128"} {
		prefix("prefixes6", p)
	}
	concatPrefix("trusted4", "eth0", "10.0.0.0/8")
	concatPrefix("trusted4", "eth1", "0.0.0.0/0")
	concatPrefix("trusted6", "eth0", "fd00::/8")
	first, last := Prefix(netip.MustParsePrefix("198.51.100.0/24"))
	port := []Value{addr("10.0.0.2"), Byte(6), Port(80)}
	add("allowed4", Concat(append(slices.Clone(port), first)...), Concat(append(slices.Clone(port), last)...), none)
	add("links6", Concat(addr("fd00::1"), addr("fd00::2"), Byte(6), Port(80)), none, none)
	add("rates4", Concat(port...), none, none)
	add("snat4", Name("br0"), none, addr("203.0.113.1"))
	add("snat6", Name("br0"), none, addr("2001:db8::1"))
	add("publish4", Concat(addr("203.0.113.1"), Byte(6), Port(8080)), none, Concat(addr("10.0.0.2"), Port(80)))
	add("publish4", Concat(addr("203.0.113.1"), Byte(132), Port(9)), none, Concat(addr("10.0.0.3"), Port(9)))
	add("publish6", Concat(Byte(17), Port(53)), none, Concat(addr("fd00::2"), Port(53)))
	return elements
}

func TestElementsAreThoseOfNFT(t *testing.T) {
	for _, table := range []Table{inetTable(), bridgeTable()} {
		newNamespace(t)
		rs := Ruleset{Tables: []Table{table}, Elements: someElements(table.ID)}
		text := rs.String()
		mustNFT(t, text, "-f", "-")
		list := mustNFT(t, "", "-s", "list", "ruleset")
		if diff := cmp.Diff(sortedElements(list), sortedElements(text)); diff != "" {
			t.Errorf("%s (-nft +ours):\n%s", table.ID, diff)
		}
	}
}

var elementList = regexp.MustCompile(`elements = \{ [^}]* \}`)

// sortedElements puts each list of elements in one line and in order.
func sortedElements(text string) string {
	return elementList.ReplaceAllStringFunc(text, func(list string) string {
		elements := strings.Split(strings.TrimSuffix(strings.TrimPrefix(list, "elements = { "), " }"), ",")
		for i := range elements {
			elements[i] = strings.TrimSpace(elements[i])
		}
		slices.Sort(elements)
		return "elements = { " + strings.Join(elements, ", ") + " }"
	})
}

func TestElementText(t *testing.T) {
	table := inetTable()
	for e := range someElements(table.ID) {
		if e.Set.Name == "publish4" && e.Key == Concat(addr("203.0.113.1"), Byte(6), Port(8080)) {
			if got, want := ElementText(table.set("publish4"), e), "203.0.113.1 . tcp . 8080 : 10.0.0.2 . 80"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	// An element that does not fit its set must not be the end of whoever prints it.
	if got, want := ElementText(table.set("publish4"), Element{Key: Port(1)}), "0x1 : 0x0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
