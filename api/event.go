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
	var until time.Time
	if !follow {
		until = time.Now()
	}
	return c.follow(since, until, wireEvent), nil
}

// follow is the stream of events in a shape that wire makes of each, unless it passes it over. From this call on none is missed. It ends
// when the time has come; the zero time never comes.
func (c *call) follow(since, until time.Time, wire func(bridged.Event) (piece any, ok bool)) stream {
	ctx, cancel := context.WithCancel(c.Context())
	undo := context.AfterFunc(c.Stopping(), cancel)
	c.AtEnd(func() { undo(); cancel() })
	if !until.IsZero() {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, until)
		c.AtEnd(end)
	}
	happens := c.server.engine.Events(ctx, since)
	return func(yield func(any) bool) {
		for e := range happens {
			if piece, ok := wire(e); ok && !yield(piece) {
				return
			}
		}
	}
}

func wireEvent(e bridged.Event) (any, bool) {
	return client.Event{Time: e.Time, Type: e.Type, Action: e.Action, ID: e.ID, Name: e.Name, Attributes: notNilMap(e.Attributes)}, true
}
