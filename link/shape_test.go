package link_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/link"
)

// TestShape holds the limits against what tc shows, for rates with and without 64 bits, in both directions and in one.
func TestShape(t *testing.T) {
	n, c := host(t)
	const name, shaper = "bv0123456789ab", "bi0123456789ab"
	sandbox(t, c, name, "10.0.0.2/24")
	for _, tt := range []struct {
		shaping link.Shaping
		want    []string
	}{
		{link.Shaping{ToInner: link.Rate{Bytes: 1_000_000, Burst: 100_000}}, []string{"tbf 1: dev " + name + " root refcnt 2 rate 8Mbit burst 100000b lat 25ms"}},
		{
			link.Shaping{FromInner: link.Rate{Bytes: 8_000_000_000, Burst: 1_000_000_000}, Shaper: shaper},
			[]string{"tbf 1: dev " + shaper + " root refcnt 2 rate 64Gbit burst 1000000000b lat 25ms", "ingress ffff: dev " + name},
		},
		{
			link.Shaping{ToInner: link.Rate{Bytes: 15, Burst: 1500}, FromInner: link.Rate{Bytes: 125_000, Burst: 20_000}, Shaper: shaper},
			[]string{"tbf 1: dev " + name + " root refcnt 2 rate 120bit burst ", "tbf 1: dev " + shaper + " root refcnt 2 rate 1Mbit burst 20000b lat 25ms", "ingress ffff: dev " + name},
		},
	} {
		for range 2 { // what was there gives way
			check(t, c.Shape(name, 1400, tt.shaping))
		}
		shown := n.Run("tc qdisc show")
		for _, want := range tt.want {
			if !strings.Contains(shown, want) {
				t.Errorf("%v: tc shows no %q:\n%s", tt.shaping, want, shown)
			}
		}
		if strings.Contains(n.Run("tc filter show dev "+name+" ingress"), "Redirect to device "+shaper) != (tt.shaping.Shaper != "") {
			t.Errorf("%v: what comes in by the host's end is redirected, or not", tt.shaping)
		}
		if same, err := c.Shaped(name, tt.shaping); err != nil || !same {
			t.Errorf("%v is not found as it was set: %v", tt.shaping, err)
		}
	}
}

// TestShapedSees: whatever somebody takes away of the limits is seen.
func TestShapedSees(t *testing.T) {
	n, c := host(t)
	const name, shaper = "bv0123456789ab", "bi0123456789ab"
	sandbox(t, c, name, "10.0.0.2/24")
	s := link.Shaping{ToInner: link.Rate{Bytes: 1_000_000, Burst: 100_000}, FromInner: link.Rate{Bytes: 2_000_000, Burst: 50_000}, Shaper: shaper}
	for _, spoil := range []string{
		"tc qdisc del dev " + name + " root", "tc qdisc del dev " + name + " ingress", "tc qdisc del dev " + shaper + " root", "ip link del " + shaper,
		"tc filter del dev " + name + " ingress", "tc qdisc change dev " + shaper + " root tbf rate 1mbit burst 50000 latency 25ms", "ip link set down " + shaper,
		"tc qdisc replace dev " + name + " root pfifo",
	} {
		check(t, c.Shape(name, 1400, s))
		n.Run(spoil)
		if same, err := c.Shaped(name, s); err != nil || same {
			t.Errorf("after %s: %v, %v", spoil, same, err)
		}
	}
}

func TestShapeErrors(t *testing.T) {
	n, c := host(t)
	s := link.Shaping{ToInner: link.Rate{Bytes: 1_000_000, Burst: 100_000}, FromInner: link.Rate{Bytes: 1_000_000, Burst: 100_000}, Shaper: "bi0123456789ab"}
	if err := c.Shape("bv0123456789ab", 1400, s); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such link: %v", err)
	}
	sandbox(t, c, "bv0123456789ab", "10.0.0.2/24")
	s.Shaper = "sixteen-bytes-xx"
	if err := c.Shape("bv0123456789ab", 1400, s); err == nil {
		t.Error("a shaper's name that can't be passes")
	}
	if shown := n.Run("tc qdisc show dev bv0123456789ab"); strings.Contains(shown, "tbf") || strings.Contains(shown, "ingress") {
		t.Errorf("what failed is left: %s", shown)
	}
}
