package engine

import (
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// Program is the constant packet program: the two tables of ours without their elements. Package nat translates, package
// forwarding decides who may speak to whom; what changes afterwards are elements only.
func Program() []nft.Table {
	return []nft.Table{
		{
			ID:     nat.Inet,
			Sets:   append(forwarding.Sets(), nat.Sets()...),
			Chains: append(forwarding.Chains(), nat.Chains()...),
		},
		forwarding.BridgeTable(),
	}
}
