package hostcheck_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/nft"
)

// rule is its matches as "field value,value", "!field value" and "?" for what is not known, and the verdict last, as in "jump X".
func rule(words ...string) hostcheck.Rule {
	var r hostcheck.Rule
	for _, w := range words[:len(words)-1] {
		if w == "?" {
			r.Matches = append(r.Matches, hostcheck.Match{})
			continue
		}
		w, not := strings.CutPrefix(w, "!")
		at := strings.LastIndex(w, " ")
		r.Matches = append(r.Matches, hostcheck.Match{Field: hostcheck.Field(w[:at]), Not: not, Values: strings.Split(w[at+1:], ",")})
	}
	verdict, chain, _ := strings.Cut(words[len(words)-1], " ")
	r.Verdict, r.Chain = hostcheck.Verdict(verdict), chain
	return r
}

// forward is a table whose chain "forward" has that policy and those rules.
func forward(f nft.Family, policy hostcheck.Verdict, rules ...hostcheck.Rule) hostcheck.Table {
	return hostcheck.Table{ID: nft.TableID{Family: f, Name: "t"}, Chains: []hostcheck.Chain{
		{Name: "forward", Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Forward}, Policy: policy, Rules: rules},
	}}
}

// with adds a chain that is no base chain.
func with(t hostcheck.Table, name string, rules ...hostcheck.Rule) hostcheck.Table {
	t.Chains = append(slices.Clip(t.Chains), hostcheck.Chain{Name: name, Rules: rules})
	return t
}

// titles are the findings in short: "severity kind: title".
func titles(found []hostcheck.Finding) []string {
	var s []string
	for _, f := range found {
		s = append(s, fmt.Sprintf("%s %s: %s", f.Severity, f.Kind, f.Title))
	}
	return s
}

var docker0 = hostcheck.OwnBridge{Name: "docker0", Subnets: []netip.Prefix{prefix("172.17.0.0/16")}}

const (
	stopsBoth = "problem forward-drop: ip t forward stops new connections out of docker0 and to published ports of docker0"
	stopsIn   = "problem forward-drop: ip t forward stops new connections to published ports of docker0"
	stopsOut  = "problem forward-drop: ip t forward stops new connections out of docker0"
)

// maybe makes a warning of a problem.
func maybe(title string) string { return strings.Replace(title, "problem", "warning", 1) }

// TestChains: what rules of others do to packets of ours. The bridge is docker0 with 172.17.0.0/16, the uplink eth0.
func TestChains(t *testing.T) {
	accept, drop := hostcheck.Accept, hostcheck.Drop
	for _, test := range []struct {
		name  string
		table hostcheck.Table
		want  string // "": nothing
	}{
		{"no rules, policy accept", forward(nft.IPv4, accept), ""},
		{"no rules, policy drop", forward(nft.IPv4, drop), stopsBoth},
		{"another hook", hostcheck.Table{ID: nft.TableID{Family: nft.IPv4, Name: "t"}, Chains: []hostcheck.Chain{
			{Name: "input", Hook: &nft.Hook{Point: nft.Input}, Policy: drop}}}, ""},
		{"no base chain", with(hostcheck.Table{ID: nft.TableID{Family: nft.IPv4, Name: "t"}}, "c", rule("drop")), ""},
		{"switched off", func() hostcheck.Table { t := forward(nft.IPv4, drop); t.Dormant = true; return t }(), ""},
		{"the family that the bridge does not have", forward(nft.IPv6, drop), ""},

		{"drop at the end", forward(nft.IPv4, accept, rule("drop")), stopsBoth},
		{"reject at the end", forward(nft.IPv4, accept, rule("reject")), stopsBoth},
		{"both accepted by name", forward(nft.IPv4, drop, rule("iifname docker0", "accept"), rule("oifname docker0", "accept")), ""},
		{"one way accepted", forward(nft.IPv4, drop, rule("iifname docker0", "accept")), stopsIn},
		{"established only", forward(nft.IPv4, drop, rule("ct state established,related", "accept")), stopsBoth},
		{"new, too", forward(nft.IPv4, drop, rule("ct state established,related,new", "accept")), ""},
		{"what is DNATed", forward(nft.IPv4, drop, rule("ct status dnat", "accept")), stopsOut},
		{"what is not DNATed", forward(nft.IPv4, drop, rule("!ct status dnat", "accept")), stopsIn},
		{"a wildcard", forward(nft.IPv4, drop, rule("iifname docker*", "accept"), rule("oifname d*", "accept")), ""},
		{"another's wildcard", forward(nft.IPv4, drop, rule("iifname br-*", "accept"), rule("oifname br-*", "accept")), stopsBoth},
		{"the uplink by name", forward(nft.IPv4, drop, rule("iifname docker0", "oifname eth0", "accept"), rule("iifname eth0", "oifname docker0", "accept")), ""},
		{"all but the uplink", forward(nft.IPv4, drop, rule("!oifname eth0", "accept")), stopsOut},
		{"a set of names", forward(nft.IPv4, drop, rule("iifname eth0,docker0", "accept")), ""},
		{"the subnet", forward(nft.IPv4, drop, rule("saddr 172.16.0.0/12", "accept"), rule("daddr 172.17.0.0/16", "accept")), ""},
		{"a range", forward(nft.IPv4, drop, rule("saddr 172.16.0.0-172.31.255.255", "accept"), rule("daddr 172.17.0.0-172.17.255.255", "accept")), ""},
		{"another subnet", forward(nft.IPv4, drop, rule("saddr 10.0.0.0/8", "accept")), stopsBoth},
		{"half of the subnet", forward(nft.IPv4, drop, rule("iifname docker0", "saddr 172.17.0.0/17", "accept")), stopsBoth},
		{"the protocol", forward(nft.IPv4, drop, rule("l4proto icmp", "accept"), rule("l4proto tcp", "accept")), ""},
		{"by family", forward(nft.Inet, drop, rule("nfproto ipv4", "accept")), ""},
		{"by the other family", forward(nft.Inet, drop, rule("nfproto ipv6", "accept")), strings.ReplaceAll(stopsBoth, "ip t", "inet t")},

		{"some ports are accepted", forward(nft.IPv4, drop, rule("l4proto tcp", "?", "accept")), maybe(stopsBoth)},
		{"some ports of one way", forward(nft.IPv4, drop, rule("oifname docker0", "?", "accept")), stopsBoth},
		{"a block list", forward(nft.IPv4, accept, rule("?", "drop")), ""},
		{"what is invalid", forward(nft.IPv4, accept, rule("ct state invalid", "drop")), ""},
		{"what is for another bridge", forward(nft.IPv4, accept, rule("oifname br-1", "drop"), rule("iifname br-1", "reject")), ""},
		{"a program decides", forward(nft.IPv4, drop, rule("undecided")), ""},
		{"a map that is not known", forward(nft.IPv4, drop, rule("?", "undecided")), maybe(stopsBoth)},

		{"a jump that accepts", with(forward(nft.IPv4, drop, rule("jump c")), "c", rule("accept")), ""},
		{"a jump that comes back", with(forward(nft.IPv4, drop, rule("jump c")), "c", rule("iifname br-1", "accept")), stopsBoth},
		{"a jump and a return", with(forward(nft.IPv4, accept, rule("jump c")), "c", rule("return"), rule("drop")), ""},
		{"a return for some", with(forward(nft.IPv4, accept, rule("jump c")), "c", rule("iifname docker0", "return"), rule("drop")), stopsIn},
		{"a return in a base chain is its policy", forward(nft.IPv4, drop, rule("return"), rule("accept")), stopsBoth},
		{"a goto that ends", with(forward(nft.IPv4, drop, rule("goto c"), rule("accept")), "c"), stopsBoth},
		{"a jump that does not match", with(forward(nft.IPv4, accept, rule("iifname br-1", "jump c")), "c", rule("drop")), ""},
		{"a jump that may match and accepts", with(forward(nft.IPv4, drop, rule("?", "jump c")), "c", rule("accept")), maybe(stopsBoth)},
		{"a jump that may match and drops", with(forward(nft.IPv4, accept, rule("?", "jump c")), "c", rule("drop")), ""},
		{"a chain that is not there", forward(nft.IPv4, accept, rule("jump c")), ""},
		{"a loop, which no kernel has", with(forward(nft.IPv4, accept, rule("jump c")), "c", rule("jump c")), ""},

		{"frames", forward(nft.Bridge, drop), "problem forward-drop: bridge t forward stops new connections between two ports of docker0"},
		{"frames of our ports", forward(nft.Bridge, drop, rule("iifname bv*", "accept")), ""},
		{"frames of our bridge", forward(nft.Bridge, drop, rule("ibrname docker0", "obrname docker0", "accept")), ""},
		{"frames of other ports", forward(nft.Bridge, drop, rule("iifname veth*", "accept")),
			"problem forward-drop: bridge t forward stops new connections between two ports of docker0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := hostcheck.Host{
				Own:     hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}, PortPrefix: "bv"},
				Tables:  []hostcheck.Table{test.table},
				Uplinks: []string{"eth0"},
			}
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if diff := gocmp.Diff(want, titles(hostcheck.Findings(h))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUplinks: a way out that is not known may be any.
func TestUplinks(t *testing.T) {
	h := hostcheck.Host{
		Own:    hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}},
		Tables: []hostcheck.Table{forward(nft.IPv4, hostcheck.Drop, rule("iifname docker0", "oifname eth0", "accept"), rule("oifname docker0", "accept"))},
	}
	for name, test := range map[string]struct {
		uplinks []string
		want    []string
	}{
		"that one":     {[]string{"eth0"}, nil},
		"another":      {[]string{"wlan0"}, []string{stopsOut}},
		"not known":    {nil, []string{maybe(stopsOut)}},
		"one of these": {[]string{"eth0", "wlan0"}, []string{maybe(stopsOut)}},
	} {
		h.Uplinks = test.uplinks
		if diff := gocmp.Diff(test.want, titles(hostcheck.Findings(h))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestBridgeNF: with br_netfilter a policy stops what never leaves the bridge.
func TestBridgeNF(t *testing.T) {
	both := hostcheck.OwnBridge{Name: "docker0", Subnets: []netip.Prefix{prefix("172.17.0.0/16"), prefix("fd00::/64")}}
	const (
		within4 = "problem bridge-nf: ip t forward stops new connections between two ports of docker0, because net/bridge/bridge-nf-call-iptables is 1"
		within6 = "problem bridge-nf: ip6 t forward stops new connections between two ports of docker0, because net/bridge/bridge-nf-call-ip6tables is 1"
	)
	uplinked := []hostcheck.Rule{rule("oifname eth0", "accept"), rule("iifname eth0", "accept")}
	for name, test := range map[string]struct {
		v4, v6 bool
		table  hostcheck.Table
		want   []string
	}{
		"off":         {false, false, forward(nft.IPv4, hostcheck.Drop, uplinked...), nil},
		"on":          {true, false, forward(nft.IPv4, hostcheck.Drop, uplinked...), []string{within4}},
		"IPv6":        {true, true, forward(nft.IPv6, hostcheck.Drop, uplinked...), []string{within6}},
		"IPv6 is off": {true, false, forward(nft.IPv6, hostcheck.Drop, uplinked...), nil},
		"on, and nothing else passes": {true, false, forward(nft.IPv4, hostcheck.Drop),
			[]string{stopsBoth, within4}},
		"on, and harmless": {true, true, forward(nft.Inet, hostcheck.Accept), nil},
		"both families in one table": {true, true, forward(nft.Inet, hostcheck.Drop, uplinked...),
			[]string{strings.Replace(strings.Replace(within4, "ip t", "inet t", 1), "tables is 1", "tables and net/bridge/bridge-nf-call-ip6tables are 1", 1)}},
	} {
		h := hostcheck.Host{Own: hostcheck.Own{Bridges: []hostcheck.OwnBridge{both}}, Tables: []hostcheck.Table{test.table},
			Uplinks: []string{"eth0"}, BridgeNF4: test.v4, BridgeNF6: test.v6}
		if diff := gocmp.Diff(test.want, titles(hostcheck.Findings(h))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSettings: findings beside rules.
func TestSettings(t *testing.T) {
	own := hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}}
	noForwarding := own
	noForwarding.NoForwarding = true
	ours := nft.TableID{Family: nft.Inet, Name: "bridged"}
	for name, test := range map[string]struct {
		host hostcheck.Host
		want []string
	}{
		"nothing": {hostcheck.Host{Own: own}, nil},
		"zero":    {hostcheck.Host{}, nil},

		"no forwarding, which we switch on": {hostcheck.Host{Own: own}, nil},
		"no forwarding":                     {hostcheck.Host{Own: noForwarding}, []string{"problem no-forwarding: the host does not forward IPv4"}},
		"forwarding":                        {hostcheck.Host{Own: noForwarding, Forwarding4: true}, nil},
		"no forwarding, and no bridge yet": {hostcheck.Host{Own: hostcheck.Own{NoForwarding: true}},
			[]string{"problem no-forwarding: the host does not forward IPv4"}},

		"strict bridge":            {hostcheck.Host{Own: own, RPFilter: map[string]int{"all": 0, "docker0": 1}}, []string{"warning strict-rp-filter: the reverse path filter of docker0 is strict"}},
		"strict everywhere":        {hostcheck.Host{Own: own, RPFilter: map[string]int{"all": 1, "docker0": 0}}, []string{"warning strict-rp-filter: the reverse path filter of docker0 is strict"}},
		"loose outranks strict":    {hostcheck.Host{Own: own, RPFilter: map[string]int{"all": 1, "docker0": 2}}, nil},
		"a strict uplink is right": {hostcheck.Host{Own: own, Uplinks: []string{"eth0"}, RPFilter: map[string]int{"all": 0, "docker0": 2, "eth0": 1}}, nil},
		"two strict uplinks": {hostcheck.Host{Own: own, Uplinks: []string{"eth0", "eth1"}, RPFilter: map[string]int{"all": 0, "docker0": 2, "eth0": 1, "eth1": 1}},
			[]string{"warning strict-rp-filter: the reverse path filter of eth0 is strict", "warning strict-rp-filter: the reverse path filter of eth1 is strict"}},

		"our table":       {hostcheck.Host{Own: own, Tables: []hostcheck.Table{{ID: ours}}}, nil},
		"another's table": {hostcheck.Host{Own: own, Tables: []hostcheck.Table{{ID: ours, Owner: "bridged (pid 812)"}}}, []string{"problem foreign-table: table inet bridged belongs to bridged (pid 812)"}},
		"an owned table that is not of our name": {hostcheck.Host{Own: own, Tables: []hostcheck.Table{
			{ID: nft.TableID{Family: nft.Inet, Name: "firewalld2"}, Owner: "x (pid 1)"}}}, nil},

		"legacy drop":            {hostcheck.Host{Own: own, Legacy: []hostcheck.LegacyTable{{Family: nft.IPv4, Policy: hostcheck.Drop}}}, []string{"problem legacy-firewall: the policy of iptables-legacy FORWARD is DROP, and no rule comes before it"}},
		"legacy drop with rules": {hostcheck.Host{Own: own, Legacy: []hostcheck.LegacyTable{{Family: nft.IPv6, Policy: hostcheck.Drop, Rules: true}}}, []string{"warning legacy-firewall: the policy of ip6tables-legacy FORWARD is DROP"}},
		"legacy rules":           {hostcheck.Host{Own: own, Legacy: []hostcheck.LegacyTable{{Family: nft.IPv4, Policy: hostcheck.Accept, Rules: true}}}, []string{"note legacy-firewall: iptables-legacy has rules in its chain FORWARD"}},
		"legacy without rules":   {hostcheck.Host{Own: own, Legacy: []hostcheck.LegacyTable{{Family: nft.IPv4, Policy: hostcheck.Accept}}}, nil},

		"ufw":       {hostcheck.Host{Own: own, Tables: []hostcheck.Table{with(forward(nft.IPv4, hostcheck.Accept), "ufw-user-forward")}}, []string{"note firewall-manager: ufw is active"}},
		"firewalld": {hostcheck.Host{Own: own, Tables: []hostcheck.Table{{ID: nft.TableID{Family: nft.Inet, Name: "firewalld"}}}}, []string{"note firewall-manager: firewalld is active"}},
		"the worst first": {hostcheck.Host{Own: noForwarding, RPFilter: map[string]int{"docker0": 1}, Tables: []hostcheck.Table{{ID: nft.TableID{Family: nft.Inet, Name: "firewalld"}}}},
			[]string{"problem no-forwarding: the host does not forward IPv4", "warning strict-rp-filter: the reverse path filter of docker0 is strict", "note firewall-manager: firewalld is active"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := gocmp.Diff(test.want, titles(hostcheck.Findings(test.host))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMakers: the fix is in the words of whoever made the table, for each bridge that is stopped.
func TestMakers(t *testing.T) {
	iptables := func(f nft.Family, chains ...string) hostcheck.Table {
		table := forward(f, hostcheck.Drop)
		table.ID.Name, table.Chains[0].Name = "filter", "FORWARD"
		for _, c := range chains {
			table = with(table, c)
		}
		return table
	}
	firewalld := forward(nft.Inet, hostcheck.Accept, rule("reject"))
	firewalld.ID.Name = "firewalld"
	for name, test := range map[string]struct {
		table     hostcheck.Table
		made, fix string
	}{
		"Docker Engine": {iptables(nft.IPv4, "DOCKER", "DOCKER-USER"), "made by Docker Engine, by iptables-nft",
			"`iptables -I DOCKER-USER -i docker0 -j ACCEPT` and `iptables -I DOCKER-USER -o docker0 -j ACCEPT`, " +
				"then `iptables -I DOCKER-USER -i docker0 -o br-+ -j RETURN`, or start that engine with `--iptables=false`."},
		"Docker Engine and ufw": {iptables(nft.IPv4, "ufw-user-forward", "DOCKER-USER"), "made by Docker Engine, by iptables-nft", "-I DOCKER-USER"},
		"Docker Engine, IPv6":   {iptables(nft.IPv6, "DOCKER-USER"), "by ip6tables-nft", "`ip6tables -I DOCKER-USER -i docker0 -j ACCEPT`"},
		"ufw":                   {iptables(nft.IPv4, "ufw-user-forward"), "made by ufw, by iptables-nft", "`ufw route allow in on docker0` and `ufw route allow out on docker0`."},
		"firewalld":             {firewalld, "made by firewalld", "`firewall-cmd --permanent --zone=trusted --add-interface=docker0`"},
		"iptables":              {iptables(nft.IPv4), "made by iptables-nft", "`iptables -I FORWARD -i docker0 -j ACCEPT` and `iptables -I FORWARD -o docker0 -j ACCEPT`."},
		"ebtables":              {iptables(nft.Bridge), "made by ebtables-nft", "`ebtables -I FORWARD --logical-in docker0 -j ACCEPT`."},
		"nft": {forward(nft.Inet, hostcheck.Drop), "priority 0, policy drop)",
			"`nft insert rule inet t forward iifname docker0 accept` and `nft insert rule inet t forward oifname docker0 accept`, and the same"},
	} {
		t.Run(name, func(t *testing.T) {
			both := hostcheck.OwnBridge{Name: "docker0"}
			h := hostcheck.Host{Own: hostcheck.Own{Bridges: []hostcheck.OwnBridge{both}}, Tables: []hostcheck.Table{test.table}}
			found := hostcheck.Findings(h)
			if len(found) == 0 || found[0].Kind != hostcheck.ForwardDrop {
				t.Fatalf("found %v", found)
			}
			if !strings.Contains(found[0].Detail, test.made) {
				t.Errorf("detail %q, want %q in it", found[0].Detail, test.made)
			}
			if !strings.Contains(found[0].Fix, test.fix) {
				t.Errorf("fix %q, want %q in it", found[0].Fix, test.fix)
			}
		})
	}
}

// TestFindingsName: Kind and Object name a finding, also where much is wrong at once.
func TestFindingsName(t *testing.T) {
	h := hostcheck.Host{
		Own:       hostcheck.Own{Bridges: []hostcheck.OwnBridge{{Name: "one"}, {Name: "two"}}, NoForwarding: true},
		Tables:    []hostcheck.Table{forward(nft.IPv4, hostcheck.Drop), forward(nft.Inet, hostcheck.Drop), forward(nft.Bridge, hostcheck.Drop)},
		BridgeNF4: true, BridgeNF6: true,
		RPFilter: map[string]int{"one": 1, "two": 1},
	}
	type name struct {
		kind   hostcheck.Kind
		object string
	}
	seen := make(map[name]bool)
	found := hostcheck.Findings(h)
	if len(found) != 3+2+2+2 {
		t.Errorf("%d findings", len(found))
	}
	for _, f := range found {
		if n := (name{f.Kind, f.Object}); seen[n] {
			t.Errorf("two findings are %v", n)
		} else {
			seen[n] = true
		}
		if f.Title == "" || f.Detail == "" || f.Fix == "" || f.Severity == "" {
			t.Errorf("something is missing in %+v", f)
		}
	}
	if !slices.Equal(found, hostcheck.Findings(h)) {
		t.Error("the same host has other findings")
	}
}
