package engine

import (
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// Program is the constant packet program: the two tables of ours without their elements. Package nat translates, package
// forwarding decides who may speak to whom; what changes afterwards are elements only. Sets that change with every published port come first: the
// kernel goes through the names of a table's sets, in their order, for each message about elements (nft_set_lookup, net/netfilter/nf_tables_api.c).
func Program() []nft.Table {
	return []nft.Table{
		{
			ID:     nat.Inet,
			Sets:   append(nat.Sets(), forwarding.Sets()...),
			Chains: append(forwarding.Chains(), nat.Chains()...),
		},
		forwarding.BridgeTable(),
	}
}
