package conntrack

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkPurge is one sweep for so many flows over a table of so many entries, none of which is to go.
func BenchmarkPurge(b *testing.B) {
	for _, size := range []int{0, 10_000, 100_000} {
		for _, flows := range []int{1, 1000} {
			b.Run(fmt.Sprintf("entries=%d/flows=%d", size, flows), func(b *testing.B) {
				var list []Flow
				for i := range flows {
					list = append(list, Flow{Proto: udp, HostIP: netip.IPv4Unspecified(), HostPort: uint16(10_000 + i)})
				}
				tracked(b).Do(func() {
					fill(listen(b, "127.0.0.1:5000"), size)
					var p Purger
					defer p.Close()
					b.ReportAllocs()
					for b.Loop() {
						if _, err := p.Purge(list, nil); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
