package api

import (
	"context"
	"strconv"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// events sends what happened and what happens, as it happens, until the client or the server ends it.
func (s *Server) events(c *call) (any, error) {
	query := c.URL.Query()
	follow := true
	if query.Has("follow") {
		var err error
		if follow, err = strconv.ParseBool(query.Get("follow")); err != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "follow": want true or false, not %q`, query.Get("follow"))
		}
	}
	since, err := client.Since(query.Get("since")).Time(time.Now())
	switch {
	case err != nil:
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "since": %w`, err)
	case query.Has("since") && query.Get("since") == "":
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "since" is empty`)
	case since.IsZero() && !follow:
		since = time.Unix(0, 0)
	}
	return c.follow(since, follow, wireEvent), nil
}

// follow is the stream of events in a shape that wire makes of each. From this call on none is missed.
func (c *call) follow(since time.Time, follow bool, wire func(bridged.Event) any) stream {
	ctx, cancel := context.WithCancel(c.Context())
	undo := context.AfterFunc(c.server.stopping, cancel)
	c.ends = append(c.ends, func() { undo(); cancel() })
	if !follow {
		cancel()
	}
	happens := c.server.engine.Events(ctx, since)
	return func(yield func(any) bool) {
		for e := range happens {
			if !yield(wire(e)) {
				return
			}
		}
	}
}

func wireEvent(e bridged.Event) any {
	return client.Event{Time: e.Time, Type: e.Type, Action: e.Action, ID: e.ID, Name: e.Name, Attributes: notNilMap(e.Attributes)}
}
