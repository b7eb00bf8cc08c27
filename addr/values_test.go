package addr_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bridged/bridged/addr"
)

func TestMACOf(t *testing.T) {
	for in, want := range map[string]string{
		"172.17.0.2":        "02:42:ac:11:00:02",
		"::ffff:172.17.0.2": "02:42:ac:11:00:02",
		"fd00::1:2":         "02:42:00:01:00:02",
		"fd00::abcd:ef01":   "02:42:ab:cd:ef:01",
	} {
		if got := addr.MACOf(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("MACOf(%s) is %s, want %s", in, got, want)
		}
	}
	if got := addr.MACOf(netip.Addr{}); got != (addr.MAC{}) || got.String() != "" {
		t.Errorf("MACOf of no address is %v", got)
	}
}

func TestLinkLocal(t *testing.T) {
	for in, want := range map[addr.MAC]string{
		{0x02, 0x42, 0xac, 0x11, 0, 2}:       "fe80::42:acff:fe11:2",
		{0x00, 0x1b, 0x21, 0x0a, 0xbc, 0xde}: "fe80::21b:21ff:fe0a:bcde",
		{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}: "fe80::fcff:ffff:feff:ffff",
	} {
		if got := addr.LinkLocal(in).String(); got != want {
			t.Errorf("LinkLocal(%v) is %s, want %s", in, got, want)
		}
	}
}

func addresses() *rapid.Generator[[]addr.Address] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) addr.Address {
		return addr.Address{
			Link:   rapid.IntRange(1, 2).Draw(t, "link"),
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(0, 5).Draw(t, "host")}), rapid.IntRange(23, 24).Draw(t, "bits")),
			NoDAD:  rapid.Bool().Draw(t, "nodad"),
		}
	}), 0, 8)
}

// What Diff(a, b) says, done to a, is b; and Diff(a, a) says nothing.
func TestDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := addresses().Draw(t, "have"), addresses().Draw(t, "want")
		if del, add := addr.Diff(have, have); len(del)+len(add) > 0 {
			t.Fatalf("Diff(x, x) is %v, %v", del, add)
		}
		del, add := addr.Diff(have, want)
		got := slices.DeleteFunc(slices.Clone(have), func(a addr.Address) bool { return slices.ContainsFunc(del, a.Equal) })
		for _, a := range add {
			if slices.ContainsFunc(got, a.Equal) {
				t.Fatalf("%v is added although it is there", a)
			}
			got = append(got, a)
		}
		for _, a := range want {
			if !slices.ContainsFunc(got, a.Equal) {
				t.Fatalf("%v is missing", a)
			}
		}
		for _, a := range got {
			if !slices.ContainsFunc(want, a.Equal) {
				t.Fatalf("%v is left", a)
			}
		}
	})
}

func TestStrings(t *testing.T) {
	for _, tc := range []struct {
		value interface{ String() string }
		want  string
	}{
		{addr.Address{Link: 3, Prefix: netip.MustParsePrefix("10.0.0.1/24")}, "10.0.0.1/24 on link 3"},
		{addr.Default(netip.MustParseAddr("10.0.0.1"), 2), "0.0.0.0/0 via 10.0.0.1 on link 2"},
		{addr.Default(netip.MustParseAddr("fe80::1"), 2), "::/0 via fe80::1 on link 2"},
		{addr.Route{Dst: netip.MustParsePrefix("10.9.0.0/16"), Type: 6, Source: netip.MustParseAddr("10.0.0.1"), Table: 254, Priority: 7}, "type 6 10.9.0.0/16 src 10.0.0.1 table 254 metric 7"},
	} {
		if got := tc.value.String(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
