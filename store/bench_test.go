package store

import (
	"fmt"
	"testing"

	"github.com/bridged/bridged"
)

func BenchmarkAppend(b *testing.B) {
	port := bridged.Change{Ports: attachChange().Ports}
	for name, c := range map[string]bridged.Change{"attach": attachChange(), "publish": port, "network": network("n1")} {
		b.Run(name, func(b *testing.B) {
			s, _ := newDisk(b).open(b)
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Append(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func attached(n int) (s bridged.State) {
	for range n {
		s.Apply(attachChange())
	}
	return s
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 1000, 10_000} {
		b.Run(fmt.Sprintf("sandboxes=%d", n), func(b *testing.B) {
			d := newDisk(b)
			s, _ := d.open(b)
			for range n {
				mustAppend(b, s, attachChange())
			}
			s.Close()
			for b.Loop() {
				d.reopen(b)
			}
		})
	}
}

func BenchmarkCompact(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("sandboxes=%d", n), func(b *testing.B) {
			s, _ := newDisk(b).open(b)
			defer s.Close()
			whole := attached(n).Whole()
			for b.Loop() {
				if err := s.Compact(whole); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
