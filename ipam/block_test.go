package ipam_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bridged/bridged/ipam"
)

func TestChooseBuiltIn(t *testing.T) {
	var taken []netip.Prefix
	var got []string
	for {
		p, err := ipam.Choose(ipam.DefaultBlocks(), taken)
		if errors.Is(err, ipam.ErrExhausted) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.String())
		taken = append(taken, p)
	}
	want := []string{
		"172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16",
		"172.24.0.0/16", "172.25.0.0/16", "172.26.0.0/16", "172.27.0.0/16", "172.28.0.0/16", "172.29.0.0/16", "172.30.0.0/16",
		"172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20", "192.168.32.0/20", "192.168.48.0/20", "192.168.64.0/20",
		"192.168.80.0/20", "192.168.96.0/20", "192.168.112.0/20", "192.168.128.0/20", "192.168.144.0/20", "192.168.160.0/20",
		"192.168.176.0/20", "192.168.192.0/20", "192.168.208.0/20", "192.168.224.0/20", "192.168.240.0/20",
	}
	if !slices.Equal(got, want) {
		t.Errorf("chosen: %v", got)
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		base  string
		size  int
		taken []string
		want  string
	}{
		{"10.0.0.0/8", 24, nil, "10.0.0.0/24"},
		{"10.0.0.9/8", 24, []string{"10.0.0.0/9"}, "10.128.0.0/24"},
		{"10.0.0.0/8", 24, []string{"10.0.1.7/32", "10.0.0.200/32"}, "10.0.2.0/24"},
		{"10.0.0.0/8", 24, []string{"192.168.0.0/16", "fd00::/8"}, "10.0.0.0/24"},
		{"10.0.0.0/8", 24, []string{"0.0.0.0/0"}, ""},
		{"255.255.255.0/24", 25, []string{"255.255.255.0/25", "255.255.255.128/25"}, ""},
		{"fd00::/48", 64, []string{"fd00::/64", "fd00:0:0:1::5/128"}, "fd00:0:0:2::/64"},
		{"fd00::/8", 64, []string{"fd00::/9"}, "fd80::/64"},
		{"10.5.0.0/24", 24, nil, "10.5.0.0/24"},
		{"10.5.0.0/24", 32, []string{"10.5.0.0/32"}, "10.5.0.1/32"},
	} {
		var taken []netip.Prefix
		for _, s := range tt.taken {
			taken = append(taken, prefix(s))
		}
		got, err := ipam.Choose([]ipam.Block{{Base: prefix(tt.base), Size: tt.size}}, taken)
		if got != prefix(tt.want) || (err == nil) != (tt.want != "") {
			t.Errorf("Choose(%s in /%d, taken %v) = %v, %v, want %q", tt.base, tt.size, tt.taken, got, err, tt.want)
		}
	}
}

func TestChooseAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := netip.PrefixFrom(addr("10.0.0.0"), rapid.IntRange(24, 30).Draw(t, "base bits"))
		b := ipam.Block{Base: base, Size: rapid.IntRange(base.Bits(), 32).Draw(t, "size")}
		taken := rapid.SliceOf(rapid.Custom(func(t *rapid.T) netip.Prefix {
			last := byte(rapid.IntRange(0, 255).Draw(t, "last byte"))
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), rapid.IntRange(22, 32).Draw(t, "bits"))
		})).Draw(t, "taken")
		var want netip.Prefix
		for a := base.Addr(); base.Contains(a); a = a.Next() {
			p := netip.PrefixFrom(a, b.Size)
			if p.Masked() == p && !slices.ContainsFunc(taken, p.Overlaps) {
				want = p
				break
			}
		}
		if got, _ := ipam.Choose([]ipam.Block{b}, taken); got != want {
			t.Fatalf("Choose(%v, %v) = %v, want %v", b, taken, got, want)
		}
	})
}

func TestBlockCheck(t *testing.T) {
	for _, tt := range []struct {
		block ipam.Block
		want  string
	}{
		{ipam.Block{}, "a pool needs a base, as in 192.168.0.0/16"},
		{ipam.Block{Base: prefix("10.0.0.0/16"), Size: 8}, "pool 10.0.0.0/16 can't be cut into subnets of /8: they are larger than the pool"},
		{ipam.Block{Base: prefix("10.0.0.0/16"), Size: 33}, "pool 10.0.0.0/16 can't be cut into subnets of /33: the longest prefix is /32"},
		{ipam.Block{Base: prefix("fd00::/48"), Size: 64}, ""},
	} {
		err := tt.block.Check()
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ipam.ErrConfig) || err.Error() != tt.want) {
			t.Errorf("%v: %v, want %q", tt.block, err, tt.want)
		}
		if _, choose := ipam.Choose([]ipam.Block{tt.block}, nil); (choose == nil) != (err == nil) {
			t.Errorf("Choose(%v): %v", tt.block, choose)
		}
	}
}

func TestBuiltIn(t *testing.T) {
	for _, c := range ipam.LegacyCandidates() {
		if _, err := ipam.New(ipam.Config{Prefix: c, Gateway: c.Addr()}); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
	a, b := ipam.ULA([]byte("4c4f")), ipam.ULA([]byte("4c50"))
	if a == b || a != ipam.ULA([]byte("4c4f")) || a.Bits() != 48 || a != a.Masked() || !prefix("fd00::/8").Overlaps(a) {
		t.Errorf("ULA: %v, %v", a, b)
	}
}
