package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bridged/bridged"
)

// Event says what became of an object.
type Event struct {
	Time time.Time // in UTC
	// Type is "network", "sandbox", "lease", "port", "link" or "daemon"; Action says what happened, as "create".
	Type   string
	Action string
	ID     string `json:"Id"`
	Name   string
	// Attributes are more words about it; more may come.
	Attributes map[string]string
}

// Since is a time as text, as events are asked for.
type Since string

// SinceTime is t as text.
func SinceTime(t time.Time) Since { return Since(t.Format(time.RFC3339Nano)) }

// Time is what the text means at a time: a time as in RFC 3339, a duration before now, or seconds since 1970. The zero time for "".
// ErrInvalid: it is none of these.
func (s Since) Time(now time.Time) (time.Time, error) {
	text := string(s)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil && !t.IsZero() {
		return t, nil
	}
	seconds, fraction, _ := strings.Cut(text, ".")
	whole, err := strconv.ParseUint(seconds, 10, 40)
	nanos, nanosErr := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err == nil && nanosErr == nil && len(fraction) <= 9 {
		return time.Unix(int64(whole), int64(nanos)), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, bridged.Errorf(bridged.ErrInvalid,
		"%q is no time: want one as 2026-01-02T15:04:05Z, a duration before now as 10m, or seconds since 1970", text)
}

// EventsOptions say which events are asked for. The zero value: those that happen from now on.
type EventsOptions struct {
	// Since: with those from then on that the daemon still has; "": none of the past.
	Since Since
	// Kept: only those that the daemon still has, without a Since all of them. There is an end then.
	Kept bool
}

// Events are what happens, as it happens, in order. It ends when ctx does. An event of the type "daemon" and the action "lost" says that
// its reader was too slow; other errors, the last values then, are as those of other calls: ErrUnavailable when the daemon stops.
//
// The call is made when the iteration begins. Who must not miss what comes of something asks for those since a time before.
func (c *Client) Events(ctx context.Context, opts EventsOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		err := c.eachEvent(ctx, opts, func(e Event) bool { return yield(e, nil) })
		if err != nil && ctx.Err() == nil {
			yield(Event{}, err)
		}
	}
}

// eachEvent calls yield for each event until that returns false.
func (c *Client) eachEvent(ctx context.Context, opts EventsOptions, yield func(Event) bool) error {
	const path = Prefix + "/events"
	query := url.Values{"follow": {strconv.FormatBool(!opts.Kept)}}
	if opts.Since != "" {
		query.Set("since", string(opts.Since))
	}
	resp, err := c.ask(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var e Event
		err := dec.Decode(&e)
		switch {
		case errors.Is(err, io.EOF) && opts.Kept:
			return nil
		case errors.Is(err, io.EOF):
			return bridged.Errorf(bridged.ErrUnavailable, "the daemon at %s has stopped", c.host)
		case err != nil:
			return bridged.Errorf(bridged.ErrUnavailable, "the daemon at %s broke off its answer to GET %s: %w", c.host, path, err)
		case !yield(e):
			return nil
		}
	}
}
