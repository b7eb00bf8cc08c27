package bridged

import (
	"net/netip"
	"time"
)

// NetworkSpec asks for a network. What is left zero is chosen.
type NetworkSpec struct {
	// ID is 64 hex digits in lower case, for a caller that has its own name for the network; "": one is chosen.
	ID   string
	Name string
	// Driver is "bridge"; "" means it too.
	Driver string
	// Subnets, at most one a family. A family that is wanted and has none gets the next free pool.
	Subnets []Subnet
	// NoIPv4: without IPv4 (then IPv6 must be on).
	NoIPv4 bool
	// IPv6: with IPv6, also without an IPv6 subnet in Subnets.
	IPv6     bool
	Internal bool
	Options  map[string]string
	Labels   map[string]string
}

// SandboxSpec asks for a sandbox. What is left zero is chosen.
type SandboxSpec struct {
	Name string
	// Network is "bridge", "host", "none" or a network's name or id; "": the default network, or none where there is no default
	// network.
	Network string
	// NetNS is the path of an existing namespace, PID a process whose namespace it is. At most one of them; without both the
	// daemon makes the namespace /run/netns/NAME.
	NetNS string
	PID   int
	// IPv4, IPv6 and MAC are the addresses asked for.
	IPv4, IPv6 netip.Addr
	MAC        MAC
	// Ports are published together with the attach.
	Ports []PortSpec
}

// ConnectSpec asks for an endpoint that joins a sandbox to a network. What is left zero is chosen.
type ConnectSpec struct {
	// Network and Sandbox are names, ids or unique prefixes of ids.
	Network, Sandbox string
	// IPv4, IPv6 and MAC are the addresses asked for.
	IPv4, IPv6 netip.Addr
	MAC        MAC
	Aliases    []string
	Priority   int
	// Options are those of the endpoint: OptionInterface, OptionSysctls, OptionMAC.
	Options map[string]string
}

// InterfaceSpec asks for addresses on a network without a link: a lease, for a caller that makes the link itself.
type InterfaceSpec struct {
	// ID is the caller's key; no sandbox need have it.
	ID string
	// Network is a network's name or id; "": the default network.
	Network string
	// IPv4, IPv6 and MAC are the addresses asked for.
	IPv4, IPv6 netip.Addr
	MAC        MAC
}

// NetworkInfo is a network with its members.
type NetworkInfo struct {
	Network
	Members []Member
}

// Member is an endpoint and the name of its sandbox.
type Member struct {
	Endpoint
	SandboxName string
}

// SandboxInfo is a sandbox with its endpoints and ports.
type SandboxInfo struct {
	Sandbox
	Joined []Joined
	Ports  []Port
	// Links are those that it is an end of.
	Links []LinkInfo
	// Warnings are what the user should know about the operation that returned this; empty when it was only looked up.
	Warnings []string
}

// Joined is an endpoint and the network that it joins.
type Joined struct {
	Endpoint Endpoint
	Network  Network
}

// PortInfo is a published port and the name of its sandbox.
type PortInfo struct {
	Port
	SandboxName string
}

// Status is how the daemon is.
type Status struct {
	Ready bool
	// Since is when it became ready.
	Since   time.Time
	Version string
	// Protection is how our tables are protected: "owner+persist", "monitor" or "none" (the packet filter is switched off).
	Protection string
	// ICCBy is what keeps siblings apart: "bridge table", "isolated ports" or "none".
	ICCBy string

	Networks, Sandboxes, Endpoints, Ports int
	// Transactions are the nf_tables batches since the start.
	Transactions uint64
	Repairs      uint64
	Warnings     []string
}

// RulesetView chooses what is shown of the packet filter.
type RulesetView string

// The views: what should be there, what the kernel holds, and what must change to get from the one to the other.
const (
	RulesetDesired RulesetView = "desired"
	RulesetKernel  RulesetView = "kernel"
	RulesetDiff    RulesetView = "diff"
)
