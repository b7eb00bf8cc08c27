package hostcheck_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
)

// load loads a ruleset with nft.
func load(t testing.TB, n nstest.NS, ruleset string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ruleset.nft")
	check(t, os.WriteFile(file, []byte(ruleset), 0o644))
	n.Run("nft -f " + file)
}

// read is the host that the namespace is.
func read(t testing.TB, n nstest.NS, own hostcheck.Own) hostcheck.Host {
	t.Helper()
	var h hostcheck.Host
	n.Do(func() {
		var err error
		h, err = hostcheck.Read(own)
		check(t, err)
	})
	return h
}

// firewalls are as their programs make them, cut to what matters. Each stops or spares what leaves docker0 and what is
// published there.
var firewalls = []struct {
	name     string
	ruleset  string
	stops    string   // "", "out", "in", "out in"
	commands []string // which let docker0 through; nil: those of the fix
}{
	{name: "none"},
	{name: "accepting", ruleset: `
table inet filter {
	chain input { type filter hook input priority filter; policy drop; }
	chain forward { type filter hook forward priority filter; policy accept; }
	chain output { type filter hook output priority filter; policy accept; }
}`},
	{name: "block lists", ruleset: `
table inet filter {
	set bad { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 } }
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state invalid drop
		ip saddr @bad drop
		ip daddr 203.0.113.0/24 drop
		tcp dport { 25, 445 } reject
		iifname "wlan0" drop
		limit rate 1/day counter log
	}
}`},
	{name: "policy drop", stops: "out in", ruleset: `
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
	}
}`},
	{name: "what the policy drops is accepted before", ruleset: `
table inet filter {
	set trusted { type ifname; elements = { "docker0", "br0" } }
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state { established, related } accept
		iifname @trusted accept
		oifname vmap { "docker0" : goto down, "br0" : drop }
	}
	chain down {
		iifname != "eth0" drop
		ip daddr { 172.17.0.0/17, 172.17.128.0/17 } accept
	}
}`},
	{name: "outwards only", stops: "in", ruleset: `
table ip nat { }
table ip filter {
	chain forward {
		type filter hook forward priority filter + 10; policy accept;
		ct state established,related accept
		iif "docker0" oifname "eth*" accept
		counter reject
	}
}`},
	{name: "only published", stops: "out", ruleset: `
table inet filter {
	chain forward {
		type filter hook forward priority -300; policy drop;
		ct status dnat accept
	}
}`, commands: []string{"nft insert rule inet filter forward iifname docker0 accept"}},
	{name: "by the subnet", ruleset: `
table ip filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ip saddr 172.16.0.0/12 accept
		ip daddr & 255.255.0.0 == 172.17.0.0 ip protocol tcp accept
	}
}`},
	{name: "by the wrong subnet", stops: "out in", ruleset: `
table ip filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ip saddr { 10.0.0.0/8, 192.168.0.0/16 } accept
		ip daddr != 172.16.0.0/12 ip saddr != 172.0.0.0/8 accept
	}
}`},
	{name: "by family", stops: "out in", ruleset: `
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta nfproto ipv6 accept
		meta l4proto { icmp, ipv6-icmp, udp } accept
	}
}`},
	{name: "switched off", ruleset: `
table inet filter {
	flags dormant
	chain forward { type filter hook forward priority filter; policy drop; }
}`},
	// What Docker Engine 28 makes by iptables-nft, without its bridges' own rules.
	{name: "Docker Engine", stops: "out in", ruleset: `
table ip filter {
	chain DOCKER { iifname != "br-1" oifname "br-1" counter drop; }
	chain DOCKER-FORWARD {
		counter jump DOCKER-CT
		counter jump DOCKER-BRIDGE
		iifname "br-1" counter accept
	}
	chain DOCKER-BRIDGE { oifname "br-1" counter jump DOCKER; }
	chain DOCKER-CT { oifname "br-1" ct state related,established counter accept; }
	chain DOCKER-USER { }
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter jump DOCKER-USER
		counter jump DOCKER-FORWARD
	}
}`, commands: []string{"nft insert rule ip filter DOCKER-USER iifname docker0 counter accept", "nft insert rule ip filter DOCKER-USER oifname docker0 counter accept"}},
	{name: "ufw", stops: "out in", ruleset: `
table ip filter {
	chain ufw-before-forward {
		ct state related,established counter accept
		ip protocol icmp icmp type { destination-unreachable, time-exceeded, parameter-problem, echo-request } counter accept
		counter jump ufw-user-forward
	}
	chain ufw-user-forward { }
	chain ufw-after-forward { }
	chain ufw-reject-forward { }
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter jump ufw-before-forward
		counter jump ufw-after-forward
		counter jump ufw-reject-forward
	}
}`, commands: []string{"nft add rule ip filter ufw-user-forward iifname docker0 accept", "nft add rule ip filter ufw-user-forward oifname docker0 accept"}},
	// What firewalld 1.3 makes, with eth0 in zone public.
	{name: "firewalld", stops: "out", ruleset: `
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24 } reject with icmpv6 addr-unreachable
		jump filter_FORWARD_ZONES
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD_ZONES {
		iifname "eth0" goto filter_FWD_public
		goto filter_FWD_public
	}
	chain filter_FWD_public {
		jump filter_FWD_public_allow
		iifname "eth0" oifname "eth0" accept
		reject with icmpx admin-prohibited
	}
	chain filter_FWD_public_allow { }
}`, commands: []string{"nft insert rule inet firewalld filter_FORWARD_ZONES iifname docker0 accept"}},
}

// command finds the fix's commands.
var command = regexp.MustCompile("`(nft [^`]*)`")

// TestFirewalls: what firewalls of others stop is found, and when the fix was done it is found no more.
func TestFirewalls(t *testing.T) {
	nstest.NeedTool(t, "nft")
	own := hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}}
	for _, f := range firewalls {
		t.Run(f.name, func(t *testing.T) {
			n := router(t).ns
			load(t, n, f.ruleset)
			found := stopping(read(t, n, own))
			if got := ways(found); got != f.stops {
				t.Errorf("stopped %q, want %q:\n%v", got, f.stops, found)
			}
			commands := f.commands
			if commands == nil {
				for _, finding := range found {
					for _, m := range command.FindAllStringSubmatch(finding.Fix, -1) {
						commands = append(commands, m[1])
					}
				}
			}
			for _, c := range commands {
				n.Run(c)
			}
			if left := stopping(read(t, n, own)); left != nil {
				t.Errorf("after %q there is still %v", commands, left)
			}
		})
	}
}

// stopping are the findings about chains that stop what is forwarded.
func stopping(h hostcheck.Host) []hostcheck.Finding {
	var found []hostcheck.Finding
	for _, f := range hostcheck.Findings(h) {
		if f.Kind == hostcheck.ForwardDrop {
			found = append(found, f)
		}
	}
	return found
}

// ways are the directions that the titles name.
func ways(found []hostcheck.Finding) string {
	var got []string
	for _, w := range [][2]string{{"out", "out of docker0"}, {"in", "to published ports of docker0"}} {
		for _, f := range found {
			if strings.Contains(f.Title, w[1]) {
				got = append(got, w[0])
				break
			}
		}
	}
	return strings.Join(got, " ")
}

// TestHarmless: a host as it is fresh has no findings at all, and neither has one with a harmless firewall.
func TestHarmless(t *testing.T) {
	nstest.NeedTool(t, "nft")
	n := nstest.New(t)
	for _, ruleset := range []string{"", firewalls[1].ruleset, firewalls[2].ruleset} {
		load(t, n, "flush ruleset\n"+ruleset)
		if found := hostcheck.Findings(read(t, n, hostcheck.Own{})); found != nil {
			t.Errorf("%s: found %v", ruleset, found)
		}
	}
}

// TestBridgeNFSysctl: what br_netfilter brings to the rules is found as long as it does.
func TestBridgeNFSysctl(t *testing.T) {
	nstest.NeedTool(t, "nft")
	const sysctl = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	n := nstest.New(t)
	load(t, n, `
table ip filter {
	chain FORWARD { type filter hook forward priority filter; policy drop; iifname "docker0" oifname != "docker0" accept; }
}`)
	for value, want := range map[string]bool{"1": true, "0": false} {
		n.Do(func() {
			if _, err := os.Stat(sysctl); err != nil {
				t.Skip("the module br_netfilter is not loaded")
			}
			check(t, os.WriteFile(sysctl, []byte(value), 0))
		})
		found := hostcheck.Findings(read(t, n, hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}}))
		got := slices.ContainsFunc(found, func(f hostcheck.Finding) bool { return f.Kind == hostcheck.BridgeNF })
		if got != want {
			t.Errorf("%s = %s: found %v", sysctl, value, found)
		}
	}
}

// BenchmarkRead reads a host with that many rules in a chain that forwarded packets come to, and as many in others.
func BenchmarkRead(b *testing.B) {
	nstest.NeedTool(b, "nft")
	for _, rules := range []int{0, 1_000, 10_000} {
		b.Run(fmt.Sprint(rules), func(b *testing.B) {
			n := nstest.New(b)
			var text strings.Builder
			text.WriteString("table inet t {\nchain input { type filter hook input priority 0;\n")
			for i := range rules {
				fmt.Fprintf(&text, "tcp dport %d accept\n", i)
			}
			text.WriteString("}\nchain forward { type filter hook forward priority 0;\n")
			for i := range rules {
				fmt.Fprintf(&text, "ip saddr 10.0.%d.%d drop\n", i>>8, i&0xff)
			}
			text.WriteString("}\n}\n")
			load(b, n, text.String())
			n.Do(func() {
				for b.Loop() {
					if _, err := hostcheck.Read(hostcheck.Own{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// TestReadRules: rules of others as they are read.
func TestReadRules(t *testing.T) {
	nstest.NeedTool(t, "nft")
	n := router(t).ns
	load(t, n, `
table inet t {
	set names { type ifname; elements = { "eth0" } }
	set large { type ipv4_addr; elements = { 10.0.0.1 } }
	map verdicts { type ipv4_addr . inet_service : verdict; }
	map ports { type ifname : inet_service; }
	chain deep { iifname "docker0" return; }
	chain apart { drop; }
	chain input { type filter hook input priority 0; jump apart; }
	chain forward {
		type filter hook forward priority -10; policy drop;
		counter comment "text"
		iifname "eth*" oifname != { "docker0", "br0" } accept
		iif eth0 oif != docker0 jump deep
		iifname @names log prefix "x" drop
		ip saddr @large accept
		ip daddr . tcp dport vmap @verdicts
		ip saddr 10.0.0.0/9 ip daddr 10.0.0.1-10.0.0.9 accept
		ip6 saddr fd00::/8 ip6 daddr fd00::1 reject
		ip6 daddr { fd00::-fd00::ff, fd01::/16 } accept
		ct state invalid,untracked drop
		ct state != established drop
		ct status snat,dnat accept
		ct direction reply accept
		tcp dport 80 accept
		meta mark 5 meta nfproto ipv4 accept
		meta mark set 7 accept
		ether type ip6 accept
		fib saddr . iif oif missing drop
		rt classid 5 drop
		quota over 5 mbytes drop
		goto deep
	}
}
table bridge t {
	chain forward {
		type filter hook forward priority -200;
		ether type arp accept
		ip saddr 10.0.0.0/8 drop
	}
}
table arp t {
	chain c { type filter hook input priority 0; policy drop; }
}
`)
	h := read(t, n, hostcheck.Own{})
	var got []string
	for _, table := range h.Tables {
		for _, c := range table.Chains {
			head := table.ID.String() + " " + c.Name
			if c.Hook != nil {
				head += " " + c.Hook.Point.String() + " " + string(c.Policy)
			}
			got = append(got, head)
			for _, r := range c.Rules {
				got = append(got, "\t"+r.String())
			}
		}
	}
	want := []string{
		"inet t deep",
		"\tiifname docker0 return",
		"inet t apart", // no forwarded packet comes here
		"inet t input input accept",
		"inet t forward forward drop",
		"\t",
		"\tiifname eth* oifname != { docker0, br0 } accept",
		"\tiifname eth0 oifname != docker0 jump deep",
		"\tiifname eth0 drop",
		"\tnfproto ipv4 … accept",
		"\tnfproto ipv4 l4proto tcp … undecided",
		"\tnfproto ipv4 saddr 10.0.0.0/9 … accept",
		"\tnfproto ipv6 saddr fd00::/8 daddr fd00::1/128 reject",
		"\tnfproto ipv6 daddr { fd00::-fd00::ff, fd01::-fd01:ffff:ffff:ffff:ffff:ffff:ffff:ffff } accept",
		"\tct state { invalid, untracked } drop",
		"\tct state != established drop",
		"\tct status { snat, dnat } accept",
		"\t… accept",
		"\tl4proto tcp … accept",
		"\t… nfproto ipv4 accept",
		"\taccept",
		"\t… nfproto ipv6 accept", // … is iiftype
		"\t… drop",
		"\t… drop",
		"\t… drop",
		"\tgoto deep",
		"bridge t forward forward accept",
		"\tnfproto 0x806 accept",
		"\tnfproto ipv4 saddr 10.0.0.0/8 drop",
	}
	if diff := gocmp.Diff(want, sortedSets(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// sortedSets puts the names in sets into the order of the test: the kernel's is any.
func sortedSets(lines []string) []string {
	for i := range lines {
		lines[i] = strings.Replace(lines[i], "{ br0, docker0 }", "{ docker0, br0 }", 1)
	}
	return lines
}
