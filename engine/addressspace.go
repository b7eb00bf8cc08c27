package engine

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/ipam"
)

// addressSpace is a set of prefixes that have no address in common, in the order of their addresses: what overlaps with a prefix, or which subnet is
// free, is found without looking at all of them. The zero addressSpace is empty.
type addressSpace struct {
	taken []owned
	// next is where the search for a free subnet of a block goes on: all before it are taken.
	next map[ipam.Block]netip.Prefix
}

// owned is a prefix and the id of whom it belongs to.
type owned struct {
	netip.Prefix
	owner string
}

// outermost is a space of prefixes that may contain one another: the larger ones count.
func outermost(prefixes []netip.Prefix) *addressSpace {
	sorted := slices.Clone(prefixes)
	ordered.Sort(sorted, func(a, b netip.Prefix) int {
		if c := a.Masked().Addr().Compare(b.Masked().Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	s := new(addressSpace)
	for _, p := range sorted {
		if n := len(s.taken); n == 0 || !s.taken[n-1].Overlaps(p) {
			s.taken = append(s.taken, owned{Prefix: p.Masked()})
		}
	}
	return s
}

// prefixes are all of the space.
func (s *addressSpace) prefixes() []netip.Prefix {
	all := make([]netip.Prefix, len(s.taken))
	for i, o := range s.taken {
		all[i] = o.Prefix
	}
	return all
}

// at is the place of the first prefix that ends at or behind the address.
func (s *addressSpace) at(a netip.Addr) int {
	return sort.Search(len(s.taken), func(i int) bool { return !lastOf(s.taken[i].Prefix).Less(a) })
}

// overlap is what overlaps with the prefix, the first if there are several.
func (s *addressSpace) overlap(p netip.Prefix) (owned, bool) {
	if i := s.at(p.Masked().Addr()); i < len(s.taken) && s.taken[i].Overlaps(p) {
		return s.taken[i], true
	}
	return owned{}, false
}

// add takes a prefix that overlaps with nothing in the space.
func (s *addressSpace) add(p netip.Prefix, owner string) {
	s.taken = slices.Insert(s.taken, s.at(p.Masked().Addr()), owned{p.Masked(), owner})
}

// remove gives a prefix of this owner back.
func (s *addressSpace) remove(p netip.Prefix, owner string) {
	o := owned{p.Masked(), owner}
	if i := s.at(o.Addr()); i < len(s.taken) && s.taken[i] == o {
		s.taken = slices.Delete(s.taken, i, i+1)
		s.next = nil // it is before where a search would go on
	}
}

// give makes a prefix of one owner another one's; without such a prefix nothing happens.
func (s *addressSpace) give(p netip.Prefix, from, to string) {
	o := owned{p.Masked(), from}
	if i := s.at(o.Addr()); i < len(s.taken) && s.taken[i] == o {
		s.taken[i].owner = to
	}
}

// choose is the first free subnet of a block, in the space and beside what others take; false: there is none.
func (s *addressSpace) choose(b ipam.Block, others *addressSpace) (netip.Prefix, bool) {
	base := b.Base.Masked()
	candidate, ok := s.next[b]
	if !ok {
		candidate = netip.PrefixFrom(base.Addr(), b.Size)
	}
	for ours := true; ; {
		o, taken := s.overlap(candidate)
		if !taken {
			if ours {
				if s.next == nil {
					s.next = make(map[ipam.Block]netip.Prefix)
				}
				s.next[b] = candidate
			}
			// What others take may be free again later: the search does not go on behind it.
			if o, taken = others.overlap(candidate); !taken {
				return candidate, true
			}
			ours = false
		}
		end := lastOf(o.Prefix)
		if last := lastOf(candidate); end.Less(last) {
			end = last
		}
		after := end.Next() // the first address of a subnet of this size: both ends are ends of such
		if !base.Contains(after) {
			return netip.Prefix{}, false
		}
		candidate = netip.PrefixFrom(after, b.Size)
	}
}

// lastOf is the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
