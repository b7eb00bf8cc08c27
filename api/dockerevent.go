package api

import (
	"maps"
	"strings"
	"time"

	"github.com/bridged/bridged"
)

// The types of Docker's events that there are here.
const (
	typeContainer = "container"
	typeNetwork   = "network"
)

// dockerEvent is an event of Docker's GET /events.
type dockerEvent struct {
	Type   string
	Action string
	Actor  actor
	Scope  string `json:"scope"`
	// Time and TimeNano are since 1970, in seconds and in nanoseconds.
	Time     int64 `json:"time"`
	TimeNano int64 `json:"timeNano"`
}

// actor is whom an event is about.
type actor struct {
	ID         string
	Attributes map[string]string
}

// dockerActions are Docker's words for what happens to networks and sandboxes. The rest of our events are nothing that Docker's clients know.
var dockerActions = map[[2]string][2]string{
	{bridged.EventNetwork, "create"}: {typeNetwork, "create"},
	{bridged.EventNetwork, "update"}: {typeNetwork, "update"},
	{bridged.EventNetwork, "remove"}: {typeNetwork, "destroy"},
	{bridged.EventSandbox, "attach"}: {typeNetwork, "connect"},
	{bridged.EventSandbox, "detach"}: {typeNetwork, "disconnect"},
	{bridged.EventSandbox, "create"}: {typeContainer, "create"},
	{bridged.EventSandbox, "remove"}: {typeContainer, "destroy"},
}

// eventFilterKeys are the keys of `docker events --filter`.
var eventFilterKeys = []string{
	"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume",
}

// dockerEvents sends Docker's events, until a time that has come or when it comes, or without end.
func (s *Server) dockerEvents(c *call) (any, error) {
	query := c.URL.Query()
	f, err := parseFilters(query.Get("filters"), eventFilterKeys...)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	since, err := eventTime("since", query.Get("since"), now)
	if err != nil {
		return nil, err
	}
	until, err := eventTime("until", query.Get("until"), now)
	if err != nil {
		return nil, err
	}
	if !until.IsZero() && since.After(until) {
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameters "since" and "until": %s is after %s`, query.Get("since"), query.Get("until"))
	}
	return c.follow(since, until, func(e bridged.Event) (any, bool) {
		if !until.IsZero() && e.Time.After(until) {
			return nil, false
		}
		d, ok := toDocker(e)
		return d, ok && f.matchEvent(d)
	}), nil
}

// eventTime reads a query parameter; "" is the zero time.
func eventTime(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := parseTime(text, now)
	if err != nil {
		return t, bridged.Errorf(bridged.ErrInvalid, "query parameter %q: %w", name, err)
	}
	return t, nil
}

// toDocker says an event in Docker's words; false: it has none for it.
func toDocker(e bridged.Event) (dockerEvent, bool) {
	words, ok := dockerActions[[2]string{e.Type, e.Action}]
	d := dockerEvent{
		Type: words[0], Action: words[1], Actor: actor{ID: e.ID, Attributes: map[string]string{"name": e.Name}},
		Scope: scopeLocal, Time: e.Time.Unix(), TimeNano: e.Time.UnixNano(),
	}
	switch {
	case words[0] == typeContainer:
		maps.Copy(d.Actor.Attributes, e.Attributes)
	case e.Type == bridged.EventNetwork:
		d.Actor.Attributes["type"] = e.Attributes["driver"]
	default: // who is in a network is in one of the driver bridge
		d.Actor.ID = e.Attributes["networkId"]
		d.Actor.Attributes = map[string]string{"name": e.Attributes["network"], "type": string(bridged.DriverBridge), "container": e.ID}
	}
	return d, ok
}

// matchEvent reports whether an event passes. Of what there is not, as images, it never is about one.
func (f filters) matchEvent(d dockerEvent) bool {
	for _, key := range eventFilterKeys {
		var test func(v string) bool
		switch key {
		case "event":
			test = func(v string) bool { return v == d.Action }
		case "type":
			test = func(v string) bool { return v == d.Type }
		case "scope":
			test = func(v string) bool { return v == d.Scope }
		case "label":
			if !f.all(key, func(v string) bool { return hasAttribute(d.Actor.Attributes, v) }) {
				return false
			}
			continue
		default: // a type of objects: the beginning of an id or name
			test = func(v string) bool {
				return key == d.Type && (strings.HasPrefix(d.Actor.ID, v) || strings.HasPrefix(d.Actor.Attributes["name"], v))
			}
		}
		if !f.any(key, test) {
			return false
		}
	}
	return true
}
