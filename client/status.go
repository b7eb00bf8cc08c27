package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/bridged/bridged"
)

// Status is how the daemon is.
type Status struct {
	Ready bool
	// Since is when it became ready; absent before.
	Since   time.Time `json:",omitzero"`
	Version string
	// Protection of its tables: "owner+persist" or "monitor".
	Protection string
	// ICCBy is what keeps siblings apart: "bridge table", "isolated ports" or "none".
	ICCBy string

	Networks     int
	Sandboxes    int
	Endpoints    int
	Ports        int
	Transactions uint64 // nf_tables batches since the start
	Repairs      uint64
	Warnings     []string
}

// Status asks once. A daemon that is not ready yet answers too.
func (c *Client) Status(ctx context.Context) (Status, error) { return c.status(ctx, nil) }

func (c *Client) status(ctx context.Context, query url.Values) (Status, error) {
	var out Status
	return out, c.call(ctx, http.MethodGet, Prefix+"/status", query, nil, &out)
}

// redialInterval is the pause between two attempts to reach a daemon that is not there yet: short beside the start of a
// daemon, which takes tens of milliseconds.
const redialInterval = 20 * time.Millisecond

// WaitReady waits at most d for the daemon to be there and ready, and returns its status. A daemon that is there and not
// ready in time is no error: see Status.Ready. ErrUnavailable: there was none in all that time, or there was one, and it ended.
func (c *Client) WaitReady(ctx context.Context, d time.Duration) (Status, error) {
	deadline := time.Now().Add(d)
	retry := time.NewTicker(redialInterval)
	defer retry.Stop()
	for met := false; ; {
		left := max(0, time.Until(deadline))
		status, err := c.status(ctx, url.Values{"wait": {left.String()}})
		var absent *absentError
		switch gone := errors.As(err, &absent); {
		case status.Ready, left == 0, err != nil && !errors.Is(err, bridged.ErrUnavailable):
			return status, err
		case gone && met:
			return status, bridged.Errorf(bridged.ErrUnavailable, "the daemon at %s ended before it was ready; its log says why", c.host)
		case !gone:
			met = true // one that answers before the time is over is about to end
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-retry.C:
		}
	}
}
