package main

import (
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/client"
)

// TestEventLine: one line, whatever an event holds.
func TestEventLine(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 6, time.UTC)
	for _, c := range []struct {
		event client.Event
		want  string
	}{
		{client.Event{Type: "daemon", Action: "ready"}, "daemon ready"},
		{client.Event{Type: "daemon", Action: "lost", Attributes: map[string]string{"count": "7"}}, "daemon lost (count=7)"},
		{client.Event{Type: "lease", Action: "allocate", ID: "id", Name: "a key\n\x1b[2J"}, `lease allocate id (name="a key\n\x1b[2J")`},
		{client.Event{Type: "link", Action: "add", ID: "id", Attributes: map[string]string{"ports": "80/tcp,81/tcp", "child": "web", "alias": ""}},
			`link add id (alias="", child=web, ports="80/tcp,81/tcp")`},
	} {
		c.event.Time = at
		have := eventLine(c.event)
		if want := at.Local().Format(eventTime) + " " + c.want; have != want || strings.ContainsAny(have, "\n\x1b") {
			t.Errorf("have %q\nwant %q", have, want)
		}
	}
}
