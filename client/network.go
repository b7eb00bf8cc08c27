package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Network is a network with its members, as Docker's network inspect shows it.
type Network struct {
	Name string
	// ID is 64 hex digits.
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string // "local"
	Driver     string // "bridge", "host" or "null"
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       IPAM
	Internal   bool
	// Containers are the members, by sandbox id.
	Containers map[string]Container
	Options    map[string]string
	Labels     map[string]string
}

// IPAM is how a network's addresses are managed.
type IPAM struct {
	Driver  string // "default"
	Options map[string]string
	// Config is at most one subnet a family, IPv4 first.
	Config []IPAMConfig
}

// IPAMConfig is one subnet.
type IPAMConfig struct {
	// Subnet is a masked CIDR, as "172.17.0.0/16".
	Subnet string
	// IPRange is the CIDR that addresses are given out of; "" is all of Subnet.
	IPRange string
	// Gateway is an address without a prefix length.
	Gateway string
	// AuxiliaryAddresses are never given out, by name.
	AuxiliaryAddresses map[string]string `json:",omitempty"`
}

// Container is a member of a network.
type Container struct {
	Name       string // the sandbox's
	EndpointID string
	MacAddress string
	// IPv4Address and IPv6Address are with prefix length; "" when there is none.
	IPv4Address string
	IPv6Address string
}

// NetworkCreate is the body that makes a network. What is left empty is chosen. It holds the fields of Docker's body that mean
// something here; the others are accepted while they are zero.
type NetworkCreate struct {
	Name string
	// CheckDuplicate is sent by old clients: names are always unique.
	CheckDuplicate bool   `json:",omitempty"`
	Driver         string `json:",omitempty"`
	Scope          string `json:",omitempty"`
	EnableIPv4     *bool  `json:",omitempty"`
	EnableIPv6     *bool  `json:",omitempty"`
	IPAM           *IPAM  `json:",omitempty"`
	Internal       bool
	Options        map[string]string `json:",omitempty"`
	Labels         map[string]string `json:",omitempty"`
}

// NetworkCreated is the answer to a NetworkCreate.
type NetworkCreated struct {
	ID string `json:"Id"`
	// Warning is one warning a line, or "".
	Warning string
}

// NetworkConnect is the body that joins a sandbox to a network.
type NetworkConnect struct {
	// Container is the sandbox's name, id or its unique beginning.
	Container      string
	EndpointConfig *EndpointConfig `json:",omitempty"`
}

// EndpointConfig is what is asked for of a sandbox's interface in a network. What is left empty is chosen. It holds the fields of Docker's
// that mean something here; the others are accepted while they are zero.
type EndpointConfig struct {
	IPAMConfig *EndpointIPAM `json:",omitempty"`
	MacAddress string        `json:",omitempty"`
	// Aliases are further names of the sandbox in the network.
	Aliases []string `json:",omitempty"`
	// DriverOpts are options of the endpoint, as "com.docker.network.endpoint.ifname".
	DriverOpts map[string]string `json:",omitempty"`
	// GwPriority: the network with the highest has the sandbox's default route and published ports.
	GwPriority int `json:",omitempty"`
}

// EndpointIPAM is the addresses asked for, without prefix length.
type EndpointIPAM struct {
	IPv4Address string `json:",omitempty"`
	IPv6Address string `json:",omitempty"`
}

// NetworkDisconnect is the body that takes a sandbox out of a network.
type NetworkDisconnect struct {
	// Container is the sandbox's name, id or its unique beginning.
	Container string
	// Force means leases, too: Container is then also the key of one, the beginning of that, or what it is called.
	Force bool
}

// NetworksPruned is the answer to a prune.
type NetworksPruned struct {
	// NetworksDeleted are names.
	NetworksDeleted []string
}

// Networks are all networks, by name.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	var out []Network
	return out, c.call(ctx, http.MethodGet, "/networks", nil, nil, &out)
}

// Network is the network with that name, id or unique beginning of an id.
func (c *Client) Network(ctx context.Context, ref string) (Network, error) {
	var out Network
	return out, c.call(ctx, http.MethodGet, "/networks/"+url.PathEscape(ref), nil, nil, &out)
}

// CreateNetwork makes a network.
func (c *Client) CreateNetwork(ctx context.Context, in NetworkCreate) (NetworkCreated, error) {
	var out NetworkCreated
	return out, c.call(ctx, http.MethodPost, "/networks/create", nil, in, &out)
}

// RemoveNetwork removes a network that has no members.
func (c *Client) RemoveNetwork(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "/networks/"+url.PathEscape(ref), nil, nil, nil)
}

// Connect joins a sandbox to a network.
func (c *Client) Connect(ctx context.Context, network string, in NetworkConnect) error {
	return c.call(ctx, http.MethodPost, "/networks/"+url.PathEscape(network)+"/connect", nil, in, nil)
}

// Disconnect takes a sandbox out of a network.
func (c *Client) Disconnect(ctx context.Context, network string, in NetworkDisconnect) error {
	return c.call(ctx, http.MethodPost, "/networks/"+url.PathEscape(network)+"/disconnect", nil, in, nil)
}

// PruneNetworks removes the networks that nothing is in, but those that are there from the start, and returns their names.
func (c *Client) PruneNetworks(ctx context.Context) ([]string, error) {
	var out NetworksPruned
	err := c.call(ctx, http.MethodPost, "/networks/prune", nil, nil, &out)
	return out.NetworksDeleted, err
}
