package hostcheck_test

import (
	"errors"
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// route is a unicast route of the main table, and with more, of others.
func route(dst string, link int, more ...func(*addr.Route)) addr.Route {
	r := addr.Route{Dst: prefix(dst), Link: link, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}
	for _, f := range more {
		f(&r)
	}
	return r
}

func table(n int) func(*addr.Route) { return func(r *addr.Route) { r.Table = n } }
func kind(n int) func(*addr.Route)  { return func(r *addr.Route) { r.Type = n } }

func TestOverlap(t *testing.T) {
	links := map[int]string{1: "lo", 2: "eth0", 3: "tun0", 4: "docker0"}
	local := table(unix.RT_TABLE_LOCAL)
	for _, test := range []struct {
		name      string
		candidate string
		routes    []addr.Route
		servers   []string
		want      string // "": none
	}{
		{"the candidate is inside", "10.0.42.1/16", []addr.Route{route("10.0.0.0/8", 3)}, nil,
			"requested network 10.0.0.0/16 overlaps with route 10.0.0.0/8 dev tun0"},
		{"the route is inside", "10.0.0.0/8", []addr.Route{route("10.77.1.0/24", 2)}, nil,
			"requested network 10.0.0.0/8 overlaps with route 10.77.1.0/24 dev eth0"},
		{"equal", "10.0.0.0/24", []addr.Route{route("10.0.0.0/24", 2)}, nil,
			"requested network 10.0.0.0/24 overlaps with route 10.0.0.0/24 dev eth0"},
		{"beside", "10.0.1.0/24", []addr.Route{route("10.0.0.0/24", 2), route("10.0.2.0/23", 2)}, nil, ""},
		{"default routes", "10.0.0.0/24", []addr.Route{route("0.0.0.0/0", 2), route("::/0", 2)}, nil, ""},
		{"the halves of VPN clients", "10.0.0.0/24", []addr.Route{route("0.0.0.0/1", 3), route("128.0.0.0/1", 3)}, nil, ""},
		{"the upper half", "172.17.0.0/16", []addr.Route{route("0.0.0.0/1", 3), route("128.0.0.0/1", 3)}, nil, ""},
		{"the halves of IPv6", "fd00:1::/64", []addr.Route{route("::/1", 3), route("8000::/1", 3)}, nil, ""},
		{"a quarter is no half", "10.0.0.0/24", []addr.Route{route("0.0.0.0/2", 3)}, nil,
			"requested network 10.0.0.0/24 overlaps with route 0.0.0.0/2 dev tun0"},
		{"our own bridge", "172.17.0.0/16", []addr.Route{route("172.17.0.0/16", 4), route("172.17.42.1/32", 4, local, kind(unix.RTN_LOCAL)),
			route("172.17.255.255/32", 4, local, kind(unix.RTN_BROADCAST))}, nil, ""},
		{"our own bridge and somebody else's route", "172.17.0.0/16", []addr.Route{route("172.17.0.0/16", 4), route("172.17.3.0/24", 2)}, nil,
			"requested network 172.17.0.0/16 overlaps with route 172.17.3.0/24 dev eth0"},
		{"another table", "10.0.0.0/24", []addr.Route{route("10.0.0.0/8", 3, table(51820))}, nil,
			"requested network 10.0.0.0/24 overlaps with route 10.0.0.0/8 dev tun0 table 51820"},
		{"an address of the host", "10.0.0.0/24", []addr.Route{route("10.0.0.7/32", 2, local, kind(unix.RTN_LOCAL))}, nil,
			"requested network 10.0.0.0/24 overlaps with route local 10.0.0.7/32 dev eth0"},
		{"the main table first", "10.0.0.0/24", []addr.Route{route("10.0.0.255/32", 2, local, kind(unix.RTN_BROADCAST)), route("10.0.0.0/24", 2)}, nil,
			"requested network 10.0.0.0/24 overlaps with route 10.0.0.0/24 dev eth0"},
		{"nowhere", "10.0.0.0/24", []addr.Route{route("10.0.0.0/8", 0, kind(unix.RTN_BLACKHOLE))}, nil,
			"requested network 10.0.0.0/24 overlaps with route blackhole 10.0.0.0/8"},
		{"unreachable", "fd00::/64", []addr.Route{route("fd00::/8", 1, kind(unix.RTN_UNREACHABLE))}, nil,
			"requested network fd00::/64 overlaps with route unreachable fd00::/8 dev lo"},
		{"a link whose name is not known", "10.0.0.0/24", []addr.Route{route("10.0.0.0/8", 9)}, nil,
			"requested network 10.0.0.0/24 overlaps with route 10.0.0.0/8 dev if9"},
		{"the other family", "fd00::/64", []addr.Route{route("10.0.0.0/8", 2)}, []string{"10.0.0.2"}, ""},
		{"what every host has of IPv6", "fd00::/64", []addr.Route{route("fe80::/64", 2), route("ff00::/8", 2, local, kind(unix.RTN_MULTICAST)),
			route("::1/128", 1, local, kind(unix.RTN_LOCAL))}, nil, ""},
		{"multicast", "192.168.42.0/24", []addr.Route{route("224.0.0.0/4", 2)}, nil, ""},
		{"a nameserver", "172.16.0.0/24", nil, []string{"1.1.1.1", "172.16.0.23"},
			"requested network 172.16.0.0/24 overlaps with nameserver 172.16.0.23"},
		{"a nameserver before a route", "10.0.0.0/16", []addr.Route{route("10.0.0.0/8", 3)}, []string{"10.0.3.3"},
			"requested network 10.0.0.0/16 overlaps with nameserver 10.0.3.3"},
		{"a nameserver of IPv6", "fd00::/64", nil, []string{"fd00::53"}, "requested network fd00::/64 overlaps with nameserver fd00::53"},
		{"a nameserver elsewhere", "10.0.0.0/16", nil, []string{"10.1.0.1", "fd00::1"}, ""},
		{"nothing", "10.0.0.0/16", nil, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			taken := hostcheck.Taken{Routes: test.routes, Links: links, Own: map[int]bool{4: true}}
			for _, s := range test.servers {
				taken.Nameservers = append(taken.Nameservers, netip.MustParseAddr(s))
			}
			err := taken.Check(prefix(test.candidate))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			var o *hostcheck.Overlap
			if found := errors.As(err, &o); found != (test.want != "") {
				t.Errorf("%T is an Overlap: %v", err, found)
			}
			free := true
			for _, p := range taken.Prefixes() {
				free = free && !p.Overlaps(prefix(test.candidate))
			}
			if free != (test.want == "") {
				t.Errorf("Prefixes and Check say different things of %v", taken.Prefixes())
			}
		})
	}
}

// TestOverlapWithoutOwn: whoever has no bridges, and no names, gives none.
func TestOverlapWithoutOwn(t *testing.T) {
	o := hostcheck.RouteOverlap(prefix("10.0.0.0/24"), []addr.Route{route("10.0.0.0/8", 3)}, nil, nil)
	if o == nil || o.Route.Dst != prefix("10.0.0.0/8") || o.Link != "" {
		t.Errorf("got %+v", o)
	}
	if o := hostcheck.NameserverOverlap(prefix("10.0.0.0/24"), []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}); o != nil {
		t.Errorf("got %v", o)
	}
}

func TestChoose(t *testing.T) {
	candidates := []netip.Prefix{prefix("172.17.42.1/16"), prefix("10.0.42.1/16"), prefix("10.1.42.1/16"), prefix("192.168.42.1/24")}
	taken := hostcheck.Taken{
		Nameservers: []netip.Addr{netip.MustParseAddr("172.17.0.2")},
		Routes:      []addr.Route{route("10.0.0.0/16", 3)},
		Links:       map[int]string{3: "tun0"},
	}
	got, skipped, err := hostcheck.Choose(candidates, taken.Check)
	if err != nil || got != prefix("10.1.42.1/16") {
		t.Errorf("got %v, %v", got, err)
	}
	want := []string{
		"172.17.42.1/16: requested network 172.17.0.0/16 overlaps with nameserver 172.17.0.2",
		"10.0.42.1/16: requested network 10.0.0.0/16 overlaps with route 10.0.0.0/16 dev tun0",
	}
	if diff := gocmp.Diff(want, words(skipped)); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}

	taken.Routes = append(taken.Routes, route("10.0.0.0/8", 3), route("192.168.0.0/16", 3))
	got, skipped, err = hostcheck.Choose(candidates, taken.Check)
	if !errors.Is(err, hostcheck.ErrNoneFree) || got.IsValid() || len(skipped) != 4 {
		t.Errorf("got %v, skipped %v, %v", got, skipped, err)
	}
	if _, _, err := hostcheck.Choose(nil, taken.Check); !errors.Is(err, hostcheck.ErrNoneFree) {
		t.Errorf("without candidates: %v", err)
	}
}
