package client

import (
	"context"
	"net/http"
	"net/url"
)

// Link lets one sandbox, the parent, reach ports of another, the child, although their network keeps its members apart.
type Link struct {
	// Parent and Child are names; of a lease, the caller's key.
	Parent string
	Child  string
	Alias  string
	// Ports are as "5432/tcp"; empty: those that the child publishes, as they come and go.
	Ports []string
	// ParentIP and ChildIP are there when the link is between these two addresses only.
	ParentIP string `json:",omitempty"`
	ChildIP  string `json:",omitempty"`
}

// LinkCreate is the body that links two sandboxes, each given by a name, an id or its unique beginning.
type LinkCreate struct {
	Parent string
	Child  string
	Alias  string   `json:",omitempty"` // "": the child's name
	Ports  []string `json:",omitempty"` // as "5432/tcp"
}

const links = Prefix + "/links"

// Links are the links of a sandbox, and of all of them when sandbox is "".
func (c *Client) Links(ctx context.Context, sandbox string) ([]Link, error) {
	var query url.Values
	if sandbox != "" {
		query = url.Values{"sandbox": {sandbox}}
	}
	var out []Link
	return out, c.call(ctx, http.MethodGet, links, query, nil, &out)
}

// AddLink links two sandboxes.
func (c *Client) AddLink(ctx context.Context, in LinkCreate) (Link, error) {
	var out Link
	return out, c.call(ctx, http.MethodPost, links, nil, in, &out)
}

// RemoveLink takes the link from the parent to the child back. Connections through it have ended when it returns.
func (c *Client) RemoveLink(ctx context.Context, parent, child string) error {
	query := url.Values{"parent": {parent}, "child": {child}}
	return c.call(ctx, http.MethodDelete, links, query, nil, nil)
}
