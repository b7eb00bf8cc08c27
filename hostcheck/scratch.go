package hostcheck

import (
	"fmt"
	"os"

	"github.com/bridged/bridged/nft"
)

// scratchName is the name of tables that are asked for and never made.
func scratchName() string { return fmt.Sprintf("bridged hostcheck %d", os.Getpid()) }

// scratch is the program that only a kernel with the feature takes; nil: nf_tables is not asked for it. Tables differ in their
// names, so that all of them fit into one transaction. A family is asked for by a base chain: kernels from 4.16 to 6.6
// make tables of families that they don't have.
func scratch(name FeatureName) []nft.Table {
	t := nft.Table{ID: nft.TableID{Family: nft.Inet, Name: scratchName() + " " + string(name)}}
	switch name {
	case NFTablesInet:
		t.Chains = []nft.Chain{filter(nft.Forward, nft.PriorityFilter)}
	case NFTablesBridge:
		t.ID.Family = nft.Bridge
		t.Chains = []nft.Chain{filter(nft.Prerouting, nft.PriorityBrDstNAT)}
	case Conntrack:
		t.Chains = []nft.Chain{filter(nft.Forward, nft.PriorityFilter, nft.Rule{nft.CTState.Any(nft.StateEstablished), nft.Accept})}
	case FIB:
		t.Chains = []nft.Chain{filter(nft.Prerouting, nft.PriorityMangle, nft.Rule{nft.FIBDAddrType.Is(nft.Mark(nft.RTNLocal)), nft.Accept})}
	case NAT:
		t.Sets = []nft.Set{{Name: "to", Key: []nft.Type{nft.TypeProto, nft.TypePort}, Data: []nft.Type{nft.TypeIPv4, nft.TypePort}, Size: 16}}
		t.Chains = []nft.Chain{nat(nft.Prerouting, nft.PriorityDstNAT, nft.DNATTo(nft.IPv4, nft.Join(nft.L4Proto, nft.THDPort), "to"))}
	case Masquerade:
		t.Chains = []nft.Chain{nat(nft.Postrouting, nft.PrioritySrcNAT, nft.Masquerade)}
	case ConcatIntervals:
		t.Sets = []nft.Set{{Name: "set", Key: []nft.Type{nft.TypeIfName, nft.TypeIPv4}, Interval: true}}
	case ElementCounters:
		t.Sets = []nft.Set{{Name: "set", Key: []nft.Type{nft.TypeProto, nft.TypePort}, Size: 16, Counter: true}}
	case ElementLimits:
		t.Sets = []nft.Set{{Name: "set", Key: []nft.Type{nft.TypeProto, nft.TypePort}, Size: 16, LimitOverPerSecond: 1}}
	default:
		return nil
	}
	return []nft.Table{t}
}

func filter(at nft.HookPoint, priority int32, rules ...nft.Rule) nft.Chain {
	return nft.Chain{Name: "chain", Hook: &nft.Hook{Type: nft.FilterChain, Point: at, Priority: priority}, Rules: rules}
}

func nat(at nft.HookPoint, priority int32, s nft.Stmt) nft.Chain {
	return nft.Chain{Name: "chain", Hook: &nft.Hook{Type: nft.NATChain, Point: at, Priority: priority}, Rules: []nft.Rule{{s}}}
}
