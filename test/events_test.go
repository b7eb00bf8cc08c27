package test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

type eventJSON struct {
	Time         time.Time
	Type, Action string
	ID           string `json:"Id"`
	Name         string
	Attributes   map[string]string
}

// String is what happened, to whom.
func (e eventJSON) String() string { return strings.Join([]string{e.Type, e.Action, e.Name}, " ") }

// follower is a running `bridged events --json`.
type follower struct {
	t      testing.TB
	cmd    *exec.Cmd
	errs   flowtest.Log
	events chan eventJSON // closed at its end
}

// follow runs `bridged events --json` with more flags.
func (w *world) follow(t testing.TB, flags ...string) *follower {
	t.Helper()
	f := &follower{t: t, events: make(chan eventJSON, 1000)}
	f.cmd = exec.Command(program, append([]string{"events", "--json"}, flags...)...)
	f.cmd.Stderr = &f.errs
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.host.Start(f.cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for dec := json.NewDecoder(out); ; {
			var e eventJSON
			if dec.Decode(&e) != nil {
				break
			}
			f.events <- e
		}
		f.cmd.Wait()
		close(f.events)
	}()
	t.Cleanup(func() {
		f.cmd.Process.Kill()
		<-ended
	})
	return f
}

// next is the next event; false: there is none any more.
func (f *follower) next() (eventJSON, bool) {
	f.t.Helper()
	select {
	case e, ok := <-f.events:
		return e, ok
	case <-time.After(flowtest.Patience):
		f.t.Fatalf("no event comes; stderr:\n%s", f.errs.String())
		return eventJSON{}, false
	}
}

// until are the events up to the first one that reads like this, as they read.
func (f *follower) until(last string) (all []eventJSON) {
	f.t.Helper()
	for {
		e, ok := f.next()
		if !ok {
			f.t.Fatalf("the events ended before %q: %v\n%s", last, all, f.errs.String())
		}
		if all = append(all, e); e.String() == last {
			return all
		}
	}
}

// What a session does is told in its order, to those who follow and to those who ask later, and what failed is not.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	f := w.follow(t, "--since", "1h")
	network := w.bridged("network", "create", "--subnet", "10.9.0.0/24", "n")
	sandbox := w.bridged("sandbox", "create", "--network", "n", "-p", "8080:80", "c1")
	endpoint := w.endpoint("c1", "n")
	w.fails(4, nil, "sandbox", "create", "--network", "n", "-p", "8080:80", "c2")
	w.fails(4, nil, "network", "create", "n")
	w.bridged("port", "add", "c1", "8081:81/udp")
	w.bridged("port", "rm", "c1", "8081:81/udp")
	w.bridged("sandbox", "rm", "c1")
	w.bridged("network", "rm", "n")
	all := f.until("network remove n")
	var text []string
	for i, e := range all {
		text = append(text, e.String())
		if i > 0 && e.Time.Before(all[i-1].Time) || time.Since(e.Time) > time.Hour || e.Time.Location() != time.UTC {
			t.Errorf("the time of %q is %s", e, e.Time)
		}
	}
	text = slices.DeleteFunc(text, func(s string) bool { return strings.HasSuffix(s, " bridge") }) // the start's
	want := []string{
		"daemon ready ", "network create n",
		"sandbox attach c1", "port publish c1", "sandbox create c1",
		"port publish c1", "port unpublish c1",
		"sandbox detach c1", "port unpublish c1", "sandbox remove c1", "network remove n",
	}
	if !slices.Equal(slices.Sorted(slices.Values(text)), slices.Sorted(slices.Values(want))) {
		t.Errorf("have %q\nwant %q", text, want)
	}
	for _, e := range all {
		switch e.Type + " " + e.Action {
		case "network create":
			if e.Name == "n" && (e.ID != network || e.Attributes["subnets"] != "10.9.0.0/24") {
				t.Errorf("%+v", e)
			}
		case "sandbox attach":
			if e.ID != sandbox || e.Attributes["network"] != "n" || e.Attributes["address"] != endpoint.IPAddress {
				t.Errorf("%+v, want sandbox %s with %s", e, sandbox, endpoint.IPAddress)
			}
		}
	}
	kept := w.follow(t, "--no-follow")
	for i, want := range all {
		if have, ok := kept.next(); !ok || fmt.Sprintf("%+v", have) != fmt.Sprintf("%+v", want) {
			t.Errorf("kept event %d is %+v, want %+v", i, have, want)
		}
	}
	if e, ok := kept.next(); ok {
		t.Errorf("one more is kept: %+v", e)
	}
	if code := kept.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("without following: status %d", code)
	}
	later := w.follow(t, "--no-follow", "--since", all[len(all)-1].Time.Format(time.RFC3339Nano))
	if e, ok := later.next(); !ok || e.String() != "network remove n" {
		t.Errorf("since the last one: %+v", e)
	}
	d.Stop()
	if e, ok := f.next(); ok {
		t.Errorf("one more event: %+v", e)
	}
	if code := f.cmd.ProcessState.ExitCode(); code != 69 || !strings.Contains(f.errs.String(), "has stopped") {
		t.Errorf("a follower whose daemon stopped: status %d\n%s", code, f.errs.String())
	}
}

// Many followers, and some that never read, keep the daemon neither from its work nor from its end.
func TestManyFollowers(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	leave := w.knock(t, 100, "GET /bridged/v1/events?since=1h HTTP/1.1\r\nHost: x\r\n\r\n")
	defer leave()
	var all []*follower
	for range 10 {
		all = append(all, w.follow(t, "--since", "1h"))
	}
	for range 3 {
		w.bridged("sandbox", "create", "c1")
		w.bridged("sandbox", "rm", "c1")
	}
	w.bridged("network", "create", "last")
	for _, f := range all {
		f.until("network create last")
	}
	began := time.Now()
	d.Stop()
	if took := time.Since(began); took > flowtest.Patience/2 { // the server's own limit for requests that do not end
		t.Errorf("the stop took %s", took)
	}
	for _, f := range all {
		if _, ok := f.next(); ok {
			t.Error("one more event")
		}
	}
}
