package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged/internal/ordered"
)

// Block is a part of the address space that subnets of one size are cut from.
type Block struct {
	Base netip.Prefix
	// Size is the prefix length of each subnet.
	Size int
}

// String is as in "192.168.0.0/16 in /20".
func (b Block) String() string { return fmt.Sprintf("%s in /%d", b.Base, b.Size) }

// Check says what is wrong with the block: [ErrConfig].
func (b Block) Check() error {
	switch {
	case !b.Base.IsValid():
		return errorf(ErrConfig, "a pool needs a base, as in 192.168.0.0/16")
	case b.Size < b.Base.Bits():
		return errorf(ErrConfig, "pool %s can't be cut into subnets of /%d: they are larger than the pool", b.Base, b.Size)
	case b.Size > b.Base.Addr().BitLen():
		return errorf(ErrConfig, "pool %s can't be cut into subnets of /%d: the longest prefix is /%d", b.Base, b.Size, b.Base.Addr().BitLen())
	}
	return nil
}

// Choose is the first subnet of the blocks, in their order, that overlaps nothing in taken. [ErrExhausted]: there is none.
// The cost grows with len(taken), not with the number of subnets.
func Choose(blocks []Block, taken []netip.Prefix) (netip.Prefix, error) {
	taken = slices.Clone(taken)
	ordered.Sort(taken, func(a, b netip.Prefix) int { return a.Masked().Addr().Compare(b.Masked().Addr()) })
	for _, b := range blocks {
		if err := b.Check(); err != nil {
			return netip.Prefix{}, err
		}
		if p := b.choose(taken); p.IsValid() {
			return p, nil
		}
	}
	return netip.Prefix{}, errorf(ErrExhausted,
		"no free subnet is left: all of %s overlap with a network or a route that exists; choose a subnet yourself", joinBlocks(blocks))
}

// choose is the first subnet of the block that overlaps nothing in taken, which is sorted by the first address; the zero
// Prefix: there is none.
func (b Block) choose(taken []netip.Prefix) netip.Prefix {
	base := b.Base.Masked()
	candidate := netip.PrefixFrom(base.Addr(), b.Size)
	for _, t := range taken {
		if !candidate.Overlaps(t) {
			continue // before the candidate, behind it, or of the other family
		}
		end := last(t)
		if e := last(candidate); end.Less(e) {
			end = e
		}
		after := end.Next() // the first address of a subnet of this size: both ends are ends of such
		if !base.Contains(after) {
			return netip.Prefix{}
		}
		candidate = netip.PrefixFrom(after, b.Size)
	}
	return candidate
}

func joinBlocks(blocks []Block) string {
	s := make([]string, len(blocks))
	for i, b := range blocks {
		s[i] = b.String()
	}
	return strings.Join(s, ", ")
}
