package addr_test

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t testing.TB, n nstest.NS) *addr.Conn {
	t.Helper()
	var c *addr.Conn
	n.Do(func() {
		var err error
		c, err = addr.Dial()
		check(t, err)
	})
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

// index is a link's index.
func index(n nstest.NS, name string) int {
	type link struct {
		Index int `json:"ifindex"`
	}
	return nstest.Read[link](n, "ip -j link show "+name)[0].Index
}

// twoEnds is a namespace with the two ends, v1 and v2, of a veth pair, up.
func twoEnds(t testing.TB) nstest.NS {
	t.Helper()
	n := nstest.New(t)
	n.Run("ip link add name v1 type veth peer name v2")
	n.Run("ip link set lo up")
	n.Run("ip link set v1 up")
	n.Run("ip link set v2 up")
	return n
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }
