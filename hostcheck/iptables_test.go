package hostcheck_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
)

// needIPTables skips the test where iptables is not there. It is so in CI, too: what matters is tested without, as nft rules.
func needIPTables(t *testing.T, name string) {
	t.Helper()
	nstest.NeedRoot(t)
	if _, err := exec.LookPath(name); err != nil {
		t.Skip("the test needs the program " + name)
	}
}

// dockers are the rules of Docker Engine 28, of one bridge.
const dockers = `
-N DOCKER
-N DOCKER-FORWARD
-N DOCKER-BRIDGE
-N DOCKER-CT
-N DOCKER-USER
-P FORWARD DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i br-1 -o br-1 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i br-1 -o br-1 -j DROP
-A DOCKER-BRIDGE -o br-1 -j DOCKER
-A DOCKER-CT -o br-1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i br-1 -j ACCEPT
-A DOCKER-FORWARD -m comment --comment text -i br+ -m conntrack ! --ctstate NEW -j REJECT
-A DOCKER-FORWARD -m conntrack --ctstate DNAT -m mark --mark 5 -j LOG
-A DOCKER-FORWARD -m conntrack --ctstate INVALID -j DROP`

// TestIPTables: rules as iptables-nft writes them, with matches and targets that nf_tables hands through.
func TestIPTables(t *testing.T) {
	needIPTables(t, "iptables-nft")
	n := router(t).ns
	for _, line := range strings.Split(strings.TrimSpace(dockers), "\n") {
		n.Run("iptables-nft " + line)
	}
	own := hostcheck.Own{Bridges: []hostcheck.OwnBridge{docker0}}
	h := read(t, n, own)
	var got []string
	for _, c := range h.Tables[0].Chains {
		for _, r := range c.Rules {
			got = append(got, c.Name+": "+r.String())
		}
	}
	want := []string{
		"FORWARD: jump DOCKER-USER",
		"FORWARD: jump DOCKER-FORWARD",
		"DOCKER: iifname != br-1 oifname br-1 l4proto tcp … accept",
		"DOCKER: iifname != br-1 oifname br-1 drop",
		"DOCKER-FORWARD: jump DOCKER-CT",
		"DOCKER-FORWARD: jump DOCKER-BRIDGE",
		"DOCKER-FORWARD: iifname br-1 accept",
		"DOCKER-FORWARD: iifname br* ct state != new reject",
		"DOCKER-FORWARD: ct status dnat …",
		"DOCKER-FORWARD: ct state invalid drop",
		"DOCKER-BRIDGE: oifname br-1 jump DOCKER",
		"DOCKER-CT: oifname br-1 ct state { established, related } accept",
	}
	if diff := gocmp.Diff(byChain(want), byChain(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	found := stopping(h)
	if ways(found) != "out in" {
		t.Fatalf("found %v", found)
	}
	for _, m := range regexp.MustCompile("`iptables ([^`]*)`").FindAllStringSubmatch(found[0].Fix, -1) {
		n.Run("iptables-nft " + m[1])
	}
	if left := stopping(read(t, n, own)); left != nil {
		t.Errorf("after the fix there is still %v", left)
	}
}

// byChain puts rules to their chains, whose order does not matter.
func byChain(rules []string) map[string][]string {
	chains := make(map[string][]string)
	for _, r := range rules {
		chain, _, _ := strings.Cut(r, ":")
		chains[chain] = append(chains[chain], r)
	}
	return chains
}

// TestIPTablesLegacy: rules and policy of the old firewall.
func TestIPTablesLegacy(t *testing.T) {
	for family, command := range map[nft.Family]string{nft.IPv4: "iptables-legacy", nft.IPv6: "ip6tables-legacy"} {
		t.Run(command, func(t *testing.T) {
			needIPTables(t, command)
			n := nstest.New(t)
			look := func(what string, want ...hostcheck.LegacyTable) {
				t.Helper()
				if diff := gocmp.Diff(want, read(t, n, hostcheck.Own{}).Legacy); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
			look("fresh")
			n.Run(command + " -A INPUT -j ACCEPT")
			look("another chain", hostcheck.LegacyTable{Family: family, Policy: hostcheck.Accept})
			n.Run(command + " -A FORWARD -i lo -j ACCEPT")
			look("a rule", hostcheck.LegacyTable{Family: family, Policy: hostcheck.Accept, Rules: true})
			n.Run(command + " -P FORWARD DROP")
			look("a rule and a policy", hostcheck.LegacyTable{Family: family, Policy: hostcheck.Drop, Rules: true})
			n.Run(command + " -F FORWARD")
			look("a policy", hostcheck.LegacyTable{Family: family, Policy: hostcheck.Drop})
		})
	}
}
