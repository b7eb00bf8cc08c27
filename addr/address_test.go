package addr_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
)

// ipAddr is a link of "ip -j addr".
type ipAddr struct {
	Index int `json:"ifindex"`
	Addrs []struct {
		Local     netip.Addr `json:"local"`
		Broadcast string     `json:"broadcast"`
		Bits      int        `json:"prefixlen"`
		NoDAD     bool       `json:"nodad"`
		Tentative bool       `json:"tentative"`
	} `json:"addr_info"`
}

// ipAddresses is "ip -j addr" in our words.
func ipAddresses(n nstest.NS) []addr.Address {
	var list []addr.Address
	for _, l := range nstest.Read[ipAddr](n, "ip -j addr") {
		for _, a := range l.Addrs {
			list = append(list, addr.Address{Link: l.Index, Prefix: netip.PrefixFrom(a.Local, a.Bits), NoDAD: a.NoDAD, Tentative: a.Tentative})
		}
	}
	return list
}

func TestAddresses(t *testing.T) {
	n := twoEnds(t)
	c := dial(t, n)
	a := index(n, "v1")
	added := []addr.Address{
		{Link: a, Prefix: prefix("10.0.0.1/24")},
		{Link: a, Prefix: prefix("10.0.0.9/24")},
		{Link: a, Prefix: prefix("10.1.0.1/32")},
		{Link: a, Prefix: prefix("fd00::1/64"), NoDAD: true},
		{Link: 1, Prefix: prefix("10.2.0.1/31")},
	}
	for _, x := range added {
		check(t, c.Add(x))
	}
	n.Run("ip addr add 10.3.0.1 peer 10.3.0.2/32 dev v2") // what is listed is the own end

	got, err := c.Addresses()
	check(t, err)
	want := ipAddresses(n)
	for _, x := range added {
		if !slices.Contains(got, x) {
			t.Errorf("%v is not listed", x)
		}
	}
	for _, x := range want {
		if x.Tentative || x.Prefix.Addr().IsLinkLocalUnicast() {
			continue // duplicate detection may end in between
		}
		if !slices.Contains(got, x) {
			t.Errorf("ip has %+v, Addresses does not", x)
		}
	}
	if len(got) != len(want) {
		t.Errorf("Addresses has %v, ip %v", got, want)
	}
	if out := n.Run("ip -4 -o addr show v1"); !strings.Contains(out, "10.0.0.1/24 brd 10.0.0.255 ") || strings.Contains(out, "10.1.0.1/32 brd") {
		t.Errorf("ip prints %s", out)
	}

	// The link-local address is the one that LinkLocal says.
	type link struct {
		Address string `json:"address"`
	}
	hw := nstest.Read[link](n, "ip -j link show v1")[0].Address
	if !slices.ContainsFunc(got, func(x addr.Address) bool { return x.Link == a && x.Prefix.Addr() == addr.LinkLocal(parseMAC(t, hw)) }) {
		t.Errorf("no link-local address of %s among %v", hw, got)
	}
	for _, x := range slices.Backward(added) {
		check(t, c.Delete(x))
	}
	left, err := c.Addresses()
	check(t, err)
	if len(left) != len(got)-len(added) {
		t.Errorf("left is %v", left)
	}
}

func TestAddressErrors(t *testing.T) {
	n := twoEnds(t)
	c := dial(t, n)
	four, six := addr.Address{Link: 1, Prefix: prefix("10.0.0.1/24")}, addr.Address{Link: 1, Prefix: prefix("fd00::1/64")}
	check(t, c.Add(four))
	check(t, c.Add(six))
	away := addr.Address{Link: 4711, Prefix: prefix("10.0.0.1/24")}
	other := addr.Address{Link: 1, Prefix: prefix("10.0.0.2/24")}
	other6 := addr.Address{Link: 1, Prefix: prefix("fd00::2/64")}
	for _, tc := range []struct {
		err, errno error
		says       string
	}{
		{c.Add(four), unix.EEXIST, "cannot add address 10.0.0.1/24 on link 1"},
		{c.Add(six), unix.EEXIST, "fd00::1/64"},
		{c.Add(away), unix.ENODEV, "link 4711"},
		{c.Delete(away), unix.ENODEV, "cannot delete address"},
		{c.Delete(other), unix.EADDRNOTAVAIL, "10.0.0.2/24"},
		{c.Delete(other6), unix.EADDRNOTAVAIL, "fd00::2/64"},
		{c.Add(addr.Address{Link: 1, Prefix: prefix("ff02::1/64")}), unix.EADDRNOTAVAIL, "kernel: "}, // the kernel's own words are kept
	} {
		if !errors.Is(tc.err, tc.errno) || !strings.Contains(tc.err.Error(), tc.says) {
			t.Errorf("error %v, want %v and %q", tc.err, tc.errno, tc.says)
		}
	}
}
