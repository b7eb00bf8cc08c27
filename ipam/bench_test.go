package ipam_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/bridged/bridged/ipam"
)

// BenchmarkLease is one address given out and back, at so many leases: flat.
func BenchmarkLease(b *testing.B) {
	for _, s := range []string{"10.0.0.0/16", "fd00::/64"} {
		for _, leases := range []int{0, 1000, 65_000} {
			p := newPool(b, ipam.Config{Prefix: prefix(s)})
			takeAll(b, p, leases)
			b.Run(fmt.Sprintf("take/%s/%d", s[:4], leases), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					a, err := p.Take()
					if err != nil {
						b.Fatal(err)
					}
					p.Release(a)
				}
			})
			free, err := p.Take()
			if err != nil {
				b.Fatal(err)
			}
			p.Release(free)
			b.Run(fmt.Sprintf("claim/%s/%d", s[:4], leases), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Claim(free); err != nil {
						b.Fatal(err)
					}
					p.Release(free)
				}
			})
		}
	}
}

// BenchmarkChoose is the choice of a /64 when n of them are taken.
func BenchmarkChoose(b *testing.B) {
	blocks := []ipam.Block{{Base: prefix("fd00::/48"), Size: 64}}
	for _, n := range []int{10, 1000} {
		var taken []netip.Prefix
		for range n {
			p, err := ipam.Choose(blocks, taken)
			if err != nil {
				b.Fatal(err)
			}
			taken = append(taken, p)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				ipam.Choose(blocks, taken)
			}
		})
	}
}
