package ipam_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/ipam"
)

// ranges reads FIRST-LAST, either of which may be missing.
func ranges(texts ...string) (all []ipam.Range) {
	for _, text := range texts {
		first, last, _ := strings.Cut(text, "-")
		var r ipam.Range
		if first != "" {
			r.First = addr(first)
		}
		if last != "" {
			r.Last = addr(last)
		}
		all = append(all, r)
	}
	return all
}

func TestTakeFromRanges(t *testing.T) {
	for _, tt := range []struct {
		prefix, gateway string
		ranges, want    []string
	}{
		{"10.0.0.0/24", "10.0.0.1", []string{"10.0.0.20-10.0.0.21", "10.0.0.10-10.0.0.11"}, []string{"10.0.0.20", "10.0.0.21", "10.0.0.10", "10.0.0.11"}},
		{"10.0.0.0/24", "10.0.0.1", []string{"-10.0.0.3"}, []string{"10.0.0.2", "10.0.0.3"}},
		{"10.0.0.0/24", "10.0.0.254", []string{"10.0.0.252-"}, []string{"10.0.0.252", "10.0.0.253"}},
		{"10.0.0.0/30", "10.0.0.1", []string{"-"}, []string{"10.0.0.2"}},
		{"fd00::/64", "fd00::1", []string{"fd00::1:0-fd00::1:1", "fd00::-fd00::1"}, []string{"fd00::1:0", "fd00::1:1"}},
	} {
		p := newPool(t, ipam.Config{Prefix: prefix(tt.prefix), Gateway: addr(tt.gateway), Ranges: ranges(tt.ranges...)})
		var got []string
		for _, a := range takeAll(t, p, 300) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v of %s: taken %v, want %v", tt.ranges, tt.prefix, got, tt.want)
		}
		for _, a := range tt.want {
			p.Release(addr(a))
		}
		if a, err := p.Take(); err != nil || a != addr(tt.want[0]) {
			t.Errorf("%v of %s: when all are free again %v, %v is taken, want the one that is free longest", tt.ranges, tt.prefix, a, err)
		}
	}
}

// TestHugeRanges: what can't be counted is no less than what can.
func TestHugeRanges(t *testing.T) {
	p := newPool(t, ipam.Config{Prefix: prefix("fd00::/32"), Ranges: ranges("fd00::1-fd00:0:7fff::", "fd00:0:8000::-")})
	if got := takeAll(t, p, 3); !slices.Equal(got, []netip.Addr{addr("fd00::1"), addr("fd00::2"), addr("fd00::3")}) {
		t.Errorf("taken: %v", got)
	}
}

func TestRangesRefused(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.1.1-10.0.1.2":                     "range 10.0.1.1-10.0.1.2 is outside the subnet 10.0.0.0/24",
		"10.0.0.1-10.0.1.2":                     "range 10.0.0.1-10.0.1.2 is outside the subnet 10.0.0.0/24",
		"10.0.0.9-10.0.0.8":                     "range 10.0.0.9-10.0.0.8 ends before it begins",
		"fd00::1-fd00::2":                       "range fd00::1-fd00::2 is outside the subnet 10.0.0.0/24",
		"10.0.0.1-10.0.0.9 10.0.0.9-10.0.0.11":  "ranges 10.0.0.1-10.0.0.9 and 10.0.0.9-10.0.0.11 overlap",
		"10.0.0.4-10.0.0.5 10.0.0.1-10.0.0.200": "ranges 10.0.0.4-10.0.0.5 and 10.0.0.1-10.0.0.200 overlap",
	} {
		_, err := ipam.New(ipam.Config{Prefix: prefix("10.0.0.0/24"), Ranges: ranges(strings.Fields(text)...)})
		if !errors.Is(err, ipam.ErrConfig) || err.Error() != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
