package test

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// candidates are the default bridge's addresses in the order in which they are tried, each with a route that takes it and
// no later one.
var candidates = []struct{ address, route string }{
	{"172.17.42.1/16", "172.17.0.0/16"},
	{"10.0.42.1/16", "10.0.99.0/24"},
	{"10.1.42.1/16", "10.1.2.3/32"},
	{"10.42.42.1/16", "10.42.0.0/15"},
	{"172.16.42.1/24", "172.16.42.128/25"},
	{"172.16.43.1/24", "172.16.43.0/24"},
	{"172.16.44.1/24", "172.16.44.0/22"},
	{"10.0.42.1/24", "10.0.42.0/24"},
	{"10.0.43.1/24", "10.0.43.5/32"},
	{"192.168.42.1/24", "192.168.42.0/24"},
	{"192.168.43.1/24", "192.168.43.0/24"},
	{"192.168.44.1/24", "192.168.0.0/16"},
}

// Each candidate is taken when all those before it overlap; the log says why they were not.
func TestCandidates(t *testing.T) {
	var rows []start
	host, logs := "", []string(nil)
	for i, c := range candidates {
		prefix := netip.MustParsePrefix(c.address)
		rows = append(rows, start{
			name: fmt.Sprintf("candidate %d", i+1), host: host, logs: logs, bridge: "docker0 " + c.address,
			sandbox: fmt.Sprintf("%s/%d via %s", firstFree(prefix), prefix.Bits(), prefix.Addr()),
		})
		host += fmt.Sprintf("ip route add %s dev lan0\n", c.route)
		// Of several routes the one that is listed first is named.
		logs = append(logs, fmt.Sprintf(`subnet skipped.*candidate=%s .*requested network %s overlaps with route [0-9./]+ dev lan0`,
			regexp.QuoteMeta(c.address), prefix.Masked()))
	}
	rows = append(rows,
		start{name: "none is left", host: host, refused: 4, says: []string{
			"Could not find a free IP address range for interface 'docker0'. " +
				"Please configure its address manually and run 'bridged daemon -b docker0'",
		}},
		start{name: "none is left for another name", host: host, flags: "--bridge-name br5", refused: 4, says: []string{
			"Could not find a free IP address range for interface 'br5'. Please configure its address manually and run 'bridged daemon -b br5'",
		}},
		start{name: "none is left, and one was given", host: host, flags: "--bip 10.1.42.1/16", bridge: "docker0 10.1.42.1/16"},
	)
	runStarts(t, rows)
}

// firstFree is the first address of a subnet that is not the gateway's.
func firstFree(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().Next()
	if a == p.Addr() {
		return a.Next()
	}
	return a
}

// What counts as an overlap, and what does not.
func TestOverlaps(t *testing.T) {
	// taken is a host on which the first candidate is taken, with the reason that the log gives.
	taken := func(name, host, reason string) start {
		return start{
			name: name, host: host, bridge: "docker0 10.0.42.1/16",
			logs: []string{`subnet skipped.*candidate=172\.17\.42\.1/16 .*requested network 172\.17\.0\.0/16 overlaps with ` + reason},
		}
	}
	free := func(name, host string) start { return start{name: name, host: host, bridge: "docker0 172.17.42.1/16"} }
	runStarts(t, []start{
		taken("nameserver", `resolv 'nameserver 172.17.0.53\n'`, `nameserver 172\.17\.0\.53`),
		taken("second nameserver", `resolv 'search example.org\nnameserver 192.0.2.53\nnameserver 172.17.0.53 # ours\n'`, `nameserver 172\.17\.0\.53`),
		taken("nameserver behind a local stub", `resolv 'nameserver 127.0.0.53\noptions edns0\n'
			file /run/systemd/resolve/resolv.conf 'nameserver 172.17.0.53\n'`, `nameserver 172\.17\.0\.53`),
		taken("nameserver behind an IPv6 stub", `resolv 'nameserver ::1\n'
			file /run/systemd/resolve/resolv.conf 'nameserver 172.17.0.53\n'`, `nameserver 172\.17\.0\.53`),
		free("a resolver's file that nobody uses", `resolv 'nameserver 192.0.2.53\n'
			file /run/systemd/resolve/resolv.conf 'nameserver 172.17.0.53\n'`),
		free("comments", `resolv '#nameserver 172.17.0.53\n;nameserver 172.17.0.54\n'`),
		free("no resolver file", `file /etc/resolv.conf ''`),
		free("nonsense in the resolver's file", `resolv '\377\376nameserver\nnameserver\nnameserver 172.17.0\n'`),
		free("nameservers elsewhere", `resolv 'nameserver 172.16.0.23\nnameserver 2001:db8::53\nnameserver fe80::1%%lan0\n'`),

		taken("route", "ip route add 172.17.0.0/16 via 192.0.2.9", `route 172\.17\.0\.0/16 dev lan0`),
		taken("wider route", "ip route add 172.16.0.0/12 via 192.0.2.9", `route 172\.16\.0\.0/12 dev lan0`),
		taken("narrower route", "ip route add 172.17.200.0/24 via 192.0.2.9", `route 172\.17\.200\.0/24 dev lan0`),
		taken("host route", "ip route add 172.17.200.1 via 192.0.2.9", `route 172\.17\.200\.1/32 dev lan0`),
		taken("route with two ways", "ip route add 172.17.0.0/16 nexthop via 192.0.2.9 nexthop via 192.0.2.8", `route 172\.17\.0\.0/16`),
		taken("route by a nexthop object", "ip nexthop add id 7 via 192.0.2.9 dev lan0; ip route add 172.17.0.0/16 nhid 7", `route 172\.17\.0\.0/16`),
		taken("another table", "ip route add 172.17.0.0/16 via 192.0.2.9 table 100", `route 172\.17\.0\.0/16 dev lan0 table 100`),
		taken("a table beyond 255", "ip route add 172.17.0.0/16 via 192.0.2.9 table 51820", `route 172\.17\.0\.0/16 dev lan0 table 51820`),
		taken("blackhole", "ip route add blackhole 172.17.0.0/16", `route blackhole 172\.17\.0\.0/16`),
		taken("unreachable", "ip route add unreachable 172.16.0.0/12", `route unreachable 172\.16\.0\.0/12`),
		taken("prohibit in another table", "ip route add prohibit 172.17.1.0/24 table 7", `route prohibit 172\.17\.1\.0/24 table 7`),
		taken("throw", "ip route add throw 172.17.0.0/16 table 7", `route throw 172\.17\.0\.0/16 table 7`),
		taken("address", "ip addr add 172.17.5.5/32 dev lan0", `route local 172\.17\.5\.5/32 dev lan0`),
		taken("interface's subnet", "ip addr add 172.17.5.5/24 dev lan0", `route 172\.17\.5\.0/24 dev lan0`),
		taken("somebody's bridge", "ip link add virbr0 type bridge; ip link set virbr0 up; ip addr add 172.17.0.1/16 dev virbr0",
			`route 172\.17\.0\.0/16 dev virbr0`),
		taken("quarter of the address space", "ip route add 128.0.0.0/2 via 192.0.2.9", `route 128\.0\.0\.0/2 dev lan0`),

		free("the halves of a VPN", "ip route add 0.0.0.0/1 via 192.0.2.9; ip route add 128.0.0.0/1 via 192.0.2.9"),
		free("default routes in tables", "ip route add default via 192.0.2.9 table 100; ip route add unreachable default table 101 metric 4294967295"),
		free("neighbouring subnets", "ip route add 172.16.0.0/16 via 192.0.2.9; ip route add 172.18.0.0/15 via 192.0.2.9"),
		free("IPv6 routes", "ip route add ::/1 via 2001:db8:1::2; ip route add fd00::/8 via 2001:db8:1::2"),
		free("multicast", "ip route add multicast 224.0.0.0/4 dev lan0"),

		{
			name: "routes of our own bridges", bridge: "docker0 172.17.42.1/16", links: "docker0",
			past: []past{{flags: "-b none", commands: "network create --subnet 172.18.0.0/16 mine"}},
		},
		{
			name: "another network of ours", bridge: "docker0 10.0.42.1/16", logs: []string{`candidate=172\.17\.42\.1/16 .*172\.17\.5\.0/24 of network mine`},
			past: []past{{flags: "-b none", commands: "network create --subnet 172.17.5.0/24 mine"}},
		},
		{
			name: "--bip on another network of ours", flags: "--bip 172.17.5.9/16", refused: 4, says: []string{"172.17.5.0/24", "mine"},
			past: []past{{flags: "-b none", commands: "network create --subnet 172.17.5.0/24 mine"}},
		},
	})
}

// What the bridge had before a reboot is kept, unless it overlaps now.
func TestStartAfterReboot(t *testing.T) {
	const mine = "network create --subnet 10.99.0.0/24 mine"
	runStarts(t, []start{
		{
			name: "the same, /run is empty", past: []past{{commands: "sandbox create -p 8080:80 c1", then: "reboot; rm -r /run/bridged"}},
			bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.1/16 via 172.17.42.1", rules: []string{`(?s)set norouter \{[^}]*ipv4`},
		},
		{name: "the same", past: []past{{then: "reboot"}}, bridge: "docker0 172.17.42.1/16", sysctls: []string{"net/ipv4/ip_forward 1"}},
		{name: "by name", flags: "--bridge-name br5", past: []past{{flags: "--bridge-name br5", then: "reboot"}}, bridge: "br5 172.17.42.1/16"},
		{
			name: "a later candidate is kept", host: "ip route add 172.17.0.0/16 dev lan0", bridge: "docker0 10.0.42.1/16",
			past: []past{{then: "ip route del 172.17.0.0/16 dev lan0; reboot"}},
		},
		{
			name: "--bip of the last run is kept", bridge: "docker0 10.9.8.7/24", sandbox: "10.9.8.1/24 via 10.9.8.7",
			past: []past{{flags: "--bip 10.9.8.7/24", then: "reboot"}},
		},
		{
			name: "it overlaps a route now", bridge: "docker0 10.0.42.1/16", past: []past{{then: "reboot; ip route add 172.17.200.0/24 dev lan0"}},
			logs: []string{`candidate=172\.17\.42\.1/16 .*overlaps with route 172\.17\.200\.0/24 dev lan0`},
		},
		{
			name: "it overlaps a nameserver now", bridge: "docker0 10.0.42.1/16", past: []past{{then: `reboot; resolv 'nameserver 172.17.0.53\n'`}},
			logs: []string{`candidate=172\.17\.42\.1/16 .*overlaps with nameserver 172\.17\.0\.53`},
		},
		{
			name: "it overlaps, and --bip wants it", flags: "--bip 172.17.42.1/16", bridge: "docker0 172.17.42.1/16",
			past: []past{{then: "reboot; ip route add 172.17.200.0/24 dev lan0"}},
		},
		{
			name: "sandboxes are gone with the boot", bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.1/16 via 172.17.42.1",
			past: []past{{commands: "sandbox create -p 8080:80 c1", then: "reboot"}}, norules: []string{`8080`},
			check: func(t *testing.T, w *world) {
				if all := w.bridged("sandbox", "ls", "-q") + w.bridged("port", "ls"); strings.Contains(all, "8080") {
					t.Errorf("there is still %s", all)
				}
			},
		},
		{
			name: "somebody made docker0 first", bridge: "docker0 10.5.0.1/24", sandbox: "10.5.0.2/24 via 10.5.0.1",
			past: []past{{then: "reboot; ip link add docker0 type bridge; ip addr add 10.5.0.1/24 dev docker0"}},
		},
		{
			name: "somebody made docker0 first, without an address", bridge: "docker0 172.17.42.1/16",
			past: []past{{then: "reboot; ip link add docker0 type bridge"}},
		},
		{
			name: "somebody made docker0 first, and uses it", refused: 4, says: []string{"docker0 belongs to", "theirs"},
			past: []past{{then: "reboot; ip link add docker0 type bridge; ip addr add 10.5.0.1/24 dev docker0; port_of docker0 theirs"}},
		},
		{
			name: "networks come back", past: []past{{commands: mine, then: "reboot"}}, bridge: "docker0 172.17.42.1/16",
			check: func(t *testing.T, w *world) { w.hasGateway(t, "mine", "10.99.0.1") },
		},
		{
			name: "networks that overlap now come back with a warning", past: []past{{commands: mine, then: "reboot; ip route add 10.99.0.0/16 dev lan0"}},
			warns: []string{"10.99.0.0/24 overlaps with route 10.99.0.0/16 dev lan0"},
			check: func(t *testing.T, w *world) { w.hasGateway(t, "mine", "10.99.0.1") },
		},
		{
			name: "IPv6 is kept", flags: "--ipv6", bridge: "docker0 172.17.42.1/16 fd00:7::1/64",
			past: []past{{flags: "--ipv6 --bip6 fd00:7::1/64", then: "reboot"}},
		},
		{
			name: "IPv6 overlaps now", flags: "--ipv6 --fixed-cidr 172.17.5.0/24", past: []past{{flags: "--ipv6 --bip6 fd00:7::1/64", then: "reboot; ip route add fd00:7::/48 dev lan0"}},
			logs:  []string{`candidate=fd00:7::1/64 .*overlaps with route fd00:7::/48 dev lan0`},
			check: func(t *testing.T, w *world) { w.subnet6(t, "fd00::/8", "fd00:7::/48") },
		},
	})
}

// What the bridge has is kept while it is there, whatever overlaps it now.
func TestStartKeeps(t *testing.T) {
	const overlap = "ip route add 172.17.9.0/24 dev lan0"
	warns := []string{"172.17.0.0/16 overlaps with route 172.17.9.0/24 dev lan0"}
	runStarts(t, []start{
		{name: "an overlap since", past: []past{{then: overlap}}, bridge: "docker0 172.17.42.1/16", warns: warns},
		{
			name: "an overlap since, under sandboxes", past: []past{{commands: "sandbox create c1", then: overlap}},
			bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.2/16 via 172.17.42.1", warns: warns,
		},
		{
			name: "an overlap since, and the bridge is gone under sandboxes",
			past: []past{{commands: "sandbox create c1", then: "ip link del docker0; " + overlap}}, bridge: "docker0 172.17.42.1/16", warns: warns,
			check: func(t *testing.T, w *world) { w.hasGateway(t, "bridge", "172.17.42.1") },
		},
		{name: "the bridge is gone", past: []past{{then: "ip link del docker0"}}, bridge: "docker0 172.17.42.1/16"},
		{name: "the address is gone", past: []past{{then: "ip addr flush dev docker0"}}, bridge: "docker0 172.17.42.1/16"},
	})
}

// hasGateway holds the gateway of a network against a new sandbox of it.
func (w *world) hasGateway(t *testing.T, network, gateway string) {
	t.Helper()
	m := w.member("member-of-"+network, network)
	if m.gw4.String() != gateway {
		t.Errorf("on %s the gateway is %s, want %s", network, m.gw4, gateway)
	}
	if err := pingGateways(m); err != nil {
		t.Error(err)
	}
}

// subnet6 says that a new sandbox has an IPv6 address within one prefix and not within another, and its gateway's is ::1.
func (w *world) subnet6(t *testing.T, in, out string) member {
	t.Helper()
	m := w.member("with-ipv6", "bridge")
	if !netip.MustParsePrefix(in).Contains(m.ip6) || netip.MustParsePrefix(out).Contains(m.ip6) ||
		m.gw6 != netip.PrefixFrom(m.ip6, 64).Masked().Addr().Next() {
		t.Errorf("the sandbox has %s by %s: want an address in %s, not in %s", m.ip6, m.gw6, in, out)
	}
	if err := pingGateways(m); err != nil {
		t.Error(err)
	}
	return m
}

// The parts that addresses are given out of.
func TestStartRanges(t *testing.T) {
	const br0 = "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up"
	runStarts(t, []start{
		{name: "a part", flags: "--fixed-cidr 172.17.128.0/17", bridge: "docker0 172.17.42.1/16", sandbox: "172.17.128.0/16 via 172.17.42.1"},
		{name: "a part, the first one", flags: "--fixed-cidr 172.17.0.0/24", sandbox: "172.17.0.1/16 via 172.17.42.1"},
		{name: "a part with the gateway", flags: "--fixed-cidr 172.17.42.0/30", sandbox: "172.17.42.0/16 via 172.17.42.1"},
		{name: "a part with the gateway first", flags: "--bip 10.9.8.1/24 --fixed-cidr 10.9.8.0/29", sandbox: "10.9.8.2/24 via 10.9.8.1"},
		{name: "a part of --bip", flags: "--bip 10.9.8.7/24 --fixed-cidr 10.9.8.64/26", sandbox: "10.9.8.64/24 via 10.9.8.7"},
		{name: "the whole", flags: "--bip 10.9.8.7/24 --fixed-cidr 10.9.8.0/24", sandbox: "10.9.8.1/24 via 10.9.8.7"},
		{
			name: "one address", flags: "--fixed-cidr 172.17.5.5/32", sandbox: "172.17.5.5/16 via 172.17.42.1",
			check: func(t *testing.T, w *world) {
				w.create("c1")
				if r := w.try("sandbox", "create", "c2"); r.code == 0 || !strings.Contains(r.stderr, "172.17.5.5/32") {
					t.Errorf("a second one: %v", r)
				}
			},
		},
		{name: "elsewhere", flags: "--fixed-cidr 10.9.8.0/24", refused: 2, says: []string{"--fixed-cidr 10.9.8.0/24", "172.17.42.1/16", "docker0"}},
		{name: "wider", flags: "--fixed-cidr 172.16.0.0/12", refused: 2, says: []string{"--fixed-cidr 172.16.0.0/12", "172.17.42.1/16"}},
		{
			name: "the candidate that it fits to is taken", host: "ip route add 172.17.0.0/16 dev lan0", flags: "--fixed-cidr 172.17.5.0/24",
			refused: 2, says: []string{"--fixed-cidr 172.17.5.0/24", "10.0.42.1/16"},
		},
		{name: "of a given bridge", host: br0, flags: "-b br0 --fixed-cidr 10.5.0.64/26", sandbox: "10.5.0.64/24 via 10.5.0.1"},
		{name: "elsewhere than a given bridge", host: br0, flags: "-b br0 --fixed-cidr 10.6.0.0/26", refused: 2, says: []string{"10.6.0.0/26", "10.5.0.1/24", "br0"}},
		{
			name: "IPv6, the subnet", flags: "--ipv6 --fixed-cidr-v6 fd00:9::/80", bridge: "docker0 172.17.42.1/16 fd00:9::1/80",
			sandbox: "172.17.0.1/16 fd00:9::2/80 via 172.17.42.1 fd00:9::1",
		},
		{
			name: "IPv6, a part of --bip6", flags: "--ipv6 --bip6 fd00:9::1/64 --fixed-cidr-v6 fd00:9::8:0/112", bridge: "docker0 172.17.42.1/16 fd00:9::1/64",
			sandbox: "172.17.0.1/16 fd00:9::8:0/64 via 172.17.42.1 fd00:9::1",
		},
		{
			name: "IPv6, --bip6 alone", flags: "--ipv6 --bip6 fd00:9::5/64", bridge: "docker0 172.17.42.1/16 fd00:9::5/64",
			sandbox: "172.17.0.1/16 fd00:9::1/64 via 172.17.42.1 fd00:9::5",
		},
		{
			name: "IPv6 of a given bridge", flags: "-b br0 --ipv6 --fixed-cidr-v6 fd00:5::8:0/112",
			host: br0 + "; ip addr add fd00:5::1/64 dev br0 nodad", sandbox: "10.5.0.2/24 fd00:5::8:0/64 via 10.5.0.1 fd00:5::1",
		},
	})
}

// Networks that are created without a subnet.
func TestPools(t *testing.T) {
	// created makes networks, and holds their gateways against these.
	created := func(gateways ...string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			for i, gateway := range gateways {
				network := fmt.Sprintf("n%d", i)
				w.bridged("network", "create", network)
				m := w.member(fmt.Sprintf("c%d", i), network)
				if got := fmt.Sprintf("%s/%d", m.gw4, m.IPPrefixLen); got != gateway {
					t.Errorf("network %d has %s, want %s", i+1, got, gateway)
				}
			}
		}
	}
	runStarts(t, []start{
		{name: "built in", check: created("172.18.0.1/16", "172.19.0.1/16")},
		{name: "built in, without a default network", flags: "-b none", bridge: "none", check: created("172.17.0.1/16")},
		{
			name: "built in, some are taken", host: "ip route add 172.18.0.0/15 dev lan0; ip route add blackhole 172.20.5.0/24; resolv 'nameserver 172.21.0.53\n'",
			check: created("172.22.0.1/16"),
		},
		{
			name: "built in, the second half", host: "ip route add 172.16.0.0/12 dev lan0; ip route add 192.168.0.0/19 dev lan0", bridge: "docker0 10.0.42.1/16",
			check: created("192.168.32.1/20", "192.168.48.1/20"),
		},
		{
			name: "built in, all are taken", host: "ip route add 172.16.0.0/12 dev lan0; ip route add 192.168.0.0/16 dev lan0",
			check: func(t *testing.T, w *world) {
				w.fails(4, []string{"no subnet is free", "--subnet"}, "network", "create", "n")
			},
		},
		{
			name: "given", flags: "--default-address-pool base=10.64.0.0/23,size=24 --default-address-pool size=28,base=10.9.0.0/24", bridge: "docker0 172.17.42.1/16",
			check: created("10.64.0.1/24", "10.64.1.1/24", "10.9.0.1/28", "10.9.0.17/28"),
		},
		{
			name: "given, the whole", flags: "--default-address-pool base=10.64.0.0/24,size=24",
			check: func(t *testing.T, w *world) {
				created("10.64.0.1/24")(t, w)
				w.fails(4, []string{"no subnet is free"}, "network", "create", "another")
			},
		},
		{
			name: "given, and other ones before", flags: "--default-address-pool base=10.65.0.0/16,size=24",
			past: []past{{flags: "--default-address-pool base=10.64.0.0/16,size=24", commands: "network create before"}},
			check: func(t *testing.T, w *world) {
				w.hasGateway(t, "before", "10.64.0.1")
				created("10.65.0.1/24")(t, w)
			},
		},
	})
}

// IPv6 on the default bridge.
func TestStartIPv6(t *testing.T) {
	runStarts(t, []start{
		{
			name: "a part of this host's own prefix", flags: "--ipv6", host: "file /etc/machine-id 0123456789abcdef0123456789abcdef",
			past: []past{{flags: "--ipv6 --state-dir /run/first --run-dir /run/r --bridge-name br1", commands: "sandbox create other"}},
			// To this run directory it is as if its log was lost.
			warns:   []string{"is in no bridge of a network", "the log was lost"},
			sysctls: []string{"net/ipv6/conf/all/forwarding 1", "net/ipv6/conf/docker0/disable_ipv6 0", "net/ipv6/conf/docker0/accept_ra 0"},
			check:   func(t *testing.T, w *world) { w.subnet6(t, "fd00::/8", "fd00::/16") },
			rules:   []string{`(?s)set masq6 \{[^}]*"docker0"`, `(?s)set subnets6 \{[^}]*elements = \{ fd`},
		},
		{
			name: "without a machine id", flags: "--ipv6", host: "file /etc/machine-id ''",
			past:  []past{{flags: "--ipv6", commands: "sandbox create c0", then: "reboot"}},
			check: func(t *testing.T, w *world) { w.subnet6(t, "fd00::/8", "fd00::/16") },
		},
		{
			name: "the prefix is kept without a machine id", flags: "--bip 10.9.8.7/24 --ipv6", host: "file /etc/machine-id ''",
			past: []past{
				{flags: "--ipv6", then: "ip -o -6 addr show docker0 scope global >/run/address"},
				{flags: "-b none", then: "reboot"},
			},
			check: func(t *testing.T, w *world) {
				m := w.subnet6(t, "fd00::/8", "fd00::/16")
				if had := w.sh("cat /run/address"); !strings.Contains(had, m.gw6.String()+"/64") {
					t.Errorf("it has %s, the first run had %s", m.gw6, had)
				}
			},
		},
		{
			name: "the first part is taken", flags: "--ipv6", host: "file /etc/machine-id 0123456789abcdef0123456789abcdef",
			past: []past{
				{flags: "--ipv6", then: "ip -o -6 addr show docker0 scope global | awk '{print $4}' >/run/address"},
				{flags: "-b none", then: "ip route add $(sed s,::1/,::/, /run/address) dev lan0"},
			},
			check: func(t *testing.T, w *world) {
				had := netip.MustParsePrefix(strings.TrimSpace(w.sh("cat /run/address")))
				w.subnet6(t, netip.PrefixFrom(had.Addr(), 48).Masked().String(), had.Masked().String())
			},
		},
		{
			name: "pools are not for the default bridge", flags: "--ipv6 --default-address-pool base=fd00:5::/48,size=64 --default-address-pool base=10.64.0.0/10,size=24",
			check: func(t *testing.T, w *world) {
				w.subnet6(t, "fd00::/8", "fd00:5::/48")
				w.hasGateway(t, "bridge", "172.17.42.1")
				w.bridged("network", "create", "--ipv6", "mine")
				m := w.member("c1", "mine")
				if m.gw4.String() != "10.64.0.1" || m.IPPrefixLen != 24 || m.gw6.String() != "fd00:5::1" {
					t.Errorf("from the pools: %+v", m.endpointJSON)
				}
			},
		},
		{
			name: "accept_ra", flags: "--ipv6 --bip6 fd00:1::1/64", bridge: "docker0 172.17.42.1/16 fd00:1::1/64",
			host: `ip link add ra0 type veth peer name ra2
				set_sysctl net/ipv6/conf/lan0/accept_ra 1; set_sysctl net/ipv6/conf/ra0/accept_ra 0; set_sysctl net/ipv6/conf/ra2/accept_ra 2`,
			sysctls: []string{
				"net/ipv6/conf/lan0/accept_ra 2", "net/ipv6/conf/ra0/accept_ra 0", "net/ipv6/conf/ra2/accept_ra 2",
				"net/ipv6/conf/default/accept_ra 2", "net/ipv6/conf/docker0/accept_ra 0", "net/ipv6/conf/all/forwarding 1",
			},
		},
		{
			name: "accept_ra without IPv6", host: "set_sysctl net/ipv6/conf/lan0/accept_ra 1", bridge: "docker0 172.17.42.1/16",
			sysctls: []string{"net/ipv6/conf/lan0/accept_ra 1", "net/ipv6/conf/all/forwarding 0", "net/ipv6/conf/docker0/disable_ipv6 1"},
		},
		{
			name: "accept_ra without forwarding", flags: "--ipv6 --ip-forward=false", host: "set_sysctl net/ipv6/conf/lan0/accept_ra 1",
			sysctls: []string{"net/ipv6/conf/lan0/accept_ra 1", "net/ipv6/conf/all/forwarding 0"}, warns: []string{"sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"},
		},
		{
			name: "the default route's MTU is too small", host: "ip link set lan0 mtu 1270", flags: "--ipv6", refused: 2,
			says: []string{"MTU 1270", "IPv6", "1280", "--mtu"},
		},
		{name: "the default route's MTU is too small, another is given", host: "ip link set lan0 mtu 1270", flags: "--ipv6 --mtu 1280", mtu: 1280},
		{
			name: "switched off on the host", flags: "--ipv6 --bip6 fd00:1::1/64", bridge: "docker0 172.17.42.1/16 fd00:1::1/64",
			host: "set_sysctl net/ipv6/conf/default/disable_ipv6 1",
		},
	})
}
