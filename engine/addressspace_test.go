package engine

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bridged/bridged/ipam"
)

// TestAddressSpace holds an address space against a list that is searched from end to end.
func TestAddressSpace(t *testing.T) {
	block := ipam.Block{Base: netip.MustParsePrefix("10.0.0.0/16"), Size: 24}
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		base := netip.MustParsePrefix("10.0.0.0/14")
		a := base.Addr().As4()
		a[1] = byte(rapid.IntRange(0, 1).Draw(t, "second"))
		a[2] = byte(rapid.IntRange(0, 20).Draw(t, "third"))
		a[3] = byte(rapid.IntRange(0, 255).Draw(t, "fourth"))
		return netip.PrefixFrom(netip.AddrFrom4(a), rapid.IntRange(18, 30).Draw(t, "bits")).Masked()
	})
	rapid.Check(t, func(t *rapid.T) {
		var s addressSpace
		var list []netip.Prefix
		foreign := rapid.SliceOfN(prefix, 0, 5).Draw(t, "foreign")
		others := outermost(foreign)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			overlapping := func(all []netip.Prefix, p netip.Prefix) bool {
				return slices.ContainsFunc(all, p.Overlaps)
			}
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				p := prefix.Draw(t, "prefix")
				o, taken := s.overlap(p)
				if taken != overlapping(list, p) || taken && !o.Overlaps(p) {
					t.Fatalf("%s overlaps with %v: %t, of %v", p, o, taken, list)
				}
				if _, taken := others.overlap(p); taken != overlapping(foreign, p) {
					t.Fatalf("%s overlaps with what others have: %t, of %v", p, taken, foreign)
				}
				if !taken {
					s.add(p, "me")
					list = append(list, p)
				}
			case 1:
				if len(list) > 0 {
					i := rapid.IntRange(0, len(list)-1).Draw(t, "gone")
					s.remove(list[i], "another")
					s.remove(list[i], "me")
					list = slices.Delete(list, i, i+1)
				}
			default:
				want := netip.Prefix{}
				for i := range 256 {
					p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
					if !overlapping(list, p) && !overlapping(foreign, p) {
						want = p
						break
					}
				}
				got, ok := s.choose(block, others)
				if got != want || ok != want.IsValid() {
					t.Fatalf("the first free one is %s, want %s, beside %v and %v", got, want, list, foreign)
				}
				if ok {
					s.add(got, "me")
					list = append(list, got)
				}
			}
		}
	})
}
