package hostcheck

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged/nft"
)

// packet is the first packet of a TCP connection on the forward hook, as far as it is known: "" and the zero Prefix are anything.
type packet struct {
	family nft.Family // IPv4 or IPv6
	// frame: it passes the bridge family's hook, as a frame between two ports.
	frame              bool
	iif, oif, ibr, obr string
	saddr, daddr       netip.Prefix
	dnat               bool
}

// sees reports whether the packet passes chains of that family.
func (p packet) sees(f nft.Family) bool {
	if p.frame {
		return f == nft.Bridge
	}
	return f == nft.Inet || f == p.family
}

// truth is what is known of a match: that it does not hold, that it may, that it does.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

// matches is the truth of all matches of a rule.
func (p packet) matches(r Rule) truth {
	all := yes
	for _, m := range r.Matches {
		all = min(all, p.match(m))
	}
	return all
}

func (p packet) match(m Match) truth {
	t := p.field(m)
	if m.Not {
		t = yes - t
	}
	return t
}

func (p packet) field(m Match) truth {
	switch m.Field {
	case IIFName:
		return named(p.iif, m.Values)
	case OIFName:
		return named(p.oif, m.Values)
	case IBrName:
		return named(p.ibr, m.Values)
	case OBrName:
		return named(p.obr, m.Values)
	case SAddr:
		return within(p.saddr, m.Values)
	case DAddr:
		return within(p.daddr, m.Values)
	case NFProto:
		if p.family == nft.IPv6 {
			return one("ipv6", m.Values)
		}
		return one("ipv4", m.Values)
	case L4Proto:
		return one("tcp", m.Values)
	case CTState:
		return one("new", m.Values)
	case CTStatus:
		if slices.Contains(m.Values, "dnat") && p.dnat {
			return yes
		}
		return no
	}
	return maybe
}

func one(have string, values []string) truth {
	if slices.Contains(values, have) {
		return yes
	}
	return no
}

// named compares an interface's name.
func named(name string, values []string) truth {
	if name == "" {
		return maybe
	}
	for _, v := range values {
		start, wild := strings.CutSuffix(v, "*")
		if v == name || wild && strings.HasPrefix(name, start) {
			return yes
		}
	}
	return no
}

// within compares addresses: yes when all of p are in one of the values, no when none is in any.
func within(p netip.Prefix, values []string) truth {
	if !p.IsValid() {
		return maybe
	}
	result := no
	for _, v := range values {
		r, ok := parseSpan(v)
		switch {
		case !ok:
			result = max(result, maybe)
		case r.contains(p):
			return yes
		case r.overlaps(p):
			result = maybe
		}
	}
	return result
}

// outcome is what a chain does to a packet. Matches that may hold are taken for not holding.
type outcome struct {
	// verdict is Accept, Drop or Reject; Return when the chain came to its end.
	verdict Verdict
	// at is the rule that decided, and in its chain; the zero Rule: the policy.
	at Rule
	in string
	// spared: a rule that may hold accepts the packet before, or may do anything with it.
	spared bool
}

// maxJumps is NFT_JUMP_STACK_SIZE of linux/netfilter/nf_tables.h: no chain is deeper, and it ends loops that the kernel would refuse.
const maxJumps = 16

// walk leads the packet through a base chain.
func (p packet) walk(t Table, c Chain) outcome {
	w := walker{packet: p, table: t, known: make(map[reached]outcome)}
	o := w.chain(c, maxJumps)
	if o.verdict == Return {
		o.verdict, o.at, o.in = c.Policy, Rule{}, c.Name
	}
	return o
}

// walker is one walk. What a chain does is found out once: chains that jump to the next one several times would multiply.
type walker struct {
	packet packet
	table  Table
	known  map[reached]outcome
}

// reached is a chain, and how much deeper jumps may lead.
type reached struct {
	chain string
	jumps int
}

func (w *walker) chain(c Chain, jumps int) outcome {
	key := reached{c.Name, jumps}
	o, ok := w.known[key]
	if !ok {
		o = w.rules(c, jumps)
		w.known[key] = o
	}
	return o
}

func (w *walker) rules(c Chain, jumps int) outcome {
	o := outcome{verdict: Return}
	for _, r := range c.Rules {
		holds := w.packet.matches(r)
		if holds == no {
			continue
		}
		next := w.apply(c, r, jumps)
		if holds == maybe {
			o.spared = o.spared || next.spared || next.verdict == Accept
			continue
		}
		o.spared = o.spared || next.spared
		if r.Verdict == Return || r.Verdict == Goto || next.verdict != Return {
			o.verdict, o.at, o.in = next.verdict, next.at, next.in
			return o
		}
	}
	return o
}

// apply is what a rule of c does to a packet that it matches; Return: the packet is not decided about.
func (w *walker) apply(c Chain, r Rule, jumps int) outcome {
	switch r.Verdict {
	case Accept, Drop, Reject:
		return outcome{verdict: r.Verdict, at: r, in: c.Name}
	case Undecided:
		return outcome{verdict: Accept, at: r, in: c.Name, spared: true}
	case Jump, Goto:
		if c, ok := w.table.chain(r.Chain); ok && jumps > 0 {
			return w.chain(c, jumps-1)
		}
	}
	return outcome{verdict: Return}
}
