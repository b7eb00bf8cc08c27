package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
)

// Port is a published port.
type Port struct {
	Sandbox  string // its name
	Port     string // the container port, as "80/tcp"
	HostIP   string `json:"HostIp"`
	HostPort string
}

// String is as in "80/tcp -> 0.0.0.0:8080".
func (p Port) String() string { return p.Port + " -> " + net.JoinHostPort(p.HostIP, p.HostPort) }

// PortsAdd is the body that publishes ports of a sandbox.
type PortsAdd struct {
	// Sandbox is a name, an id or its unique beginning.
	Sandbox string
	// Ports are port specifications, see [bridged.ParsePortSpec].
	Ports []string
}

// PortsAdded is the answer to a PortsAdd.
type PortsAdded struct {
	Ports    []Port
	Warnings []string
}

const ports = Prefix + "/ports"

// Ports are the published ports of a sandbox, and of all of them when sandbox is "".
func (c *Client) Ports(ctx context.Context, sandbox string) ([]Port, error) {
	var query url.Values
	if sandbox != "" {
		query = url.Values{"sandbox": {sandbox}}
	}
	var out []Port
	return out, c.call(ctx, http.MethodGet, ports, query, nil, &out)
}

// AddPorts publishes ports: all of them or none.
func (c *Client) AddPorts(ctx context.Context, in PortsAdd) (PortsAdded, error) {
	var out PortsAdded
	return out, c.call(ctx, http.MethodPost, ports, nil, in, &out)
}

// RemovePorts takes the publication of these port specifications back: all of them or none.
func (c *Client) RemovePorts(ctx context.Context, sandbox string, specs []string) error {
	query := url.Values{"sandbox": {sandbox}, "port": specs}
	return c.call(ctx, http.MethodDelete, ports, query, nil, nil)
}
