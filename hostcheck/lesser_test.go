package hostcheck_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
	"github.com/bridged/bridged/nft/nfttest"
)

// TestLesserKernels: of a kernel that lacks something, exactly that is found missing, by its name in the kernel's
// configuration, and nothing is left of the question.
func TestLesserKernels(t *testing.T) {
	tests := []struct {
		name    string
		refuse  nfttest.Refusal
		missing []hostcheck.FeatureName
		config  string
	}{
		{"all", nil, nil, ""},
		{"bridge family, 6.7", nfttest.NoFamily(nft.Bridge), names(hostcheck.NFTablesBridge), "CONFIG_NF_TABLES_BRIDGE"},
		{"bridge family, 4.16", nfttest.NoFamilyHooks(nft.Bridge), names(hostcheck.NFTablesBridge), "CONFIG_NF_TABLES_BRIDGE"},
		{"fib", nfttest.NoExpression("fib"), names(hostcheck.FIB), "CONFIG_NFT_FIB_INET"},
		{"NAT", nfttest.NoChainType("nat"), names(hostcheck.NAT, hostcheck.Masquerade), "CONFIG_NFT_NAT"},
		{"counters", nfttest.NoExpression("counter"), names(hostcheck.ElementCounters), "CONFIG_NFT_COUNTER"},
		{"limits", nfttest.NoExpression("limit"), names(hostcheck.ElementLimits), "CONFIG_NFT_LIMIT"},
		{"masquerade", nfttest.NoExpression("masq"), names(hostcheck.Masquerade), "CONFIG_NFT_MASQ"},
		{"ct", nfttest.NoExpression("ct"), names(hostcheck.Conntrack), "CONFIG_NFT_CT"},
		{"owner and persist", nfttest.NoTableFlags(nfttest.Owner | nfttest.Persist), names(hostcheck.OwnerPersist), "CONFIG_NF_TABLES"},
		{"persist", nfttest.NoTableFlags(nfttest.Persist), names(hostcheck.OwnerPersist), "CONFIG_NF_TABLES"},
		{
			"nf_tables", nfttest.NoNFTables, names(hostcheck.NFTables, hostcheck.NFTablesInet, hostcheck.Conntrack, hostcheck.FIB,
				hostcheck.NAT, hostcheck.Masquerade, hostcheck.ConcatIntervals, hostcheck.ElementCounters, hostcheck.ElementLimits, hostcheck.NFTablesBridge,
				hostcheck.OwnerPersist), "CONFIG_NF_TABLES",
		},
	}
	var here hostcheck.Kernel // this one may lack something, too
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := nstest.New(t)
			var k hostcheck.Kernel
			n.Do(func() {
				var err error
				if k, err = hostcheck.Probe(tt.refuse); err != nil {
					t.Fatal(err)
				}
			})
			if tt.refuse == nil {
				here = k
			}
			var missing []hostcheck.FeatureName
			for _, f := range k.Missing() {
				if here.Has(f.Name) {
					missing = append(missing, f.Name)
				}
			}
			if !slices.Equal(missing, tt.missing) {
				t.Errorf("missing: %q, want %q", missing, tt.missing)
			}
			if err := k.Require(tt.missing...); len(tt.missing) > 0 && (!errors.Is(err, hostcheck.ErrAbsent) || !strings.Contains(err.Error(), tt.config)) {
				t.Errorf("%v, want %s in it", err, tt.config)
			}
			if left := n.Run("nft list ruleset"); left != "" {
				t.Errorf("the probe left\n%s", left)
			}
		})
	}
}

func names(all ...hostcheck.FeatureName) []hostcheck.FeatureName { return all }
