package engine

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bridged/bridged"
)

// kept are the events that are kept, without their times and without those of the daemon.
func kept(e *Engine) []bridged.Event {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	var es []bridged.Event
	for event := range e.Events(done, time.Unix(0, 1)) {
		if event.Type != bridged.EventDaemon {
			event.Time = time.Time{}
			es = append(es, event)
		}
	}
	return es
}

// headlines are events without their attributes.
func headlines(es []bridged.Event) []string {
	var lines []string
	for _, e := range es {
		lines = append(lines, e.Type+" "+e.Action+" "+e.Name)
	}
	return lines
}

func TestEventsFollowChanges(t *testing.T) {
	ctx := context.Background()
	e, stop := startFake(t, testConfig(t), newFakeHost())
	defer stop()
	first := len(kept(e))
	n, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	web, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "web", Network: "blue", Ports: specs(t, "8080:80")})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.AddPorts(ctx, "web", specs(t, "8080:80")); err == nil {
		t.Fatal("a taken port was published again")
	}
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "key", Network: "blue"}); err != nil {
		t.Fatal(err)
	}
	if err := e.ReleaseInterface(ctx, "key"); err != nil {
		t.Fatal(err)
	}
	if err := e.RemoveSandbox(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if err := e.RemoveNetwork(ctx, "blue"); err != nil {
		t.Fatal(err)
	}
	got := kept(e)[first:]
	want := []string{
		"network create blue", "sandbox attach web", "port publish web", "sandbox create web", "lease allocate key", "lease release key",
		"sandbox remove web", "sandbox detach web", "port unpublish web", "network remove blue",
	}
	if d := cmp.Diff(want, headlines(got)); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
	ep := web.Joined[0].Endpoint
	attach := bridged.Event{Type: bridged.EventSandbox, Action: "attach", ID: web.ID, Name: "web", Attributes: map[string]string{
		"network": "blue", "networkId": ep.Network, "endpoint": ep.ID, "mac": ep.MAC.String(), "address": ep.IPv4.Addr().String(), "interface": "eth0", "link": ep.HostInterface,
	}}
	publish := bridged.Event{Type: bridged.EventPort, Action: "publish", ID: web.ID, Name: "web",
		Attributes: map[string]string{"port": "80/tcp", "host": "0.0.0.0:8080"}}
	create := bridged.Event{Type: bridged.EventNetwork, Action: "create", ID: n.ID, Name: "blue",
		Attributes: map[string]string{"driver": "bridge", "bridge": n.Bridge, "subnets": n.IPv4.Prefix.String()}}
	if d := cmp.Diff([]bridged.Event{create, attach, publish}, got[:3]); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestEventsAreFollowed(t *testing.T) {
	e := newEngine(testConfig(t))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	add := func(from, to int) {
		for i := from; i < to; i++ {
			e.events.add(bridged.Event{Type: "test", Name: strconv.Itoa(i)})
		}
	}
	add(0, 10)
	all := e.Events(ctx, time.Unix(0, 1))
	fresh := e.Events(ctx, time.Time{})
	add(10, keptEvents+20)
	next := 20
	for event := range all {
		if event.Type == bridged.EventDaemon {
			if d := cmp.Diff(bridged.Event{Type: "daemon", Action: "lost", Attributes: map[string]string{"count": "20"}}, event,
				cmpopts.IgnoreFields(bridged.Event{}, "Time")); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			continue
		}
		if event.Name != strconv.Itoa(next) {
			t.Fatalf("event %s came, want %d", event.Name, next)
		}
		if next++; next == keptEvents+20 {
			add(keptEvents+20, keptEvents+21) // while the reader is at it
		}
		if next == keptEvents+21 {
			break
		}
	}
	for event := range fresh {
		if event.Type != bridged.EventDaemon && event.Name != "21" && event.Name != "22" {
			t.Fatalf("event %s came first", event.Name)
		}
		if event.Name == "22" {
			break
		}
	}
	came := make(chan string)
	go func() {
		for event := range e.Events(ctx, time.Time{}) {
			came <- event.Name
		}
		close(came)
	}()
	for name, n := "", 0; name == ""; n++ { // the reader subscribes when it comes to it
		add(5000+n, 5001+n)
		select {
		case name = <-came:
		default:
		}
	}
	cancel()
	for range came { // what came meanwhile
	}
}
