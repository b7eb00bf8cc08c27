package api_test

import (
	"bytes"
	"context"
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

	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/api/apitest"
	"github.com/bridged/bridged/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a server on a unix socket of its own, for one test.
type served struct {
	t      *testing.T
	engine *apitest.Engine
	socket string
	http   *http.Client
	client *client.Client
	log    *logBuffer
	// stop ends the server and waits for it.
	stop func()
}

// serve starts a server of the engine; wrap, when not nil, is put between the two.
func serve(t *testing.T, engine *apitest.Engine, wrap func(api.Engine) api.Engine) *served {
	t.Helper()
	// The path of a socket is short: not the test's own, longer directory.
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &served{t: t, engine: engine, socket: filepath.Join(dir, "s"), log: &logBuffer{}}
	listener, err := api.Listen(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	var e api.Engine = engine
	if wrap != nil {
		e = wrap(engine)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := api.New(e, api.Options{Log: slog.New(slog.NewTextHandler(s.log, nil))})
	go func() { done <- server.Serve(ctx, listener) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	s.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
		},
	}}
	if s.client, err = client.Dial("unix://" + s.socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		s.client.Close()
		s.stop()
	})
	return s
}

// ready is a server whose engine is ready.
func ready(t *testing.T) *served {
	e := apitest.New()
	e.MarkReady()
	return serve(t, e, nil)
}

// exchange is one call and its answer.
type exchange struct {
	method, path, request string
	status                int
	header                http.Header
	answer                string
}

// do makes a call; a body is sent as JSON.
func (s *served) do(method, path, body string) exchange {
	s.t.Helper()
	return s.doAs("application/json", method, path, body)
}

func (s *served) doAs(contentType, method, path, body string) exchange {
	s.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, "http://bridged"+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" && body != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return exchange{method, path, body, resp.StatusCode, resp.Header, string(text)}
}

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
