package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
)

func TestRoughly(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		-time.Hour:             "Less than a second",
		time.Second - 1:        "Less than a second",
		time.Second:            "1 second",
		2 * time.Second:        "2 seconds",
		59 * time.Second:       "59 seconds",
		60 * time.Second:       "About a minute",
		119 * time.Second:      "About a minute",
		2 * time.Minute:        "2 minutes",
		59 * time.Minute:       "59 minutes",
		60 * time.Minute:       "About an hour",
		89 * time.Minute:       "About an hour",
		90 * time.Minute:       "2 hours",
		47 * time.Hour:         "47 hours",
		48 * time.Hour:         "2 days",
		13*day + 23*time.Hour:  "13 days",
		14 * day:               "2 weeks",
		59 * day:               "8 weeks",
		60 * day:               "2 months",
		729 * day:              "24 months",
		730 * day:              "2 years",
		3650 * day:             "10 years",
		time.Duration(1) << 62: "146 years",
	} {
		if have := roughly(d); have != want {
			t.Errorf("%v: %q, want %q", d, have, want)
		}
	}
}

// TestParseTime: times as Docker's users write them.
func TestParseTime(t *testing.T) {
	now := time.Unix(1800000000, 0)
	for text, want := range map[string]time.Time{
		"1700000000":                     time.Unix(1700000000, 0),
		"1700000000.5":                   time.Unix(1700000000, 500000000),
		"10m":                            now.Add(-10 * time.Minute),
		"1h30m":                          now.Add(-90 * time.Minute),
		"2006-01-02T15:04:05Z":           time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC),
		"2006-01-02T15:04:05.5+01:00":    time.Date(2006, 1, 2, 14, 4, 5, 500000000, time.UTC),
		"2006-01-02T15:04:05":            time.Date(2006, 1, 2, 15, 4, 5, 0, time.Local),
		"2006-01-02T15:04:05.999999999":  time.Date(2006, 1, 2, 15, 4, 5, 999999999, time.Local),
		"2006-01-02T15:04":               time.Date(2006, 1, 2, 15, 4, 0, 0, time.Local),
		"2006-01-02Z":                    time.Date(2006, 1, 2, 0, 0, 0, 0, time.UTC),
		"2006-01-02":                     time.Date(2006, 1, 2, 0, 0, 0, 0, time.Local),
		"":                               {},
		"yesterday":                      {},
		"2006-13-02":                     {},
		"-10m":                           {},
		"2006-01-02T15:04:05 and a half": {},
	} {
		have, err := parseTime(text, now)
		if !have.Equal(want) || (err != nil) != want.IsZero() {
			t.Errorf("%q: %v, %v, want %v", text, have, err, want)
		}
	}
}

// TestToDocker: what Docker has a word for is said in its words, and the rest is not said.
func TestToDocker(t *testing.T) {
	at := time.Unix(1700000000, 5)
	for _, c := range []struct {
		event bridged.Event
		want  actor
		words string // type and action; "" none
	}{
		{bridged.Event{Type: bridged.EventNetwork, Action: "create", ID: "1", Name: "n", Attributes: map[string]string{"driver": "bridge", "subnets": "x"}},
			actor{"1", map[string]string{"name": "n", "type": "bridge"}}, "network create"},
		{bridged.Event{Type: bridged.EventNetwork, Action: "update", ID: "1", Name: "n", Attributes: map[string]string{"driver": "bridge"}},
			actor{"1", map[string]string{"name": "n", "type": "bridge"}}, "network update"},
		{bridged.Event{Type: bridged.EventNetwork, Action: "remove", ID: "1", Name: "n", Attributes: map[string]string{"driver": "bridge"}},
			actor{"1", map[string]string{"name": "n", "type": "bridge"}}, "network destroy"},
		{bridged.Event{Type: bridged.EventSandbox, Action: "attach", ID: "2", Name: "s", Attributes: map[string]string{"network": "n", "networkId": "1"}},
			actor{"1", map[string]string{"name": "n", "type": "bridge", "container": "2"}}, "network connect"},
		{bridged.Event{Type: bridged.EventSandbox, Action: "detach", ID: "2", Name: "s", Attributes: map[string]string{"network": "n", "networkId": "1"}},
			actor{"1", map[string]string{"name": "n", "type": "bridge", "container": "2"}}, "network disconnect"},
		{bridged.Event{Type: bridged.EventSandbox, Action: "create", ID: "2", Name: "s", Attributes: map[string]string{"mode": "none"}},
			actor{"2", map[string]string{"name": "s", "mode": "none"}}, "container create"},
		{bridged.Event{Type: bridged.EventSandbox, Action: "remove", ID: "2", Name: "s"}, actor{"2", map[string]string{"name": "s"}}, "container destroy"},
		{bridged.Event{Type: bridged.EventSandbox, Action: "collect"}, actor{}, ""},
		{bridged.Event{Type: bridged.EventNetwork, Action: "overlap"}, actor{}, ""},
		{bridged.Event{Type: bridged.EventLease, Action: "allocate"}, actor{}, ""},
		{bridged.Event{Type: bridged.EventPort, Action: "publish"}, actor{}, ""},
		{bridged.Event{Type: bridged.EventLink, Action: "add"}, actor{}, ""},
		{bridged.Event{Type: bridged.EventDaemon, Action: "ready"}, actor{}, ""},
	} {
		c.event.Time = at
		have, ok := toDocker(c.event)
		if ok != (c.words != "") {
			t.Errorf("%s %s: said %v", c.event.Type, c.event.Action, ok)
		}
		if d := cmp.Diff(c.want, have.Actor); ok && (d != "" || have.Type+" "+have.Action != c.words || have.Time != 1700000000 || have.TimeNano != 1700000000000000005) {
			t.Errorf("%s %s: %+v\n%s", c.event.Type, c.event.Action, have, d)
		}
	}
}
