package hostcheck

import "fmt"

// Kind is what a finding is about.
type Kind string

// The kinds of findings.
const (
	// ForwardDrop: somebody's chain on the forward hook stops packets of ours.
	ForwardDrop Kind = "forward-drop"
	// BridgeNF: br_netfilter shows packets between two ports of a bridge to such a chain.
	BridgeNF Kind = "bridge-nf"
	// LegacyFirewall: iptables-legacy has rules or a policy for forwarded packets.
	LegacyFirewall Kind = "legacy-firewall"
	// FirewallManager: a program that manages the host's firewall, and does not know of us.
	FirewallManager Kind = "firewall-manager"
	// ForeignTable: a table of our name belongs to another process.
	ForeignTable Kind = "foreign-table"
	// StrictRPFilter: the kernel drops packets whose source it would reach by another interface.
	StrictRPFilter Kind = "strict-rp-filter"
	// NoForwarding: the host does not forward, and nobody is to switch it on.
	NoForwarding Kind = "no-forwarding"
)

// Severity is how much a finding matters.
type Severity string

// The severities, the worst first.
const (
	// Problem: packets that ought to arrive don't.
	Problem Severity = "problem"
	// Warning: some packets that ought to arrive may not.
	Warning Severity = "warning"
	// Note: it works, but not as one would think.
	Note Severity = "note"
)

// Finding is one thing about a host that gets in the way, and what to do about it. Findings compare with ==: one that stays the same
// from one look to the next is the same value.
type Finding struct {
	Kind     Kind
	Severity Severity
	// Object is what it is about, as in "ip filter FORWARD" or "net/ipv4/ip_forward". Kind and Object together name a finding.
	Object string
	// Title says it in a few words, Detail as it is, Fix what to do: sentences, with commands between back quotes.
	Title, Detail, Fix string
}

// String is all of it in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s. %s Fix: %s", f.Severity, f.Title, f.Detail, f.Fix)
}
