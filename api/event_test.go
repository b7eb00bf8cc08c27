package api_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/api/apitest"
	"github.com/bridged/bridged/client"
)

// TestEvents: past ones come first when they are asked for, then what happens, in order.
func TestEvents(t *testing.T) {
	s := ready(t)
	happen := func(n int) {
		s.engine.Happen(bridged.Event{Type: bridged.EventLink, Action: "add", ID: "id", Name: strconv.Itoa(n), Attributes: map[string]string{"a": "<b>"}})
	}
	for n := range 4 {
		happen(n)
	}
	begin := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	want := client.Event{Time: begin.Add(2 * time.Second), Type: "link", Action: "add", ID: "id", Name: "2", Attributes: map[string]string{"a": "<b>"}}
	for name, c := range map[string]struct {
		opts client.EventsOptions
		want string // the names, "+" before those that happen after the first
	}{
		"from now":       {client.EventsOptions{}, ""},
		"kept":           {client.EventsOptions{Kept: true}, "0123"},
		"since and kept": {client.EventsOptions{Kept: true, Since: client.SinceTime(want.Time)}, "23"},
		"since seconds":  {client.EventsOptions{Kept: true, Since: client.Since(strconv.FormatInt(want.Time.Unix(), 10) + ".5")}, "3"},
		"since never":    {client.EventsOptions{Kept: true, Since: client.SinceTime(begin.Add(time.Hour))}, ""},
	} {
		var names strings.Builder
		if c.opts.Kept {
			for e, err := range s.client.Events(t.Context(), c.opts) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if d := cmp.Diff(want, e); e.Name == want.Name && d != "" {
					t.Errorf("the event (-want +have):\n%s", d)
				}
				names.WriteString(e.Name)
			}
		}
		if have := names.String(); have != c.want {
			t.Errorf("%s: have %q, want %q", name, have, c.want)
		}
	}
	n := 2
	for e, err := range s.client.Events(t.Context(), client.EventsOptions{Since: client.SinceTime(want.Time)}) {
		if err != nil || e.Name != strconv.Itoa(n) {
			t.Fatalf("event %d is %+v, %v", n, e, err)
		}
		if n++; n > 10 {
			break
		}
		if n > 3 {
			happen(n)
		}
	}
	if _, err := s.client.Status(t.Context()); err != nil {
		t.Errorf("behind it: %v", err)
	}
}

// follow is a follower of the server's events. It has begun when follow returns; its end comes with the channel.
func (s *served) follow(ctx context.Context) <-chan error {
	s.t.Helper()
	s.engine.Happen(bridged.Event{Type: bridged.EventDaemon, Action: "first"})
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for e, err := range s.client.Events(ctx, client.EventsOptions{Since: "0"}) {
			switch {
			case err != nil:
				ended <- err
			case e.Action == "first":
				close(begun)
			}
		}
		close(ended)
	}()
	<-begun
	return ended
}

// TestFollowersEnd: one whose context ends is gone without an error; one whose daemon stops is told, and does not keep it from that.
func TestFollowersEnd(t *testing.T) {
	s := ready(t)
	ctx, cancel := context.WithCancel(t.Context())
	one := s.follow(ctx)
	cancel()
	if err := <-one; err != nil {
		t.Errorf("a follower that ended: %v", err)
	}
	s = ready(t)
	two := s.follow(t.Context())
	s.stop()
	if err := <-two; !errors.Is(err, bridged.ErrUnavailable) || !strings.Contains(err.Error(), "has stopped") {
		t.Errorf("a follower whose daemon stopped: %v", err)
	}
	if log := s.log.String(); strings.Contains(log, "cut off") {
		t.Errorf("the stop waited as long as it may: %s", log)
	}
}

// busyEngine has always one more event.
type busyEngine struct {
	*apitest.Engine
	stuck chan struct{} // closed when many were taken
}

func (e busyEngine) Events(ctx context.Context, _ time.Time) iter.Seq[bridged.Event] {
	return func(yield func(bridged.Event) bool) {
		for n := 0; ctx.Err() == nil && yield(bridged.Event{Type: bridged.EventDaemon, Name: strings.Repeat("x", 1000)}); n++ {
			if n == 20 { // the socket takes some ninety
				close(e.stuck)
			}
		}
	}
}

// TestSlowFollower: one that does not read keeps neither others from being served, nor the server from stopping.
func TestSlowFollower(t *testing.T) {
	engine := apitest.New()
	engine.MarkReady()
	busy := busyEngine{engine, make(chan struct{})}
	s := serve(t, engine, func(api.Engine) api.Engine { return busy })
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /bridged/v1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-busy.stuck
	if _, err := s.client.CreateNetwork(t.Context(), client.NetworkCreate{Name: "n"}); err != nil {
		t.Errorf("create beside it: %v", err)
	}
	s.stop()
	if log := s.log.String(); strings.Contains(log, "cut off") {
		t.Errorf("the stop waited as long as it may: %s", log)
	}
}

// TestEventsHead: who asks for the header only gets that, and its connection can be used again.
func TestEventsHead(t *testing.T) {
	s := ready(t)
	if x := s.do("HEAD", "/bridged/v1/events", ""); x.status != 200 || x.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%+v", x)
	}
}
