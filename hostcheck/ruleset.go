package hostcheck

import (
	"fmt"
	"strings"

	"github.com/bridged/bridged/nft"
)

// Table is an nf_tables table of somebody's, as far as it decides about forwarded packets.
type Table struct {
	ID nft.TableID
	// Dormant: its chains are switched off.
	Dormant bool
	// Owner is the other process that owns it, as in "bridged (pid 812)"; "": nobody, or this process.
	Owner string
	// Chains are all chains, by name. Rules are read of those only that packets on the forward hook can come to.
	Chains []Chain
}

// chain is the chain of that name; false when there is none.
func (t Table) chain(name string) (Chain, bool) {
	for _, c := range t.Chains {
		if c.Name == name {
			return c, true
		}
	}
	return Chain{}, false
}

// has reports whether a chain's name begins so.
func (t Table) has(prefix string) bool {
	for _, c := range t.Chains {
		if strings.HasPrefix(c.Name, prefix) {
			return true
		}
	}
	return false
}

// Chain is a chain: a base chain when Hook is not nil.
type Chain struct {
	Name string
	Hook *nft.Hook
	// Policy is Accept or Drop, of a base chain.
	Policy Verdict
	Rules  []Rule
}

// forwards reports whether the chain is asked about forwarded packets.
func (c Chain) forwards() bool {
	return c.Hook != nil && c.Hook.Point == nft.Forward
}

// Rule is what a rule asks of a packet, and what becomes of the packet when all of it holds. Counters, logs and the like are left out.
type Rule struct {
	Matches []Match
	Verdict Verdict
	// Chain is where jump and goto lead.
	Chain string
}

// String is the rule like nft's, as in `iifname "docker0" accept`.
func (r Rule) String() string {
	var words []string
	for _, m := range r.Matches {
		words = append(words, m.String())
	}
	if r.Verdict != Continue {
		words = append(words, string(r.Verdict))
	}
	if r.Chain != "" {
		words = append(words, r.Chain)
	}
	return strings.Join(words, " ")
}

// Verdict is what a rule does with a packet that it matches.
type Verdict string

// The verdicts. Undecided stands for what can't be foreseen: a program in user space, a map of verdicts.
const (
	Continue  Verdict = ""
	Accept    Verdict = "accept"
	Drop      Verdict = "drop"
	Reject    Verdict = "reject"
	Return    Verdict = "return"
	Jump      Verdict = "jump"
	Goto      Verdict = "goto"
	Undecided Verdict = "undecided"
)

// Match is one condition of a rule: the field has one of the values.
type Match struct {
	Field Field
	// Not: the field has none of the values.
	Not bool
	// Values are in nft's words: a name or the beginning of one ("bv*"), a prefix or a range ("10.0.0.0/8",
	// "10.0.0.1-10.0.0.9"), a state.
	Values []string
}

// String is as in `iifname "docker0"` and `ct state { established, related }`.
func (m Match) String() string {
	if m.Field == Other {
		return "…"
	}
	values := strings.Join(m.Values, ", ")
	if len(m.Values) != 1 {
		values = "{ " + values + " }"
	}
	if m.Not {
		values = "!= " + values
	}
	return fmt.Sprintf("%s %s", m.Field, values)
}

// Field is what a match looks at.
type Field string

// The fields that are told apart. Other is everything else: whether it holds depends on the packet.
const (
	Other    Field = ""
	IIFName  Field = "iifname"
	OIFName  Field = "oifname"
	IBrName  Field = "ibrname" // the bridge that the incoming port belongs to
	OBrName  Field = "obrname"
	SAddr    Field = "saddr"
	DAddr    Field = "daddr"
	NFProto  Field = "nfproto" // ipv4, ipv6
	L4Proto  Field = "l4proto" // tcp, udp, …, or a number
	CTState  Field = "ct state"
	CTStatus Field = "ct status"
)
