package client

import (
	"context"
	"net/http"
	"net/url"
)

// Sandbox is a network stack with its endpoints and published ports.
type Sandbox struct {
	// ID is 64 hex digits.
	ID   string `json:"Id"`
	Name string
	Mode string // "bridge", "host" or "none"
	// NetNS is the path of the namespace; "" in mode host.
	NetNS string
	// Networks are the endpoints, by the network's name.
	Networks map[string]Endpoint
	// Ports are the published ports by container port, as "80/tcp".
	Ports map[string][]HostPort
	// Links are those that it is an end of.
	Links []Link
}

// Endpoint is a sandbox's interface in a network. Addresses and gateways are "" where there is none.
type Endpoint struct {
	NetworkID  string
	EndpointID string
	// Interface is its name in the sandbox, HostInterface the bridge's port.
	Interface           string
	HostInterface       string
	MacAddress          string
	IPAddress           string
	IPPrefixLen         int
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
	Aliases             []string
	// Labels are what a CNI runtime says of the container, as its pod's name.
	Labels map[string]string `json:",omitempty"`
}

// HostPort is the host's side of a published port.
type HostPort struct {
	HostIP   string `json:"HostIp"` // "0.0.0.0" and "::" are all of a family
	HostPort string
}

// SandboxCreate is the body that makes a sandbox. What is left empty is chosen.
type SandboxCreate struct {
	Name string
	// Network is a network's name or id, "host" or "none".
	Network string `json:",omitempty"`
	// NetNS is the path of an existing namespace, PID a process whose namespace it is; without both, /run/netns/NAME is
	// made.
	NetNS       string `json:",omitempty"`
	PID         int    `json:",omitempty"`
	IPv4Address string `json:",omitempty"`
	IPv6Address string `json:",omitempty"`
	MacAddress  string `json:",omitempty"`
	// Ports are port specifications, see [bridged.ParsePortSpec].
	Ports []string `json:",omitempty"`
}

// SandboxCreated is the answer to a SandboxCreate.
type SandboxCreated struct {
	Sandbox
	Warnings []string
}

const sandboxes = Prefix + "/sandboxes"

// Sandboxes are all sandboxes, by name.
func (c *Client) Sandboxes(ctx context.Context) ([]Sandbox, error) {
	var out []Sandbox
	return out, c.call(ctx, http.MethodGet, sandboxes, nil, nil, &out)
}

// Sandbox is the sandbox with that name, id or unique beginning of an id.
func (c *Client) Sandbox(ctx context.Context, ref string) (Sandbox, error) {
	var out Sandbox
	return out, c.call(ctx, http.MethodGet, sandboxes+"/"+url.PathEscape(ref), nil, nil, &out)
}

// CreateSandbox makes a sandbox, with its endpoint and ports: all of it or nothing.
func (c *Client) CreateSandbox(ctx context.Context, in SandboxCreate) (SandboxCreated, error) {
	var out SandboxCreated
	return out, c.call(ctx, http.MethodPost, sandboxes, nil, in, &out)
}

// RemoveSandbox removes a sandbox and gives everything back that it had.
func (c *Client) RemoveSandbox(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, sandboxes+"/"+url.PathEscape(ref), nil, nil, nil)
}
