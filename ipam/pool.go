package ipam

import (
	"net/netip"
	"slices"
	"strings"
)

// maxFreed is how many freed addresses a pool remembers while there are others to give out: as many as the largest default
// subnet has, so that only huge pools ever forget one.
const maxFreed = 1 << 16

// Pool gives out the addresses of one subnet. Take, Claim and Release take constant time on average and memory for what is
// in use or was freed, however large the subnet is. A Pool is not safe for concurrent use.
type Pool struct {
	config Config
	ranges []Range
	// fixed are the addresses that are never given out, each with what it is.
	fixed map[netip.Addr]string
	used  map[netip.Addr]struct{}
	freed queue
	// next is where the search for an address that is neither used nor freed goes on; always in a range.
	next netip.Addr
	// capacity is how many addresses of the ranges can be in use at once, usedInRange how many are.
	capacity, usedInRange uint64
}

// New checks the subnet; an error is [ErrConfig] and says what doesn't fit into what.
func New(c Config) (*Pool, error) {
	c = c.masked()
	if err := c.check(); err != nil {
		return nil, err
	}
	p := &Pool{
		config: c,
		ranges: c.ranges(),
		fixed:  make(map[netip.Addr]string, len(c.Aux)+3),
		used:   make(map[netip.Addr]struct{}),
		freed:  newQueue(),
	}
	p.next = p.ranges[0].First
	for _, r := range p.ranges {
		p.capacity = min(p.capacity+r.size(), 1<<62)
	}
	for _, a := range []netip.Addr{c.Prefix.Addr(), last(c.Prefix)} {
		if s := c.special(a); s != "" {
			p.fixed[a] = s + " of " + c.Prefix.String()
		}
	}
	for name, a := range c.Aux {
		p.fixed[a] = "the auxiliary address " + name
	}
	if c.Gateway.IsValid() {
		p.fixed[c.Gateway] = "the gateway's"
	}
	for a := range p.fixed {
		if p.inRange(a) {
			p.capacity--
		}
	}
	return p, nil
}

// Take gives out the lowest address of the range that was never given out; when there is none, the one that has been free
// longest. [ErrExhausted]: all are in use.
func (p *Pool) Take() (netip.Addr, error) {
	var a netip.Addr
	switch {
	case p.fresh() > 0:
		a = p.search()
	case p.freed.len() > 0:
		a = p.freed.pop()
	default:
		return netip.Addr{}, errorf(ErrExhausted, "no free address is left in %s", p.what())
	}
	p.use(a)
	return a, nil
}

// Claim gives out a, which may be outside the range but not outside the subnet. [ErrUnusable] and [ErrInUse]: the message
// says what a is.
func (p *Pool) Claim(a netip.Addr) error {
	if !p.config.Prefix.Contains(a) {
		return errorf(ErrUnusable, "address %s is outside the subnet %s", a, p.config.Prefix)
	}
	if what, ok := p.fixed[a]; ok {
		if p.config.special(a) != "" {
			return errorf(ErrUnusable, "address %s is %s", a, what)
		}
		return errorf(ErrInUse, "address %s is %s", a, what)
	}
	if _, ok := p.used[a]; ok {
		return errorf(ErrInUse, "address %s is already in use", a)
	}
	p.freed.remove(a)
	p.use(a)
	return nil
}

// Release gives a back. An address that is not in use is ignored.
func (p *Pool) Release(a netip.Addr) {
	if _, ok := p.used[a]; !ok {
		return
	}
	delete(p.used, a)
	if !p.inRange(a) {
		return // can't be taken, so its age does not matter
	}
	p.usedInRange--
	p.freed.push(a)
	if p.freed.len() > maxFreed && p.fresh() > 0 {
		p.freed.pop()
	}
}

// History is what a restart needs beside the addresses in use: the place where the search for an address that was never
// given out goes on (the zero Addr: at the beginning), and the freed addresses, the one that is free longest first.
//
// It takes time in proportion to freed. A caller that logs each lease can do without it between two snapshots: the same
// Claims and Releases after a Restore, with a Claim in place of each Take, lead to an equal pool.
func (p *Pool) History() (next netip.Addr, freed []netip.Addr) {
	if p.next != p.ranges[0].First {
		next = p.next
	}
	return next, p.freed.all()
}

// Restore is the inverse of [Pool.History], before or after the Claims of what is in use. What does not fit is ignored:
// the subnet's range may have changed in between.
func (p *Pool) Restore(next netip.Addr, freed []netip.Addr) {
	p.next = p.ranges[0].First
	if p.inRange(next) {
		p.next = next
	}
	p.freed = newQueue()
	for _, a := range freed {
		_, used := p.used[a]
		_, fixed := p.fixed[a]
		if !used && !fixed && p.inRange(a) {
			p.freed.push(a)
		}
	}
}

// fresh is the number of addresses in the range that are neither in use nor remembered as freed.
func (p *Pool) fresh() uint64 { return p.capacity - p.usedInRange - uint64(p.freed.len()) }

// search finds the first fresh address from next on; there must be one. It passes each address once a round, so that a search
// is short on average.
func (p *Pool) search() netip.Addr {
	for {
		a := p.next
		p.next = p.after(a)
		if _, ok := p.fixed[a]; ok {
			continue
		}
		if _, ok := p.used[a]; ok {
			continue
		}
		if !p.freed.has(a) {
			return a
		}
	}
}

// inRange reports whether a may be chosen.
func (p *Pool) inRange(a netip.Addr) bool {
	return slices.ContainsFunc(p.ranges, func(r Range) bool { return r.Contains(a) })
}

// after is the address in the ranges that follows a, and the first one behind the last.
func (p *Pool) after(a netip.Addr) netip.Addr {
	for i, r := range p.ranges {
		switch {
		case !r.Contains(a):
		case a != r.Last:
			return a.Next()
		default:
			return p.ranges[(i+1)%len(p.ranges)].First
		}
	}
	return p.ranges[0].First
}

// what are the ranges, for people.
func (p *Pool) what() string {
	if len(p.config.Ranges) == 0 {
		return p.config.Range.String()
	}
	var names []string
	for _, r := range p.ranges {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}

func (p *Pool) use(a netip.Addr) {
	p.used[a] = struct{}{}
	if p.inRange(a) {
		p.usedInRange++
	}
}
