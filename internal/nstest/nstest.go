// Package nstest gives tests network namespaces of their own, and independent readers to hold results against.
package nstest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// NS is a network namespace of a test. It goes with the test.
type NS struct {
	t      testing.TB
	handle netns.NsHandle
}

// New makes a fresh namespace with nothing but a loopback, which is down. Without root it skips the test, or fails it in CI.
func New(t testing.TB) NS {
	t.Helper()
	NeedRoot(t)
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	n, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	back(t, home)
	return NS{t, n}
}

// back returns the thread; where that fails, no further test may run on it.
func back(t testing.TB, home netns.NsHandle) {
	if err := netns.Set(home); err != nil {
		t.Fatal("cannot return from a network namespace: ", err)
	}
	runtime.UnlockOSThread()
}

// NeedRoot skips the test without root, and fails it in CI.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

// NeedTool skips the test where a program is missing, and fails it in CI.
func NeedTool(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, "the program "+name)
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("the test needs %s", what)
	}
	t.Skipf("the test needs %s", what)
}

// FD is open on the namespace until the test ends.
func (n NS) FD() int { return int(n.handle) }

// Path is a file that programs can open the namespace by.
func (n NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.FD()) }

// Do runs f in the namespace, in this goroutine: f may end the test.
func (n NS) Do(f func()) {
	n.t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		n.t.Fatal(err)
	}
	defer home.Close()
	if err := netns.Set(n.handle); err != nil {
		n.t.Fatal(err)
	}
	defer back(n.t, home)
	f()
}

// Run runs a program in the namespace, given as words, and returns what it prints. The test ends when it fails.
func (n NS) Run(words string) string {
	n.t.Helper()
	out, err := n.Try(words)
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", words, err, out)
	}
	return out
}

// Try is Run for a program that may fail.
func (n NS) Try(words string) (output string, err error) {
	n.t.Helper()
	args := strings.Fields(words)
	NeedTool(n.t, args[0])
	n.Do(func() {
		var out []byte
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		output = string(out)
	})
	return output, err
}

// Read runs a program that prints a list in JSON, such as "ip -j link".
func Read[T any](n NS, words string) []T {
	n.t.Helper()
	var list []T
	out := n.Run(words)
	if strings.TrimSpace(out) == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		n.t.Fatalf("%s: %v\n%s", words, err, out)
	}
	return list
}
