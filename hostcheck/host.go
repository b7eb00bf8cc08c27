package hostcheck

import (
	"net/netip"

	"github.com/bridged/bridged/nft"
)

// Host is what [Findings] judges: facts about one network namespace. [Read] reads them. The zero value is a host with nothing in
// the way, but forwarding, which only Own may say will be switched on.
type Host struct {
	Own Own
	// Tables are the nf_tables tables of the families that see forwarded packets, ours included (by name only).
	Tables []Table
	// Legacy are the filter tables of iptables-legacy.
	Legacy []LegacyTable
	// BridgeNF4 and BridgeNF6: br_netfilter shows packets between two ports of a bridge to the rules of that family.
	BridgeNF4, BridgeNF6 bool
	// Forwarding4 and Forwarding6: the host forwards.
	Forwarding4, Forwarding6 bool
	// RPFilter is net/ipv4/conf/NAME/rp_filter by NAME, "all" among them: 0 off, 1 strict, 2 loose.
	RPFilter map[string]int
	// Uplinks are the names of the links with a default route of the main table.
	Uplinks []string
}

// Own is what belongs to the caller, and what it wants. The zero value stands for somebody who has no bridge yet, and will
// switch forwarding on.
type Own struct {
	// Bridges are those whose packets must pass; without any, one that nobody's rules know stands for those to come, with IPv4
	// and IPv6.
	Bridges []OwnBridge
	// PortPrefix is how the names of their ports begin, as in "bv".
	PortPrefix string
	// Tables are the caller's; empty: "bridged" of the families inet and bridge.
	Tables []nft.TableID
	// Owned: the caller has these tables, so nobody looks for who else may have them.
	Owned bool
	// NoForwarding: the caller will not switch forwarding on.
	NoForwarding bool
}

// OwnBridge is a bridge of the caller's.
type OwnBridge struct {
	Name string
	// Subnets are those behind it, and it has their families; without any, it has both.
	Subnets []netip.Prefix
}

// tables are the caller's tables.
func (o Own) tables() map[nft.TableID]bool {
	list := o.Tables
	if len(list) == 0 {
		list = []nft.TableID{{Family: nft.Inet, Name: "bridged"}, {Family: nft.Bridge, Name: "bridged"}}
	}
	set := make(map[nft.TableID]bool)
	for _, id := range list {
		set[id] = true
	}
	return set
}

// LegacyTable is the table "filter" of iptables-legacy or ip6tables-legacy, which packets pass beside nf_tables.
type LegacyTable struct {
	// Family is IPv4 or IPv6.
	Family nft.Family
	// Policy of the chain FORWARD: Accept or Drop.
	Policy Verdict
	// Rules: the chain FORWARD has some. They are not read.
	Rules bool
}
