package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/api/apitest"
	"github.com/bridged/bridged/client"
)

// TestNotReady: status answers at once, a change waits.
func TestNotReady(t *testing.T) {
	engine := apitest.New()
	s := serve(t, engine, nil)
	if status, err := s.client.Status(t.Context()); err != nil || status.Ready || !status.Since.IsZero() {
		t.Errorf("status before: %+v, %v", status, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.client.CreateNetwork(ctx, client.NetworkCreate{Name: "early"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a change whose caller went away: %v", err)
	}
	created := make(chan error)
	waited := make(chan error)
	go func() {
		_, err := s.client.CreateNetwork(t.Context(), client.NetworkCreate{Name: "n"})
		created <- err
	}()
	go func() {
		status, err := s.client.WaitReady(t.Context(), 1<<40)
		if err == nil && !status.Ready {
			err = fmt.Errorf("not ready: %+v", status)
		}
		waited <- err
	}()
	if _, err := s.client.Network(t.Context(), "n"); !errors.Is(err, bridged.ErrNotFound) {
		t.Errorf("the network is there before the engine is ready: %v", err)
	}
	engine.MarkReady()
	if err := <-created; err != nil {
		t.Errorf("create: %v", err)
	}
	if err := <-waited; err != nil {
		t.Errorf("wait: %v", err)
	}
	if _, err := s.client.Network(t.Context(), "early"); !errors.Is(err, bridged.ErrNotFound) {
		t.Errorf("a change whose caller went away was made: %v", err)
	}
}

// TestStopWhileNotReady: changes that wait for an engine that never gets ready don't keep a server from stopping.
func TestStopWhileNotReady(t *testing.T) {
	waits := &noticingEngine{Engine: apitest.New(), asked: make(chan struct{}, 2)}
	s := serve(t, waits.Engine, func(api.Engine) api.Engine { return waits })
	created := make(chan error)
	go func() {
		_, err := s.client.CreateNetwork(t.Context(), client.NetworkCreate{Name: "n"})
		created <- err
	}()
	<-waits.asked
	s.stop()
	if err := <-created; !errors.Is(err, bridged.ErrUnavailable) || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("create: %v", err)
	}
}

// noticingEngine tells when somebody asks whether it is ready.
type noticingEngine struct {
	*apitest.Engine
	asked chan struct{}
}

func (e *noticingEngine) Ready() <-chan struct{} {
	select {
	case e.asked <- struct{}{}:
	default:
	}
	return e.Engine.Ready()
}

// slowEngine makes networks when it is let.
type slowEngine struct {
	*apitest.Engine
	began, finish chan struct{}
}

func (e *slowEngine) CreateNetwork(ctx context.Context, spec bridged.NetworkSpec) (bridged.NetworkInfo, []string, error) {
	close(e.began)
	<-e.finish
	return e.Engine.CreateNetwork(ctx, spec)
}

// TestStopFinishesRequests: what is under way when the server stops is done and answered; new connections are refused.
func TestStopFinishesRequests(t *testing.T) {
	engine := apitest.New()
	engine.MarkReady()
	slow := &slowEngine{Engine: engine, began: make(chan struct{}), finish: make(chan struct{})}
	s := serve(t, engine, func(api.Engine) api.Engine { return slow })
	created := make(chan error)
	go func() {
		_, err := s.client.CreateNetwork(t.Context(), client.NetworkCreate{Name: "n"})
		created <- err
	}()
	<-slow.began
	stopped := make(chan struct{})
	go func() {
		s.stop()
		close(stopped)
	}()
	for { // until the listener is closed, which is the first thing that a stop does
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(slow.finish)
	if err := <-created; err != nil {
		t.Errorf("create: %v", err)
	}
	<-stopped
	if _, err := s.client.Status(t.Context()); !errors.Is(err, bridged.ErrUnavailable) {
		t.Errorf("status behind the stop: %v", err)
	}
}

// panickingEngine panics when it is asked for a sandbox.
type panickingEngine struct{ *apitest.Engine }

func (panickingEngine) Sandbox(string) (bridged.SandboxInfo, error) { panic("at the disco") }

// TestPanic: a handler that panics is a 500 of one request, and the log tells where.
func TestPanic(t *testing.T) {
	engine := apitest.New()
	engine.MarkReady()
	s := serve(t, engine, func(api.Engine) api.Engine { return panickingEngine{engine} })
	x := s.do("GET", "/bridged/v1/sandboxes/web", "")
	if want := `{"message":"internal error: the daemon's log has the details","code":"internal"}` + "\n"; x.status != 500 || x.answer != want {
		t.Errorf("have %d %s", x.status, x.answer)
	}
	if log := s.log.String(); !strings.Contains(log, "at the disco") || !strings.Contains(log, "panickingEngine.Sandbox") {
		t.Errorf("the log does not tell: %s", log)
	}
	if x := s.do("GET", "/_ping", ""); x.status != 200 {
		t.Errorf("ping behind the panic: %d", x.status)
	}
}

// TestBrokenClients: clients that send half a request, or garbage, or nothing, don't keep others from being served.
func TestBrokenClients(t *testing.T) {
	s := ready(t)
	for _, text := range []string{
		"",
		"GET /networks HT",
		"\x16\x03\x01\x02\x00",
		"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"Name\":",
		"POST /networks/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"Nam",
	} {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.client.Networks(t.Context()); err != nil {
		t.Errorf("networks beside broken clients: %v", err)
	}
	if _, err := s.client.CreateNetwork(t.Context(), client.NetworkCreate{Name: "n"}); err != nil {
		t.Errorf("create beside broken clients: %v", err)
	}
}

// TestStopBesideBrokenClients: clients that never end their requests don't delay a stop. Its own limit is longer than this test
// may take.
func TestStopBesideBrokenClients(t *testing.T) {
	engine := apitest.New()
	engine.MarkReady()
	asked := &noticingEngine{Engine: engine, asked: make(chan struct{}, 2)}
	s := serve(t, engine, func(api.Engine) api.Engine { return asked })
	for _, text := range []string{
		"",
		"GET /networks HT",
		"POST /networks/create HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"Name\":",
	} {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	<-asked.asked // by the last of them, which now waits for its body
	s.stop()
	if log := s.log.String(); strings.Contains(log, "cut off") {
		t.Errorf("the stop waited as long as it may: %s", log)
	}
}

// TestDockerHeaders: Docker's client learns the version from the ping's header, which has no body.
func TestDockerHeaders(t *testing.T) {
	s := ready(t)
	for _, path := range []string{"/_ping", "/v1.24/_ping", "/networks"} {
		x := s.do("HEAD", path, "")
		if x.status != 200 || x.header.Get("Api-Version") != "1.50" || x.header.Get("Ostype") != "linux" || x.answer != "" {
			t.Errorf("HEAD %s: %+v", path, x)
		}
	}
	if x := s.do("PUT", "/networks", ""); x.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %q", x.header.Get("Allow"))
	}
}

// TestRefusalsAreRead: who is refused before the body was looked at gets to see why, however late the body comes.
func TestRefusalsAreRead(t *testing.T) {
	s := ready(t)
	for _, path := range []string{"/containers/create", "/v1.99/networks/create", "/networks/create?x=y", "/nowhere"} {
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, part := range []string{"POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", "{", "}  "} {
			if _, err := io.WriteString(conn, part); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if resp.StatusCode < 400 || resp.Close {
			t.Errorf("%s: %+v", path, resp)
		}
	}
}

// TestRefs: names that look like something else arrive as they are.
func TestRefs(t *testing.T) {
	s := ready(t)
	for _, ref := range []string{"create", "..", ".", "a/b", "a b", "%2f", "?x", "prune"} {
		_, err := s.client.Network(t.Context(), ref)
		if want := "network " + ref + " not found"; !errors.Is(err, bridged.ErrNotFound) || err.Error() != want {
			t.Errorf("network %q: %v", ref, err)
		}
		if err := s.client.RemoveSandbox(t.Context(), ref); !errors.Is(err, bridged.ErrNotFound) || err.Error() != "sandbox "+ref+" not found" {
			t.Errorf("sandbox %q: %v", ref, err)
		}
	}
	if x := s.do(http.MethodPost, "/networks/create", `{"Name": "create"}`); x.status != 201 {
		t.Fatal(x.answer)
	}
	if _, err := s.client.Network(t.Context(), "create"); err != nil {
		t.Error(err)
	}
}
