package engine

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/nft"
	"github.com/bridged/bridged/nft/nfttest"
)

// TestRefusedKernels: on a kernel without what can't be done without, or without what was asked for, the start is refused by the name in the
// kernel's configuration, and nothing was changed.
func TestRefusedKernels(t *testing.T) {
	plain := func(*Config) {}
	for _, tt := range []struct {
		name    string
		less    less
		flags   func(*Config)
		prepare string
		says    []string
	}{
		{name: "nf_tables", less: less{refuse: nfttest.NoNFTables}, flags: plain, says: []string{"CONFIG_NF_TABLES"}},
		{name: "family inet", less: less{refuse: nfttest.NoFamily(nft.Inet)}, flags: plain, says: []string{"CONFIG_NF_TABLES_INET"}},
		{name: "family inet, Linux 4.16 to 6.6", less: less{refuse: nfttest.NoFamilyHooks(nft.Inet)}, flags: plain, says: []string{"CONFIG_NF_TABLES_INET"}},
		{name: "ct", less: less{refuse: nfttest.NoExpression("ct")}, flags: plain, says: []string{"CONFIG_NFT_CT"}},
		{name: "fib", less: less{refuse: nfttest.NoExpression("fib")}, flags: plain, says: []string{"CONFIG_NFT_FIB_INET"}},
		{name: "NAT", less: less{refuse: nfttest.NoChainType("nat")}, flags: plain, says: []string{"CONFIG_NFT_NAT", "CONFIG_NFT_MASQ"}},
		{name: "limit", less: less{refuse: nfttest.NoExpression("limit")}, flags: plain, says: []string{"CONFIG_NFT_LIMIT"}},
		{name: "masquerade", less: less{refuse: nfttest.NoExpression("masq")}, flags: plain, says: []string{"CONFIG_NFT_MASQ"}},
		{
			name: "protection", less: less{refuse: nfttest.NoTableFlags(nfttest.Owner | nfttest.Persist)},
			flags: func(c *Config) { c.Protection = nft.ProtectionOwner }, says: []string{"owner and persist", "Linux 6.9"},
		},
		{
			name: "protection, no persist", less: less{refuse: nfttest.NoTableFlags(nfttest.Persist)},
			flags: func(c *Config) { c.Protection = nft.ProtectionOwner }, says: []string{"flag persist", "Linux 6.9"},
		},
		{name: "IPv6", prepare: "net/ipv6/conf/all/disable_ipv6", flags: plain, says: []string{"--ipv6", "disable_ipv6 = 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			host := newSpace(t, "host", giveNamespace(t))
			if tt.prepare != "" {
				host.sysctl(tt.prepare, "1")
			}
			everything := func() string {
				return host.run("nft list ruleset") + host.run("ip address") + host.run("ip rule") + host.run("sysctl net.ipv4.ip_forward")
			}
			before, lesser := everything(), cfg
			tt.flags(&lesser)
			e, err := openIn(t, host.path, lesser, tt.less)
			if err == nil {
				err = e.Run(t.Context())
			}
			wantUnavailable(t, "the start", err, tt.says...)
			if after := everything(); after != before {
				t.Errorf("the refused start left\n%s\nof\n%s", after, before)
			}
			cfg.IPv6 = tt.prepare == ""
			e, stop := startIn(t, host.path, cfg)
			wantWarning(t, e, "")
			stop()
		})
	}
}

// TestProgramIsProbed: the probe asks for all that the program has and that a kernel with nf_tables may lack.
func TestProgramIsProbed(t *testing.T) {
	// What is in nf_tables itself: nft_basic_types in net/netfilter/nf_tables_core.c, Linux 5.7.
	basic := []string{"bitwise", "byteorder", "cmp", "dynset", "exthdr", "immediate", "lookup", "meta", "payload", "range", "rt"}
	used := make(map[string]bool)
	host := newSpace(t, "host", giveNamespace(t))
	_, stop := startLess(t, host.path, testConfig(t), less{refuse: func(m nft.Message) unix.Errno {
		for _, name := range nfttest.Expressions(m) {
			used[name] = true
		}
		return 0
	}})
	stop()
	if !used["fib"] || !used["limit"] {
		t.Errorf("the program uses %v", used)
	}
	for name := range used {
		if slices.Contains(basic, name) {
			continue
		}
		var k hostcheck.Kernel
		host.must(func() (err error) { k, err = hostcheck.Probe(nfttest.NoExpression(name)); return err })
		if k.Require(needed()...) == nil {
			t.Errorf("without the expression %s there is no program, and the probe does not find it missing", name)
		}
	}
}
