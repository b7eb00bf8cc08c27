package client

import (
	"context"
	"net/http"
)

// The four handlers are for callers that make their interfaces themselves: what they are given is kept under a key of theirs, and no
// sandbox need have it. The names of the fields are those of the old Docker daemon.

// InterfaceAllocate is the body that asks for addresses on a network. What is left empty is chosen.
type InterfaceAllocate struct {
	// ID is the caller's key.
	ID            string
	Network       string `json:",omitempty"` // "": bridge
	RequestedIP   string `json:",omitempty"`
	RequestedIPv6 string `json:",omitempty"`
	RequestedMac  string `json:",omitempty"`
}

// Interface is what an interface of the caller's must be like. Addresses are "" where the network has none of the family, gateways
// also on an internal network.
type Interface struct {
	IP          string
	IPPrefixLen int
	// Mask is IPPrefixLen in dotted form, as "255.255.0.0".
	Mask    string
	Gateway string
	// Bridge is the name of the bridge that the interface belongs to.
	Bridge              string
	MacAddress          string
	GlobalIPv6          string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
}

// InterfaceRelease is the body that gives everything back that a key has.
type InterfaceRelease struct{ ID string }

// PortAllocate is the body that publishes a port of a key, or of a sandbox.
type PortAllocate struct {
	ID string
	// HostIP is the host's address; "": every address of each family, "0.0.0.0" every IPv4 address, "::" every IPv6 address.
	HostIP string `json:",omitempty"`
	// HostPort is the host's port; 0: chosen.
	HostPort      int `json:",omitempty"`
	ContainerPort int
	Proto         string `json:",omitempty"` // tcp, udp or sctp; "": tcp
}

// PortAllocated is where a port is published: of both families the number is the same, and the address is that of IPv4.
type PortAllocated struct {
	HostIP   string
	HostPort int
}

// LinkChange is the body that links two addresses on one network, or ends that.
type LinkChange struct {
	Action   string // add or remove
	ParentIP string
	ChildIP  string
	// Ports are the child's, as "5432/tcp"; empty: to add, those that it publishes, to remove, all.
	Ports []string `json:",omitempty"`
}

// AllocateInterface gives addresses to a key. A key has one interface.
func (c *Client) AllocateInterface(ctx context.Context, in InterfaceAllocate) (Interface, error) {
	var out Interface
	return out, c.call(ctx, http.MethodPost, Prefix+"/allocate_interface", nil, in, &out)
}

// ReleaseInterface gives back all addresses, ports and links of a key.
func (c *Client) ReleaseInterface(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, Prefix+"/release_interface", nil, InterfaceRelease{id}, nil)
}

// AllocatePort publishes a port of a key that has an interface.
func (c *Client) AllocatePort(ctx context.Context, in PortAllocate) (PortAllocated, error) {
	var out PortAllocated
	return out, c.call(ctx, http.MethodPost, Prefix+"/allocate_port", nil, in, &out)
}

// Link opens ports of one address for another one, or closes them.
func (c *Client) Link(ctx context.Context, in LinkChange) error {
	return c.call(ctx, http.MethodPost, Prefix+"/link", nil, in, nil)
}
