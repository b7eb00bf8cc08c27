package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/bridged/bridged/docker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a server on a unix socket of its own, for one test.
type served struct {
	t      testing.TB
	engine *fake
	socket string
	http   *http.Client
	log    *lockedBuffer
	stop   func()
}

// lockedBuffer is a log.
type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

// serve starts a server of the engine, which asks at a socket for names; "": nowhere.
func serve(t testing.TB, engine docker.Engine, engineSocket string) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "docker") // not the test's own directory: the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, socket: filepath.Join(dir, "bridged.sock"), log: new(lockedBuffer)}
	s.engine, _ = engine.(*fake)
	l, err := docker.Listen(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	s.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.socket)
		},
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := docker.New(engine, docker.Options{Log: slog.New(slog.NewTextHandler(s.log, nil)), EngineSocket: engineSocket})
	go func() { done <- server.Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		s.stop()
		os.RemoveAll(dir)
	})
	return s
}

// ready is a server of an engine in memory.
func ready(t testing.TB) *served {
	t.Helper()
	f := newFake()
	close(f.ready)
	return serve(t, f, "")
}

// answer is what is answered to a call.
type answer struct {
	status int
	header http.Header
	text   string
	fields map[string]any
	closed bool // the connection
}

// post makes a call as Docker does: without a Content-Type, and without a body when it has no parameters.
func (s *served) post(path, body string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, path, strings.NewReader(body))
}

func (s *served) do(method, path string, body io.Reader) (a answer) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://plugin"+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.docker.plugins.v1.2+json")
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	a = answer{status: resp.StatusCode, header: resp.Header, text: string(text), closed: resp.Close}
	if err := json.Unmarshal(text, &a.fields); err != nil {
		s.t.Fatalf("%s %s: %d %s: %v", method, path, a.status, a.text, err)
	}
	return a
}

// failure is the error of an answer, in the field where it belongs; "": there is none.
func (a answer) failure(path string) string {
	field := "Err"
	if strings.HasPrefix(path, "/IpamDriver.") {
		field = "Error"
	}
	text, _ := a.fields[field].(string)
	return text
}

// must makes a call that is done.
func (s *served) must(path, body string) answer {
	s.t.Helper()
	a := s.post(path, body)
	if a.status != http.StatusOK || a.fields["Err"] != nil || a.fields["Error"] != nil {
		s.t.Fatalf("%s %s: %d %s", path, body, a.status, a.text)
	}
	return a
}
