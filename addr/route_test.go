package addr_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
)

// ipRoute is a route of "ip -N -j -d route".
type ipRoute struct {
	Type     string `json:"type"`
	Dst      string `json:"dst"`
	Gateway  string `json:"gateway"`
	Dev      string `json:"dev"`
	Table    string `json:"table"`
	Protocol string `json:"protocol"`
	Scope    string `json:"scope"`
	Source   string `json:"prefsrc"`
	Metric   int    `json:"metric"`
	Hops     []struct {
		Gateway string `json:"gateway"`
		Dev     string `json:"dev"`
	} `json:"nexthops"`
}

// ipRoutes is "ip route" of a family, in our words.
func ipRoutes(t *testing.T, n nstest.NS, family string) []addr.Route {
	t.Helper()
	number := func(s string) int {
		i, err := strconv.Atoi(s)
		check(t, err)
		return i
	}
	address := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return ip(s)
	}
	link := func(s string) int {
		if s == "" {
			return 0
		}
		return index(n, s)
	}
	var list []addr.Route
	for _, r := range nstest.Read[ipRoute](n, "ip "+family+" -N -j -d route show table all") {
		dst := r.Dst
		switch {
		case dst == "default" && family == "-4":
			dst = "0.0.0.0/0"
		case dst == "default":
			dst = "::/0"
		case !strings.Contains(dst, "/"):
			dst = netip.PrefixFrom(ip(dst), ip(dst).BitLen()).String()
		}
		table := 254 // not printed
		if r.Table != "" {
			table = number(r.Table)
		}
		one := addr.Route{
			Dst: prefix(dst), Gateway: address(r.Gateway), Link: link(r.Dev), Source: address(r.Source),
			Table: table, Type: number(r.Type), Protocol: number(r.Protocol), Scope: number(r.Scope), Priority: r.Metric,
		}
		if r.Hops == nil {
			list = append(list, one)
		}
		for _, h := range r.Hops {
			one.Gateway, one.Link = address(h.Gateway), link(h.Dev)
			list = append(list, one)
		}
	}
	return list
}

func TestRoutes(t *testing.T) {
	n := twoEnds(t)
	c := dial(t, n)
	a := index(n, "v1")
	check(t, c.Add(addr.Address{Link: a, Prefix: prefix("10.0.0.1/24")}))
	check(t, c.Add(addr.Address{Link: a, Prefix: prefix("fd00::1/64"), NoDAD: true}))
	added := []addr.Route{
		addr.Default(ip("10.0.0.254"), a),
		addr.Default(ip("fd00::fe"), a),
		{Dst: prefix("10.5.0.0/16"), Link: a, Source: ip("10.0.0.1"), Priority: 7},
		{Dst: prefix("10.6.0.7/32"), Gateway: ip("10.0.0.3")},
		{Dst: prefix("fd05::/48"), Link: a, Table: 4711},
		{Dst: prefix("10.7.0.0/16"), Type: unix.RTN_UNREACHABLE, Table: 300, Protocol: 99},
		{Dst: prefix("fd07::/48"), Type: unix.RTN_BLACKHOLE},
	}
	for _, r := range added {
		check(t, c.AddRoute(r))
	}
	n.Run("ip route add 10.8.0.0/16 nexthop via 10.0.0.5 nexthop via 10.0.0.6")
	n.Run("ip -6 route add fd08::/48 nexthop via fd00::5 nexthop via fd00::6")
	n.Run("ip route add 10.9.0.0/16 via inet6 fe80::1 dev v1")

	compare := func() {
		t.Helper()
		got, err := c.Routes()
		check(t, err)
		want := append(ipRoutes(t, n, "-4"), ipRoutes(t, n, "-6")...)
		for _, r := range got {
			if !slices.Contains(want, r) && r.Type != unix.RTN_ANYCAST && r.Gateway != ip("fe80::1") {
				t.Errorf("Routes has %+v (%v), ip does not", r, r)
			}
		}
		for _, r := range want {
			if !slices.ContainsFunc(got, func(g addr.Route) bool {
				return r == g || r.Dst == g.Dst && g.Gateway == ip("fe80::1") // ip prints "via" apart
			}) {
				t.Errorf("ip has %+v, Routes does not", r)
			}
		}
		if len(got) != len(want) {
			t.Errorf("Routes has %d, ip %d", len(got), len(want))
		}
	}
	compare()
	for _, r := range added {
		check(t, c.DeleteRoute(r))
	}
	compare()
	routes, err := c.Routes()
	check(t, err)
	for _, r := range added {
		if slices.ContainsFunc(routes, func(x addr.Route) bool { return x.Dst == r.Dst }) {
			t.Errorf("%v is left", r)
		}
	}
}

func TestRouteErrors(t *testing.T) {
	n := twoEnds(t)
	c := dial(t, n)
	a := index(n, "v1")
	check(t, c.Add(addr.Address{Link: a, Prefix: prefix("10.0.0.1/24")}))
	there := addr.Default(ip("10.0.0.254"), a)
	check(t, c.AddRoute(there))
	for _, tc := range []struct {
		err, errno error
		says       string
	}{
		{c.AddRoute(there), unix.EEXIST, fmt.Sprintf("cannot add route 0.0.0.0/0 via 10.0.0.254 on link %d", a)},
		{c.AddRoute(addr.Default(ip("10.77.0.1"), a)), unix.ENETUNREACH, "10.77.0.1"},
		{c.AddRoute(addr.Route{Dst: prefix("10.5.0.0/16"), Gateway: ip("10.77.0.1")}), unix.ENETUNREACH, "kernel: Nexthop has invalid gateway"},
		{c.AddRoute(addr.Route{Dst: prefix("10.5.0.0/16"), Link: 4711}), unix.ENODEV, "link 4711"},
		{c.AddRoute(addr.Route{Dst: prefix("fd05::/48"), Link: 4711}), unix.ENODEV, "link 4711"},
		{c.DeleteRoute(addr.Route{Dst: prefix("10.5.0.0/16")}), unix.ESRCH, "cannot delete route 10.5.0.0/16"},
		{c.DeleteRoute(addr.Route{Dst: prefix("fd05::/48")}), unix.ESRCH, "fd05::/48"},
	} {
		if !errors.Is(tc.err, tc.errno) || !strings.Contains(tc.err.Error(), tc.says) {
			t.Errorf("error %v, want %v and %q", tc.err, tc.errno, tc.says)
		}
	}
}
