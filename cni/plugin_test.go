package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/goleak"

	"github.com/bridged/bridged"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket is a path for a daemon's socket, in a directory of its own.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni") // not the test's own directory: the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// daemon answers at a socket until the test ends.
func daemon(t *testing.T, socket string, answer http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
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

// run is one run of the plugin with a configuration. The variables of a container are there, but for those in env.
func run(t *testing.T, socket, keys string, env ...string) (status int, stdout string) {
	t.Helper()
	text := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni", "socket": %q, %s}`, socket, keys)
	env = append(env, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=/nonexistent")
	var out, warnings bytes.Buffer
	status = Plugin{Getenv: with(env...), Stdin: strings.NewReader(text), Stdout: &out, Stderr: &warnings}.Run(t.Context())
	return status, out.String()
}

// wantAnswer holds a run against the code of its error, 0 for none, and words of its output.
func wantAnswer(t *testing.T, what string, status int, stdout string, code Code, words ...string) {
	t.Helper()
	var e struct {
		CNIVersion Version
		Code       Code
		Msg        string
	}
	if code != 0 {
		if err := json.Unmarshal([]byte(stdout), &e); err != nil || status != 1 || e.Code != code || e.Msg == "" || e.CNIVersion.check() != nil {
			t.Errorf("%s: status %d, %q, want an error of code %d", what, status, stdout, code)
		}
	} else if status != 0 {
		t.Errorf("%s: status %d, %q", what, status, stdout)
	}
	for _, w := range words {
		if !strings.Contains(stdout, w) {
			t.Errorf("%s: %s does not say %q", what, stdout, w)
		}
	}
}

const subnetKey = `"ipam": {"type": "bridged", "subnet": "10.1.0.0/24"}`

// namespace is the path of a fresh network namespace.
func namespace(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a namespace needs root")
	}
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns))
}

// TestAnswers: each kind of the daemon's answer is an error of the specification.
func TestAnswers(t *testing.T) {
	ns := "CNI_NETNS=" + namespace(t)
	for _, c := range []struct {
		command, kind string
		code          Code
	}{
		{"ADD", "invalid", CodeInvalid}, {"ADD", "not-found", CodeNamespace}, {"ADD", "conflict", CodeConflict}, {"ADD", "denied", CodeIO},
		{"ADD", "unavailable", CodeTryAgain}, {"ADD", "internal", CodeInternal}, {"CHECK", "not-found", CodeUnknownContainer},
		{"CHECK", "conflict", CodeConflict}, {"DEL", "internal", CodeInternal}, {"GC", "unavailable", CodeTryAgain},
		{"STATUS", "unavailable", CodeUnavailable}, {"STATUS", "denied", CodeIO},
	} {
		path := socket(t)
		daemon(t, path, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, `{"message": "because of this", "code": %q}`, c.kind)
		})
		status, out := run(t, path, subnetKey+`, "prevResult": {}`, ns, "CNI_COMMAND="+c.command)
		wantAnswer(t, c.command+" "+c.kind, status, out, c.code, "because of this")
	}
}

// TestNoDaemon: an ADD is to be tried again, a STATUS says so, and a DEL succeeds.
func TestNoDaemon(t *testing.T) {
	ns, path := "CNI_NETNS="+namespace(t), socket(t)
	for command, code := range map[string]Code{"ADD": CodeTryAgain, "CHECK": CodeTryAgain, "GC": CodeTryAgain, "STATUS": CodeUnavailable, "DEL": 0, "VERSION": 0} {
		status, out := run(t, path, subnetKey+`, "prevResult": {}`, ns, "CNI_COMMAND="+command)
		wantAnswer(t, command, status, out, code)
	}
}

// TestRemembered: a DEL without a daemon is one file, however often it comes, and none once a daemon answers.
func TestRemembered(t *testing.T) {
	path := socket(t)
	spool := filepath.Join(filepath.Dir(path), "detach")
	files := func() (all []string) {
		all, err := filepath.Glob(filepath.Join(spool, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for range 2 {
		status, out := run(t, path, `"brokenSince": 1`, "CNI_COMMAND=DEL", "CNI_NETNS=")
		wantAnswer(t, "DEL", status, out, 0)
	}
	there := files()
	if len(there) != 1 || filepath.Ext(there[0]) != ".json" {
		t.Fatalf("remembered in %v", there)
	}
	var key bridged.AttachmentKey
	if text, err := os.ReadFile(there[0]); err != nil || json.Unmarshal(text, &key) != nil || key != (bridged.AttachmentKey{Network: "podnet", Container: "c1", Interface: "eth0"}) {
		t.Errorf("remembered %s (%v)", text, err)
	}
	if status, out := run(t, path, `"a": 0`, "CNI_COMMAND=DEL", "CNI_CONTAINERID=c2"); status != 0 || len(files()) != 2 {
		t.Errorf("another: %s, %v", out, files())
	}
	calls := 0
	daemon(t, path, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 { // it goes, and another one comes
			panic(http.ErrAbortHandler)
		}
		if r.Method != http.MethodDelete || r.URL.Query().Get("container") != "c1" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
	})
	status, out := run(t, path, `"a": 0`, "CNI_COMMAND=DEL")
	wantAnswer(t, "DEL between two daemons", status, out, 0)
	if left := files(); len(left) != 1 || left[0] == there[0] {
		t.Errorf("after a DEL that was done %v are left", left)
	}
	if err := os.RemoveAll(spool); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spool, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	status, out = run(t, socket2(path), `"a": 0`, "CNI_COMMAND=DEL")
	wantAnswer(t, "a DEL that can't be remembered", status, out, CodeTryAgain, "remembered", spool)
}

// TestRememberedFirst: a DEL before the first daemon makes the socket's directory such that others than root find the socket in it.
func TestRememberedFirst(t *testing.T) {
	beside := filepath.Join(filepath.Dir(socket(t)), "run")
	status, out := run(t, filepath.Join(beside, "s"), `"a": 0`, "CNI_COMMAND=DEL")
	wantAnswer(t, "DEL", status, out, 0)
	for dir, mode := range map[string]os.FileMode{beside: 0o755, filepath.Join(beside, "detach"): 0o700} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v (%v), want %v", dir, info.Mode(), err, mode)
		}
	}
}

// TestSlowDaemon: one that does not answer in time is to be tried again, and a DEL is not success.
func TestSlowDaemon(t *testing.T) {
	path := socket(t)
	daemon(t, path, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that a server does not notice that the client is gone
		<-r.Context().Done()
	})
	for command, code := range map[string]Code{"DEL": CodeTryAgain, "GC": CodeTryAgain, "STATUS": CodeUnavailable} {
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		var out bytes.Buffer
		text := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni", "socket": %q}`, path)
		env := with("CNI_COMMAND="+command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0")
		status := Plugin{Getenv: env, Stdin: strings.NewReader(text), Stdout: &out, Stderr: io.Discard}.Run(ctx)
		wantAnswer(t, command, status, out.String(), code, "did not answer")
	}
}

// socket2 is another socket in the same directory.
func socket2(path string) string { return path + "2" }

// TestStatus: a daemon that is not ready yet is none.
func TestStatus(t *testing.T) {
	for ready, code := range map[bool]Code{true: 0, false: CodeUnavailable} {
		path := socket(t)
		daemon(t, path, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"Ready": %v}`, ready) })
		status, out := run(t, path, subnetKey, "CNI_COMMAND=STATUS")
		wantAnswer(t, fmt.Sprint("ready ", ready), status, out, code)
		status, out = run(t, path, `"vlan": 5`, "CNI_COMMAND=STATUS")
		wantAnswer(t, "a configuration that can't be", status, out, CodeInvalid, "vlan")
	}
}

// TestNamespaces: what is no namespace of a container is said before the daemon is asked.
func TestNamespaces(t *testing.T) {
	path := socket(t)
	daemon(t, path, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) })
	for netns, words := range map[string]string{
		"/nonexistent": "does not exist", "/proc/self/ns/net": "the host's own", "/proc/self/exe": "no namespace", "/proc/self/exe/x": "not a directory",
	} {
		for _, command := range []string{"ADD", "CHECK"} {
			status, out := run(t, path, `"prevResult": {}`, "CNI_COMMAND="+command, "CNI_NETNS="+netns)
			wantAnswer(t, command+" "+netns, status, out, CodeNamespace, words)
		}
	}
	status, out := run(t, path, `"mtu": 1500`, "CNI_COMMAND=CHECK")
	wantAnswer(t, "a CHECK of nothing", status, out, CodeInvalid, "prevResult")
}

// TestVersions: a command that a version does not have, and a version that there is not.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		command, text string
		code          Code
	}{
		{"ADD", `{"cniVersion": "0.2.0", "name": "n"}`, CodeVersion}, {"ADD", `{"name": "n"}`, CodeVersion}, {"ADD", `{"cniVersion": "2.0.0", "name": "n"}`, CodeVersion},
		{"CHECK", `{"cniVersion": "0.3.1", "name": "n"}`, CodeVersion}, {"GC", `{"cniVersion": "1.0.0", "name": "n"}`, CodeVersion},
		{"STATUS", `{"cniVersion": "1.0.0", "name": "n"}`, CodeVersion}, {"ADD", `{"cniVersion": "1.0.0"}`, CodeInvalid}, {"ADD", `{"cniVersion": 1}`, CodeDecode},
		{"DEL", `{"cniVersion": "1.0.0", "na`, CodeDecode}, {"GC", `[]`, CodeDecode}, {"ADD", ``, CodeDecode},
		{"ADD", `{"cniVersion": "1.0.0", "name": "n", "socket": "relative"}`, CodeInvalid},
	} {
		var out bytes.Buffer
		env := with("CNI_COMMAND="+c.command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=/x")
		status := Plugin{Getenv: env, Stdin: strings.NewReader(c.text), Stdout: &out, Stderr: io.Discard}.Run(t.Context())
		wantAnswer(t, c.command+" "+c.text, status, out.String(), c.code)
	}
}

// broken fails whatever is asked of it.
type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, errors.New("broken") }
func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

// TestBrokenPipes: a configuration that can't be read is an error of its own; an answer that can't be written at least not success.
func TestBrokenPipes(t *testing.T) {
	var out bytes.Buffer
	status := Plugin{Getenv: with("CNI_COMMAND=STATUS"), Stdin: broken{}, Stdout: &out, Stderr: io.Discard}.Run(context.Background())
	wantAnswer(t, "no input", status, out.String(), CodeIO, "standard input")
	if status := (Plugin{Getenv: with("CNI_COMMAND=VERSION"), Stdin: broken{}, Stdout: broken{}, Stderr: io.Discard}).Run(context.Background()); status != 1 {
		t.Errorf("no output: status %d", status)
	}
}
