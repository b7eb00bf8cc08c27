package hostcheck_test

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/nft"
)

// The first subnet that nobody on the host uses. ReadTaken reads a host; this one has a VPN and a nameserver.
func ExampleChoose() {
	taken := hostcheck.Taken{
		Nameservers: []netip.Addr{netip.MustParseAddr("172.17.0.2")},
		Routes:      []addr.Route{{Dst: netip.MustParsePrefix("10.0.0.0/16"), Link: 3}, {Dst: netip.MustParsePrefix("0.0.0.0/1"), Link: 3}},
		Links:       map[int]string{3: "tun0"},
	}
	candidates := []netip.Prefix{
		netip.MustParsePrefix("172.17.42.1/16"), netip.MustParsePrefix("10.0.42.1/16"), netip.MustParsePrefix("10.1.42.1/16"),
	}
	chosen, skipped, err := hostcheck.Choose(candidates, taken.Check)
	for _, s := range skipped {
		fmt.Println("skipped", s)
	}
	fmt.Println("chosen", chosen, err)
	// Output:
	// skipped 172.17.42.1/16: requested network 172.17.0.0/16 overlaps with nameserver 172.17.0.2
	// skipped 10.0.42.1/16: requested network 10.0.0.0/16 overlaps with route 10.0.0.0/16 dev tun0
	// chosen 10.1.42.1/16 <nil>
}

// What a firewall of somebody else's does to our packets. Read reads a host; on this one Docker Engine has set the policy of FORWARD.
func ExampleFindings() {
	host := hostcheck.Host{
		Own: hostcheck.Own{Bridges: []hostcheck.OwnBridge{{Name: "br0", Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}}},
		Tables: []hostcheck.Table{{
			ID: nft.TableID{Family: nft.IPv4, Name: "filter"},
			Chains: []hostcheck.Chain{
				{Name: "DOCKER-USER"},
				{
					Name:   "FORWARD",
					Hook:   &nft.Hook{Type: nft.FilterChain, Point: nft.Forward, Priority: nft.PriorityFilter},
					Policy: hostcheck.Drop,
					Rules:  []hostcheck.Rule{{Verdict: hostcheck.Jump, Chain: "DOCKER-USER"}},
				},
			},
		}},
	}
	for _, f := range hostcheck.Findings(host) {
		fmt.Printf("%s: %s.\n%s\nFix: %s\n", f.Severity, f.Title, f.Detail, f.Fix)
	}
	// Output:
	// problem: ip filter FORWARD stops new connections out of br0 and to published ports of br0.
	// In chain FORWARD of table ip filter (hook forward, priority 0, policy drop; made by Docker Engine, by iptables-nft) its policy drop stops them. An accept in another table does not help: each table is asked.
	// Fix: `iptables -I DOCKER-USER -i br0 -j ACCEPT` and `iptables -I DOCKER-USER -o br0 -j ACCEPT`, then `iptables -I DOCKER-USER -i br0 -o docker0 -j RETURN`, then `iptables -I DOCKER-USER -i br0 -o br-+ -j RETURN`, or start that engine with `--iptables=false`.
}

// A kernel that lacks something. Probe asks the kernel that runs; this one takes a feature away.
func ExampleAsk_Without() {
	everything := hostcheck.Ask(func(hostcheck.FeatureName) error { return nil })
	kernel, err := everything.Without(hostcheck.NFTablesBridge).Kernel()
	fmt.Println(kernel.Has(hostcheck.FIB), err)
	fmt.Println(kernel.Require(hostcheck.FIB, hostcheck.NFTablesBridge))
	// Output:
	// true <nil>
	// no nf_tables family bridge, which CONFIG_NF_TABLES_BRIDGE brings since Linux 3.13: the kernel does not have it: left out
}
