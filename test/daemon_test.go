package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// daemon is a running `bridged daemon`.
type daemon struct {
	*flowtest.Process
	w *world
}

// daemon starts the daemon on the host with these flags and waits until it is ready. It is killed when the test ends; its
// log is shown when the test failed.
func (w *world) daemon(flags ...string) *daemon {
	w.t.Helper()
	d := w.spawn(flags...)
	d.ready()
	return d
}

// spawn is daemon without the wait.
func (w *world) spawn(flags ...string) *daemon {
	w.t.Helper()
	return w.spawnOf(program, flags...)
}

// spawnOf is spawn of another build.
func (w *world) spawnOf(binary string, flags ...string) *daemon {
	w.t.Helper()
	return w.launch(exec.Command(binary, append([]string{"daemon", "--state-dir", w.dir}, flags...)...))
}

// launch starts a command that is a daemon, or becomes one.
func (w *world) launch(cmd *exec.Cmd) *daemon {
	w.t.Helper()
	cmd.Env = append(cmd.Env, "PATH=", "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	return &daemon{w.host.Launch(w.t, cmd), w}
}

// ready waits until the daemon is, and ends the test if it never will be.
func (d *daemon) ready() {
	d.w.t.Helper()
	answered := make(chan result, 1)
	go func() { answered <- d.w.try("status", "--wait", "10s") }()
	select {
	case r := <-answered:
		if r.code != 0 {
			d.w.t.Fatalf("the daemon does not get ready: %v\n%s", r, d.Log.String())
		}
	case <-d.Ended:
		<-answered
		d.w.t.Fatalf("the daemon ended at once: %v\n%s", d.Cmd.ProcessState, d.Log.String())
	}
}

// result is what a command did.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("bridged %s: status %d\n%s%s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// try runs a command of the binary on the host.
func (w *world) try(args ...string) result {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := w.host.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{args: args, stderr: err.Error(), code: -1}
	}
	return result{args: args, stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// bridged runs a command that must succeed, and returns what it printed without the last newline.
func (w *world) bridged(args ...string) string {
	w.t.Helper()
	r := w.try(args...)
	if r.code != 0 {
		w.t.Fatal(r)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// fails runs a command that must end with this status, print no data, and say each of the words.
func (w *world) fails(code int, says []string, args ...string) {
	w.t.Helper()
	r := w.try(args...)
	if r.code != code {
		w.t.Errorf("want status %d: %v", code, r)
		return
	}
	if out := strings.TrimSpace(r.stdout); out != "" && out != "[]" {
		w.t.Errorf("a failure printed on stdout: %v", r)
	}
	for _, word := range says {
		if !strings.Contains(r.stderr, word) {
			w.t.Errorf("want %q in the message: %v", word, r)
		}
	}
}

// decode runs a command that prints JSON.
func decode[T any](w *world, args ...string) T {
	w.t.Helper()
	var v T
	text := w.bridged(args...)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		w.t.Fatalf("bridged %s printed no such JSON: %v\n%s", strings.Join(args, " "), err, text)
	}
	return v
}

// The JSON of the command line, as far as tests look at it.
type (
	sandboxJSON struct {
		ID       string `json:"Id"`
		Name     string
		Mode     string
		NetNS    string
		Networks map[string]endpointJSON
		Ports    map[string][]bindingJSON
	}
	endpointJSON struct {
		NetworkID, EndpointID, Interface, HostInterface, MacAddress, IPAddress string
		IPPrefixLen                                                            int
		Gateway, GlobalIPv6Address                                             string
		GlobalIPv6PrefixLen                                                    int
		IPv6Gateway                                                            string
	}
	bindingJSON struct{ HostIP, HostPort string }
	portJSON    struct{ Sandbox, Port, HostIP, HostPort string }
	statusJSON  struct {
		Ready                                                        bool
		Since                                                        time.Time
		Version, Protection, ICCBy                                   string
		Networks, Sandboxes, Endpoints, Ports, Transactions, Repairs int
		Warnings                                                     []string
	}
)

// inspect is `sandbox inspect` of one sandbox.
func (w *world) inspect(name string) sandboxJSON {
	w.t.Helper()
	all := decode[[]sandboxJSON](w, "sandbox", "inspect", name)
	if len(all) != 1 {
		w.t.Fatalf("sandbox inspect %s shows %d sandboxes", name, len(all))
	}
	return all[0]
}

// endpoint is a sandbox's endpoint on a network.
func (w *world) endpoint(sandbox, network string) endpointJSON {
	w.t.Helper()
	e, ok := w.inspect(sandbox).Networks[network]
	if !ok {
		w.t.Fatalf("sandbox %s is not on network %s", sandbox, network)
	}
	return e
}

// settled ends the test unless the kernel holds exactly what is desired.
func (w *world) settled() {
	w.t.Helper()
	if r := w.try("ruleset", "--diff"); r.code != 0 || strings.TrimSpace(r.stdout) != "" {
		w.t.Errorf("kernel and desired state differ: %v", r)
	}
}

// stateFiles are the daemon's files of the state directory and their content, to see that nothing was written.
func (w *world) stateFiles(t testing.TB) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := w.host.Do(func() error {
		return filepath.WalkDir(w.dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			files[path] = string(text)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
