package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/bridged/bridged"
)

// Ruleset is a view of the daemon's packet filter.
type Ruleset struct {
	View string // "desired", "kernel" or "diff"
	// Text is in nft syntax; for the view diff, lines that begin with + and -.
	Text string
	// Differs reports whether the kernel holds something else than what is desired; only the view diff says so.
	Differs bool
}

// Ruleset shows the packet filter.
func (c *Client) Ruleset(ctx context.Context, view bridged.RulesetView) (Ruleset, error) {
	var out Ruleset
	query := url.Values{"view": {string(view)}}
	return out, c.call(ctx, http.MethodGet, Prefix+"/ruleset", query, nil, &out)
}

// Version is which daemon answers.
type Version struct {
	Version string
	// APIVersion is that of Docker's calls, which the daemon speaks up to.
	APIVersion string `json:"ApiVersion"`
	GoVersion  string
	Os         string
	Arch       string
}

// Version asks the daemon for its version.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	return out, c.call(ctx, http.MethodGet, Prefix+"/version", nil, nil, &out)
}
