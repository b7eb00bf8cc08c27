package hostcheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged/nft"
)

// chains finds what stops flows of ours on the forward hook.
func (h Host) chains() []Finding {
	var found []Finding
	ours := h.Own.tables()
	flows := h.flows()
	for _, t := range h.Tables {
		if ours[t.ID] || t.Dormant {
			continue
		}
		for _, c := range t.Chains {
			if c.forwards() {
				found = append(found, h.stopped(t, c, flows)...)
			}
		}
	}
	return found
}

// stopped is what a chain does to flows: one finding for what is forwarded, and one for what br_netfilter brings in.
func (h Host) stopped(t Table, c Chain, flows []flow) []Finding {
	var forwarded, bridged stop
	for _, f := range flows {
		if !f.packet.sees(t.ID.Family) {
			continue
		}
		o := f.packet.walk(t, c)
		switch {
		case o.verdict != Drop && o.verdict != Reject:
		case f.direction == inside && !f.packet.frame:
			bridged.add(f, o)
		default:
			forwarded.add(f, o)
		}
	}
	var found []Finding
	if forwarded.flows != nil {
		found = append(found, forwarded.finding(t, c))
	}
	if bridged.flows != nil {
		found = append(found, bridged.bridgeNF(t, c))
	}
	return found
}

// stop is flows that one chain stops.
type stop struct {
	flows []flow
	// by is where the first of them ends.
	by outcome
	// certain: of at least one no packet is spared.
	certain bool
}

func (s *stop) add(f flow, o outcome) {
	if s.flows == nil {
		s.by = o
	}
	s.flows = append(s.flows, f)
	s.certain = s.certain || !o.spared
}

func (s *stop) severity() Severity {
	if s.certain {
		return Problem
	}
	return Warning
}

// bridges are the names of the bridges whose flows are stopped, each once.
func (s *stop) bridges() []string {
	var names []string
	for _, f := range s.flows {
		if !slices.Contains(names, f.bridge) {
			names = append(names, f.bridge)
		}
	}
	return names
}

// what says which packets are stopped, as in "new connections out of docker0 and to its published ports".
func (s *stop) what() string {
	bridges := strings.Join(s.bridges(), ", ")
	goes := func(d direction) bool {
		return slices.ContainsFunc(s.flows, func(f flow) bool { return f.direction == d })
	}
	var parts []string
	if goes(outwards) {
		parts = append(parts, "out of "+bridges)
	}
	if goes(inwards) {
		parts = append(parts, "to published ports of "+bridges)
	}
	if goes(inside) {
		parts = append(parts, "between two ports of "+bridges)
	}
	return "new connections " + strings.Join(parts, " and ")
}

// place is where and by whom, as in "chain FORWARD of table ip filter (hook forward, priority 0, policy drop; made by Docker
// Engine, by iptables-nft)".
func place(t Table, c Chain, m maker) string {
	by := ""
	if m.name != "" {
		by = "; made by " + m.name
	}
	return fmt.Sprintf("chain %s of table %v (hook forward, priority %d, policy %s%s)", c.Name, t.ID, c.Hook.Priority, c.Policy, by)
}

// end is what stops the packets, as in "its policy drop" and "the rule `reject` of chain filter_FORWARD".
func (s *stop) end() string {
	if s.by.at.Verdict == Continue {
		return "its policy drop"
	}
	return fmt.Sprintf("the rule `%v` of chain %s", s.by.at, s.by.in)
}

// unsure is a sentence about rules that may accept some of the packets.
func (s *stop) unsure() string {
	if s.certain {
		return ""
	}
	return " Rules before that accept some of them, by ports, marks or the like."
}

func (s *stop) finding(t Table, c Chain) Finding {
	m := makerOf(t, c)
	return Finding{
		Kind: ForwardDrop, Severity: s.severity(), Object: fmt.Sprintf("%v %s", t.ID, c.Name),
		Title: fmt.Sprintf("%v %s stops %s", t.ID, c.Name, s.what()),
		Detail: fmt.Sprintf("In %s %s stops them. An accept in another table does not help: each table is asked.%s",
			place(t, c, m), s.end(), s.unsure()),
		Fix: s.fix(m) + ".",
	}
}

func (s *stop) bridgeNF(t Table, c Chain) Finding {
	m := makerOf(t, c)
	sysctls := s.sysctls()
	verb := " is 1"
	if len(sysctls) > 1 {
		verb = " are 1"
	}
	return Finding{
		Kind: BridgeNF, Severity: s.severity(), Object: fmt.Sprintf("%v %s", t.ID, c.Name),
		Title: fmt.Sprintf("%v %s stops %s, because %s", t.ID, c.Name, s.what(), strings.Join(sysctls, " and ")+verb),
		Detail: fmt.Sprintf("br_netfilter shows packets that stay within a bridge to the IP rules, and in %s %s stops them.%s",
			place(t, c, m), s.end(), s.unsure()),
		Fix: fmt.Sprintf("`sysctl -w %s=0`, or %s.", strings.Join(sysctls, "=0 "), s.fix(m)),
	}
}

// fix is how to let the bridges' packets through.
func (s *stop) fix(m maker) string {
	var fixes []string
	for _, b := range s.bridges() {
		fixes = append(fixes, m.allow(bridgeName(b)))
	}
	return strings.Join(fixes, "; ")
}

// sysctls are those that bring the packets to the rules.
func (s *stop) sysctls() []string {
	var names []string
	for _, f := range s.flows {
		name := bridgeNFCall4
		if f.packet.family == nft.IPv6 {
			name = bridgeNFCall6
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// bridgeName is a name to put into a command.
func bridgeName(name string) string {
	if name == newBridge {
		return "BRIDGE"
	}
	return name
}
