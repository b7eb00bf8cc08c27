package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDialRefuses(t *testing.T) {
	for host, want := range map[string]string{
		"":                         `invalid host "": want unix://`,
		"/run/s":                   "want unix://",
		"tcp://127.0.0.1:80":       "want unix://",
		"unix://":                  "the socket's path must be absolute",
		"unix://run/s":             "the socket's path must be absolute",
		"unix:///" + long(107):     "108 bytes, at most 107 are possible",
		"http://unix:///run/a/b/c": "want unix://",
	} {
		_, err := client.Dial(host)
		if !errors.Is(err, bridged.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", host, err, want)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

// dial makes a client of a socket that does not exist yet.
func dial(t *testing.T) (c *client.Client, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cl") // not the test's own directory: the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	if c, err = client.Dial("unix://" + path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, path
}

// answer serves every request at path with h, until the test ends.
func answer(t *testing.T, path string, h http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with Close
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// TestNoDaemon: without a daemon the error says which socket and how to start one.
func TestNoDaemon(t *testing.T) {
	c, path := dial(t)
	_, err := c.Status(t.Context())
	want := "no daemon at unix://" + path + ": the socket does not exist; start it with: bridged daemon"
	if !errors.Is(err, bridged.ErrUnavailable) || err.Error() != want {
		t.Errorf("no socket: %v", err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	_, err = c.Status(t.Context())
	want = "no daemon at unix://" + path + ": nothing listens on the socket; start it with: bridged daemon"
	if !errors.Is(err, bridged.ErrUnavailable) || err.Error() != want {
		t.Errorf("a dead socket: %v", err)
	}
	if _, err := c.WaitReady(t.Context(), 0); !errors.Is(err, bridged.ErrUnavailable) {
		t.Errorf("a wait of nothing: %v", err)
	}
}

// TestWaitForDaemon: the wait spans the time before there is a socket.
func TestWaitForDaemon(t *testing.T) {
	c, path := dial(t)
	waited := make(chan error)
	go func() {
		status, err := c.WaitReady(t.Context(), time.Hour)
		if err == nil && !status.Ready {
			err = fmt.Errorf("not ready: %+v", status)
		}
		waited <- err
	}()
	answer(t, path, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bridged/v1/status" || r.URL.Query().Get("wait") == "" {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprint(w, `{"Ready": true}`)
	})
	if err := <-waited; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone, _ := dial(t)
	if _, err := gone.WaitReady(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was given up: %v", err)
	}
}

// TestWaitForDyingDaemon: one that was there and ends is not waited for, whether it says so or breaks off.
func TestWaitForDyingDaemon(t *testing.T) {
	for name, end := range map[string]func(http.ResponseWriter){
		"answers":    func(w http.ResponseWriter) { fmt.Fprint(w, `{"Ready": false}`) },
		"breaks off": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		c, path := dial(t)
		answer(t, path, func(w http.ResponseWriter, r *http.Request) {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
			w.Header().Set("Connection", "close")
			end(w)
		})
		_, err := c.WaitReady(t.Context(), time.Hour)
		want := "the daemon at unix://" + path + " ended before it was ready; its log says why"
		if !errors.Is(err, bridged.ErrUnavailable) || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStrangeAnswers: what is no bridged is not taken for one.
func TestStrangeAnswers(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
		kind       error
	}{
		{500, "<html>", `the daemon answered 500 Internal Server Error: "<html>"; is it bridged that listens there?`, nil},
		{404, `{"message": ""}`, "is it bridged that listens there?", nil},
		{409, `{"message": "taken", "code": "conflict"}`, "taken", bridged.ErrConflict},
		{409, `{"message": "taken", "code": "new-code"}`, "taken", nil},
		{400, `{"message": "from docker"}`, "from docker", nil},
		{200, `{"Ready": tr`, "broke off its answer to GET /bridged/v1/status", bridged.ErrUnavailable},
		{200, `[]`, "broke off its answer", bridged.ErrUnavailable},
	} {
		cl, path := dial(t)
		answer(t, path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		_, err := cl.Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || bridged.Code(err) != bridged.Code(c.kind) {
			t.Errorf("%d %s: %v (%s)", c.status, c.body, err, bridged.Code(err))
		}
		cl.Close()
	}
}

// TestDaemonDies: a daemon that goes away in the middle of a call is no daemon.
func TestDaemonDies(t *testing.T) {
	c, path := dial(t)
	answer(t, path, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if err := c.RemoveNetwork(t.Context(), "n"); !errors.Is(err, bridged.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
