package nft

import (
	"fmt"
	"slices"

	"github.com/bridged/bridged/internal/ordered"
)

// Rule is its statements, in order. A rule is written the way it reads in nft syntax:
//
//	nft.Rule{nft.IIFName.In("bridges"), nft.Counter, nft.Drop, nft.Comment("other network")}
type Rule []Stmt

// Stmt is one statement of a rule: a match, a verdict, a counter, a translation or a comment.
type Stmt interface{ stmt() }

// Match compares what an expression finds in a packet.
type Match struct {
	Expr Expr
	// Not inverts the match.
	Not bool
	// Set is the name of a set in the same table; or else one of Values, one of which must be equal.
	Set string
	// Values are in order, each once.
	Values []Value
	// Mask, when it is not zero, is and'ed with what Expr finds before the comparison: ether daddr & 01:00:… == 01:00:…
	Mask Value
	// Flags: for ct state and ct status, any of the bits of Values[0] (Mark) is set.
	Flags bool
	// Atleast: Expr >= Values[0] instead of equality.
	AtLeast bool
	// Bits is the prefix length of a prefix match on an address; 0: the whole value.
	Bits int
	// NamePrefix: Values[0] is the beginning of an interface name: iifname "bv*".
	NamePrefix bool
}

// Verdict ends the rule: "accept", "drop", "return", "jump X", "goto X".
type Verdict struct {
	Kind  VerdictKind
	Chain string // of jump and goto
}

// VerdictKind is what a verdict does.
type VerdictKind uint8

// The verdicts.
const (
	VerdictAccept VerdictKind = iota + 1
	VerdictDrop
	VerdictReturn
	VerdictJump
	VerdictGoto
)

// VerdictMap looks a verdict up: ether type vmap { ip : goto source-ip, … }. The map is anonymous and constant, its entries
// are in order of their keys, each once. [Expr.Verdicts] makes one.
type VerdictMap struct {
	Expr Expr
	Map  []VerdictMapEntry
}

// VerdictMapEntry is one element of a VerdictMap.
type VerdictMapEntry struct {
	Key     Value
	Verdict Verdict
}

// Translate is dnat or snat to what a named map gives for a key: dnat ip to KEY map @SET. A key that the map does not have
// ends the rule, not the chain. In DNAT maps the data are address . port, in SNAT maps an address.
type Translate struct {
	Source bool   // snat instead of dnat
	Family Family // IPv4 or IPv6
	Key    Expr
	Map    string
}

type (
	counterStmt    struct{}
	masqueradeStmt struct{}
	// Comment is a rule's comment, at most 127 bytes, and its last statement.
	Comment string
	// Unknown stands for a rule that was found in the kernel and that no program of ours has: what it does, in words. It cannot be
	// written.
	Unknown string
)

// Statements without parameters.
var (
	// Counter counts packets and bytes.
	Counter Stmt = counterStmt{}
	// Masquerade gives the packet the address of the interface that it leaves by.
	Masquerade Stmt = masqueradeStmt{}
	// Accept ends the evaluation of the base chain.
	Accept Stmt = Verdict{Kind: VerdictAccept}
	// Drop drops the packet.
	Drop Stmt = Verdict{Kind: VerdictDrop}
	// Return goes on after the jump that led here.
	Return Stmt = Verdict{Kind: VerdictReturn}
)

// Jump continues in another chain and comes back.
func Jump(chain string) Verdict { return Verdict{Kind: VerdictJump, Chain: chain} }

// Goto continues in another chain for good.
func Goto(chain string) Verdict { return Verdict{Kind: VerdictGoto, Chain: chain} }

// DNATTo is dnat to the address and port that a map gives for a key.
func DNATTo(f Family, key Expr, set string) Translate {
	return Translate{Family: f, Key: key, Map: set}
}

// SNATTo is snat to the address that a map gives for a key.
func SNATTo(f Family, key Expr, set string) Translate {
	return Translate{Source: true, Family: f, Key: key, Map: set}
}

func (Match) stmt()          {}
func (Verdict) stmt()        {}
func (VerdictMap) stmt()     {}
func (Translate) stmt()      {}
func (Comment) stmt()        {}
func (Unknown) stmt()        {}
func (counterStmt) stmt()    {}
func (masqueradeStmt) stmt() {}

// Expr is something that a rule can look at in a packet, or a concatenation of such.
type Expr struct {
	fields []field
}

// field is one entry of the table in expr.go.
type field uint8

// The expressions, named after their nft syntax. An expression that needs a header (ip saddr, icmp type, udp sport) matches
// only packets that have it.
var (
	IIFName         = single(fieldIIFName)         // iifname
	OIFName         = single(fieldOIFName)         // oifname
	NFProto         = single(fieldNFProto)         // meta nfproto
	L4Proto         = single(fieldL4Proto)         // meta l4proto
	MetaMark        = single(fieldMark)            // meta mark
	CTState         = single(fieldCTState)         // ct state
	CTStatus        = single(fieldCTStatus)        // ct status
	IPSAddr         = single(fieldIPSAddr)         // ip saddr
	IPDAddr         = single(fieldIPDAddr)         // ip daddr
	IP6SAddr        = single(fieldIP6SAddr)        // ip6 saddr
	IP6DAddr        = single(fieldIP6DAddr)        // ip6 daddr
	THDPort         = single(fieldTHDPort)         // th dport
	UDPSPort        = single(fieldUDPSPort)        // udp sport
	UDPDPort        = single(fieldUDPDPort)        // udp dport
	ICMPType        = single(fieldICMPType)        // icmp type
	ICMP6Type       = single(fieldICMP6Type)       // icmpv6 type
	IGMPType        = single(fieldIGMPType)        // igmp type
	EtherSAddr      = single(fieldEtherSAddr)      // ether saddr
	EtherDAddr      = single(fieldEtherDAddr)      // ether daddr
	EtherType       = single(fieldEtherType)       // ether type
	ARPOperation    = single(fieldARPOperation)    // arp operation
	ARPSAddrEther   = single(fieldARPSAddrEther)   // arp saddr ether
	ARPSAddrIP      = single(fieldARPSAddrIP)      // arp saddr ip
	FragOff         = single(fieldFragOff)         // frag frag-off
	NDTarget        = single(fieldNDTarget)        // @th,64,128
	THFirstByte     = single(fieldTHFirstByte)     // @th,0,8
	FIBDAddrType    = single(fieldFIBDAddrType)    // fib daddr type
	FIBDAddrIIFType = single(fieldFIBDAddrIIFType) // fib daddr . iif type
	FIBSAddrIIFOIF  = single(fieldFIBSAddrIIFOIF)  // fib saddr . iif oif: Byte(0) is missing, Byte(1) exists
)

const (
	fieldIIFName field = iota + 1
	fieldOIFName
	fieldNFProto
	fieldL4Proto
	fieldMark
	fieldCTState
	fieldCTStatus
	fieldIPSAddr
	fieldIPDAddr
	fieldIP6SAddr
	fieldIP6DAddr
	fieldTHDPort
	fieldUDPSPort
	fieldUDPDPort
	fieldICMPType
	fieldICMP6Type
	fieldIGMPType
	fieldEtherSAddr
	fieldEtherDAddr
	fieldEtherType
	fieldARPOperation
	fieldARPSAddrEther
	fieldARPSAddrIP
	fieldFragOff
	fieldNDTarget
	fieldTHFirstByte
	fieldFIBDAddrType
	fieldFIBDAddrIIFType
	fieldFIBSAddrIIFOIF
)

func single(f field) Expr { return Expr{fields: []field{f}} }

// Join concatenates expressions: IIFName . IPSAddr.
func Join(es ...Expr) Expr {
	var j Expr
	for _, e := range es {
		j.fields = append(j.fields, e.fields...)
	}
	return j
}

// In matches when the set has what e finds.
func (e Expr) In(set string) Match { return Match{Expr: e, Set: set} }

// NotIn matches when the set does not have what e finds.
func (e Expr) NotIn(set string) Match { return Match{Expr: e, Set: set, Not: true} }

// Is matches one of the values, in whatever order they are given.
func (e Expr) Is(values ...Value) Match {
	values = slices.Clone(values)
	if len(e.fields) == 1 {
		d := e.fields[0].info().typ.info()
		ordered.Sort(values, func(a, b Value) int { return compareValues(d, &a, &b) })
		values = slices.Compact(values)
	}
	return Match{Expr: e, Values: values}
}

// Verdicts looks a verdict up, in whatever order the entries are given; a packet with another value goes on to the next statement.
func (e Expr) Verdicts(entries ...VerdictMapEntry) VerdictMap {
	entries = slices.Clone(entries)
	if len(e.fields) == 1 {
		d := e.fields[0].info().typ.info()
		ordered.Sort(entries, func(a, b VerdictMapEntry) int { return compareValues(d, &a.Key, &b.Key) })
	}
	return VerdictMap{Expr: e, Map: entries}
}

// IsNot matches everything but the value.
func (e Expr) IsNot(value Value) Match { return Match{Expr: e, Values: []Value{value}, Not: true} }

// Any matches when one of the flags is set (ct state, ct status).
func (e Expr) Any(flags uint32) Match {
	return Match{Expr: e, Values: []Value{Mark(flags)}, Flags: true}
}

// None matches when none of the flags is set: ct state ! established,related. (In nft, != compares the field as a whole with all
// of the flags together: a state is never equal to two.)
func (e Expr) None(flags uint32) Match {
	return Match{Expr: e, Values: []Value{Mark(flags)}, Flags: true, Not: true}
}

// InPrefix matches addresses whose first bits, at least one, are those of addr. The rest of addr is 0.
func (e Expr) InPrefix(addr Value, bits int) Match {
	if bits == 8*addr.Len() {
		return e.Is(addr)
	}
	if bits < 1 || bits > 8*addr.Len() {
		panic(fmt.Sprintf("nft: prefix of %d bits", bits))
	}
	return Match{Expr: e, Values: []Value{addr}, Bits: bits}
}

// Begins matches interface names that begin so: iifname "bv*".
func (e Expr) Begins(name string) Match {
	return Match{Expr: e, Values: []Value{Raw([]byte(name))}, NamePrefix: true}
}

// Masked matches when e & mask == value.
func (e Expr) Masked(mask, value Value) Match {
	return Match{Expr: e, Values: []Value{value}, Mask: mask}
}

// AtLeast matches when e >= value.
func (e Expr) AtLeast(value Value) Match {
	return Match{Expr: e, Values: []Value{value}, AtLeast: true}
}

// Conntrack states and status bits, from linux/netfilter/nf_conntrack_common.h as nf_tables shows them.
const (
	StateInvalid     uint32 = 1
	StateEstablished uint32 = 2
	StateRelated     uint32 = 4
	StateNew         uint32 = 8
	StatusDNAT       uint32 = 1 << 5
)

// RTNLocal is the address type of the host's own addresses, RTN_LOCAL of linux/rtnetlink.h, as fib finds it: Mark(RTNLocal).
const RTNLocal uint32 = 2
