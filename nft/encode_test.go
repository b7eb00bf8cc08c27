package nft

import (
	"net/netip"
	"strings"
	"testing"
)

// There is one way to write each rule; the others are refused, with the reason.
func TestRulesThatAreRefused(t *testing.T) {
	inet, bridge := inetTable(), bridgeTable()
	local := Addr(netip.MustParseAddr("10.0.0.1"))
	for _, c := range []struct {
		table  *Table
		rule   Rule
		reason string
	}{
		{&inet, Rule{}, "does nothing"},
		{&inet, Rule{Comment("nothing")}, "does nothing"},
		{&inet, Rule{Accept, Counter}, "can follow a verdict"},
		{&inet, Rule{Jump("nowhere")}, `no chain "nowhere"`},
		{&inet, Rule{Verdict{Kind: VerdictJump}}, "jump and goto have a chain"},
		{&inet, Rule{Verdict{}}, "no such verdict"},
		{&inet, Rule{Comment("early"), Accept}, "does nothing"},
		{&inet, Rule{Counter, Comment("early"), Accept}, "last statement"},
		{&inet, Rule{Accept, Comment(strings.Repeat("x", 128))}, "1 to 127 bytes"},
		{&inet, Rule{Accept, Comment(`say "hi"`)}, "quotation marks"},
		{&inet, Rule{Unknown("quota")}, "cannot encode nft.Unknown"},

		{&inet, Rule{IIFName.In("nobody")}, `no set "nobody"`},
		{&inet, Rule{IIFName.In("snat4")}, `no set "snat4"`},
		{&inet, Rule{IPSAddr.In("names")}, "ip saddr is no key of"},
		{&inet, Rule{Join(IIFName, IIFName, IIFName).In("pairs")}, "is no key of"},
		{&inet, Rule{DNATTo(IPv4, IIFName, "names")}, `no map "names"`},
		{&inet, Rule{DNATTo(IPv6, IIFName, "snat4")}, "must give an address of family ip6"},
		{&inet, Rule{IP6SAddr.In("prefixes6"), SNATTo(IPv4, IIFName, "snat4")}, "of another family"},
		{&bridge, Rule{Masquerade}, "no translation"},

		{&inet, Rule{Match{Expr: IIFName}}, "neither set nor values"},
		{&inet, Rule{Join(IIFName, OIFName).Is(Name("a"))}, "only named sets"},
		{&inet, Rule{IIFName.Is(Port(1))}, "2 bytes instead of 16"},
		{&inet, Rule{CTState.Is(Mark(2))}, "by Any and None"},
		{&inet, Rule{MetaMark.Any(1)}, "by Any and None"},
		{&inet, Rule{MetaMark.Masked(Mark(1), Mark(1))}, "no mask"},
		{&inet, Rule{L4Proto.AtLeast(Byte(1))}, "by size"},
		{&inet, Rule{FragOff.Is(Port(1 << 13))}, "more than 13 bits"},
		{&inet, Rule{FragOff.Is(Port(1), Port(2))}, "no alternatives"},
		{&inet, Rule{Match{Expr: MetaMark, Values: []Value{Mark(2), Mark(1)}}}, "in order"},
		{&inet, Rule{MetaMark.Verdicts()}, "no alternatives"},
		{&inet, Rule{EtherType.Is(Port(0x800))}, "only in family bridge"},
		{&bridge, Rule{NFProto.Is(Byte(2))}, "only in family inet"},

		{&inet, Rule{NFProto.Is(Byte(2)), IPSAddr.Is(local)}, "leave the match on it out"},
		{&inet, Rule{L4Proto.Is(Byte(17)), UDPDPort.Is(Port(53))}, "leave the match on it out"},
		{&inet, Rule{IPSAddr.Is(local), NFProto.Is(Byte(2))}, "known already"},
		{&inet, Rule{IPSAddr.Is(local), IP6SAddr.In("prefixes6")}, "of another family"},
		{&inet, Rule{ICMPType.Is(Byte(8)), UDPDPort.Is(Port(53))}, "another protocol"},
		{&bridge, Rule{EtherType.Is(Port(0x217), Port(0x806)), UDPSPort.IsNot(Port(1))}, "the packet may be ARP"},
		{&bridge, Rule{EtherType.Is(Port(0x806)), UDPSPort.Is(Port(1))}, "the packet may be ARP"},
		{&bridge, Rule{ARPOperation.Is(Port(1)), UDPSPort.Is(Port(1))}, "the packet may be ARP"},
		{&inet, Rule{L4Proto.Is(Byte(6)), THDPort.Is(Port(80))}, "nft would name its own field"},
		{&inet, Rule{UDPDPort.Is(Port(53)), UDPSPort.Is(Port(53))}, "in the header's order"},
		{&inet, Rule{UDPSPort.Is(Port(53)), Counter, UDPDPort.Is(Port(53))}, "beside its neighbour"},
		{&inet, Rule{UDPSPort.IsNot(Port(53)), UDPDPort.IsNot(Port(53))}, "join the comparisons"},
		{&inet, Rule{IIFName.In("names"), FragOff.Is(Port(0))}, "must be the first match"},
		{&Table{ID: TableID{IPv4, "small"}}, Rule{Accept}, "family ip are not supported"},
	} {
		_, err := encodeRule(c.table, c.rule, 1)
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: got %v, want %q", c.table.RuleText(c.rule), err, c.reason)
		}
	}
}

// Several sets of one rule, and of one batch, must not be mixed up.
func TestAnonymousSetsHaveTheirIDs(t *testing.T) {
	table := inetTable()
	e, err := encodeRule(&table, Rule{IIFName.Is(Name("b"), Name("a")), ICMPType.Is(Byte(8), Byte(0)), Accept}, 41)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.sets) != 2 || e.sets[0].id != 41 || e.sets[1].id != 42 || e.sets[0].elements[0].key != Name("a") {
		t.Errorf("%+v", e.sets)
	}
}
