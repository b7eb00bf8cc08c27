package nft

// Table is a table's program: everything but the elements.
type Table struct {
	ID     TableID
	Sets   []Set
	Chains []Chain
	// Foreign is what the kernel has in the table that no program of ours says, in words: other flags, objects, policies,
	// rules. Nil in a program.
	Foreign []string
}

// Type is the type of a key's or a value's field. TypeFamily and TypeTarget have no name in nft syntax: a key with one of them is
// declared by expressions (typeof), and can have interface names beside them, but no other types.
type Type uint8

// The types, with their names in nft syntax.
const (
	TypeIfName Type = iota + 1 // ifname
	TypeIPv4                   // ipv4_addr
	TypeIPv6                   // ipv6_addr
	TypeEther                  // ether_addr
	TypeProto                  // inet_proto
	TypePort                   // inet_service
	TypeMark                   // mark
	TypeFamily                 // typeof meta nfproto
	TypeTarget                 // typeof @th,64,128: the target of a neighbour solicitation or advertisement
)

// Set is a named set, or a map when Data is not nil.
type Set struct {
	Name string
	// Key are the fields of the key; more than one is a concatenation.
	Key []Type
	// Data are the fields of a map's values.
	Data []Type
	// Interval: elements are ranges.
	Interval bool
	// Counter: each element counts its packets and bytes.
	Counter bool
	// Size is the most elements there can be; a full set answers ENFILE. 0: no limit (interval sets only: other sets without a
	// size rehash as they grow).
	Size uint32
	// LimitOverPerSecond: a lookup finds an element only while more packets come than this. 0: no limit.
	LimitOverPerSecond uint64
}

// Chain is a chain: a base chain when Hook is not nil.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Rule
}

// Hook is where a base chain sits. Its policy is accept: what we don't fence is not ours.
type Hook struct {
	Type     ChainType
	Point    HookPoint
	Priority int32
}

// ChainType is "filter" or "nat".
type ChainType string

// The chain types that we use.
const (
	FilterChain ChainType = "filter"
	NATChain    ChainType = "nat"
)

// HookPoint is a netfilter hook.
type HookPoint uint8

// The hooks, by their number (NF_INET_*, NF_BR_* are alike for these).
const (
	Prerouting  HookPoint = 0
	Input       HookPoint = 1
	Forward     HookPoint = 2
	Output      HookPoint = 3
	Postrouting HookPoint = 4
)

// Priorities of base chains, from linux/netfilter_ipv4.h.
const (
	PriorityMangle   int32 = -150
	PriorityDstNAT   int32 = -100
	PriorityFilter   int32 = 0
	PrioritySrcNAT   int32 = 100
	PriorityBrDstNAT int32 = -300
	PriorityBrFilter int32 = -200
)
