package bridged

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"
)

// Mode is how a sandbox gets its network stack.
type Mode string

// The modes. A sandbox in a network of its own name has ModeBridge too.
const (
	ModeBridge Mode = "bridge"
	ModeHost   Mode = "host"
	ModeNone   Mode = "none"
	// ModeContainer: the sandbox shares the stack of another one.
	ModeContainer Mode = "container"
)

// Sandbox is a network stack: a network namespace that endpoints join to networks.
type Sandbox struct {
	ID      string
	Name    string
	Created time.Time
	Mode    Mode
	// Shares is the id of the sandbox whose stack this one uses, in mode container; never one that shares itself.
	Shares string
	// Gone: the sandbox was removed while others share its stack. Its name is free; the stack stays until its last user goes.
	Gone bool
	// NetNS is the path of the namespace; empty in mode host.
	NetNS string
	// NSID tells the namespace from a later one at the same path.
	NSID NamespaceID
	// Made: the namespace is ours, and goes with the sandbox. One that was given never does.
	Made bool
	// CNI: it is a CNI runtime's container, and Name the runtime's id of it. Its endpoints are attachments: each has the routes and published
	// ports that the runtime gave it, and the last one takes the sandbox away.
	CNI bool `json:",omitempty"`
	// Settled is false while the sandbox is being made or removed: one that a restart finds so was not acknowledged,
	// and is taken back.
	Settled bool
}

// Stack is the id of the sandbox that has the endpoints and ports: its own, or that of the one it shares.
func (s Sandbox) Stack() string {
	if s.Shares != "" {
		return s.Shares
	}
	return s.ID
}

// NamespaceID is the identity of a network namespace: device and inode number of its nsfs file, which come back after a namespace
// died, and the kernel's cookie of it, which never does (SO_NETNS_COOKIE, Linux 5.14; 0 before).
type NamespaceID struct {
	Dev, Ino, Cookie uint64
}

// Endpoint joins one sandbox to one network.
type Endpoint struct {
	ID      string
	Network string // id
	Sandbox string // id; of a lease, the caller's key
	// HostInterface is the host's end of the pair, a port of the bridge: "bv" and 12 hex digits, never reused. Empty: a lease,
	// addresses without a link.
	HostInterface string
	// Interface is the other end's name inside, as "eth0"; of a lease unknown.
	Interface string
	// Peer is the name that the other end has in the daemon's own namespace, where it begins, when the caller of a lease asked for a link: "bp"
	// and 12 hex digits. What becomes of that end is the caller's business. Empty: the link, if there is one, is a sandbox's.
	Peer string `json:",omitempty"`
	// Name is what people call a lease; empty: they see its key.
	Name string `json:",omitempty"`
	MAC  MAC
	// MTU of the pair, in bytes: the network's when the endpoint was made.
	MTU int
	// IPv4 and IPv6 are the addresses with the subnet's prefix length; the zero Prefix: none of this family.
	IPv4, IPv6 netip.Prefix

	// Created is the order in which a sandbox joined its networks.
	Created time.Time
	// Priority: of a sandbox's endpoints the one with the highest has the default route and the published ports, see [Gateway].
	Priority int
	// Aliases are further names of the sandbox on this network. They are only shown.
	Aliases []string `json:",omitempty"`
	// Sysctls are set inside before the interface goes up: values by path relative to /proc/sys, with [InterfaceName] in place of the
	// interface's name.
	Sysctls map[string]string `json:",omitempty"`
	// Inside, NoHairpin, Bandwidth and Labels are those of an attachment.
	Inside    Inside            `json:",omitzero"`
	NoHairpin bool              `json:",omitempty"`
	Bandwidth Bandwidth         `json:",omitzero"`
	Labels    map[string]string `json:",omitempty"`
}

// InterfaceName stands for the name of an interface in an endpoint's sysctls.
const InterfaceName = "IFNAME"

// Gateway is the endpoint by whose network a sandbox reaches the world in one family, and where its ports are published: the one with the
// highest priority, where these are equal the one whose network's name comes first. Internal networks lead nowhere: one is
// taken only when there are no others. ok is false when there is none of the family.
func Gateway(joined []Joined, ipv6 bool) (gateway Joined, ok bool) {
	for _, j := range joined {
		if !j.Endpoint.Has(ipv6) {
			continue
		}
		if !ok || j.before(gateway) {
			gateway, ok = j, true
		}
	}
	return gateway, ok
}

// before says whether j is the better gateway.
func (j Joined) before(o Joined) bool {
	if j.Network.Internal != o.Network.Internal {
		return o.Network.Internal
	}
	return cmp.Or(cmp.Compare(o.Endpoint.Priority, j.Endpoint.Priority), cmp.Compare(j.Network.Name, o.Network.Name)) < 0
}

// Leased reports whether the endpoint is a lease: with or without a link, no sandbox of ours has it.
func (e Endpoint) Leased() bool { return e.HostInterface == "" || e.Peer != "" }

// Called is what people call a lease: its name, else its key.
func (e Endpoint) Called() string { return cmp.Or(e.Name, e.Sandbox) }

// Has reports whether the endpoint has an address of the family.
func (e Endpoint) Has(ipv6 bool) bool {
	if ipv6 {
		return e.IPv6.IsValid()
	}
	return e.IPv4.IsValid()
}

// Addrs are the endpoint's addresses, IPv4 first, without the link-local one.
func (e Endpoint) Addrs() []netip.Addr {
	var a []netip.Addr
	for _, p := range []netip.Prefix{e.IPv4, e.IPv6} {
		if p.IsValid() {
			a = append(a, p.Addr())
		}
	}
	return a
}

// Addr is the endpoint's address of the family of like, and the zero Addr when there is none.
func (e Endpoint) Addr(like netip.Addr) netip.Addr {
	if like.Is4() {
		return e.IPv4.Addr()
	}
	return e.IPv6.Addr()
}

// String is for logs.
func (e Endpoint) String() string {
	return fmt.Sprintf("endpoint %.12s (%s, %s)", e.ID, e.HostInterface, e.Interface)
}
