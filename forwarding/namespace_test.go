package forwarding_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs f in a network namespace that goes when f returns.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root")
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatalf("cannot make a network namespace: %v", err)
	}
}

// need skips the test where something that it needs is missing; in CI nothing may be.
func need(t *testing.T, there bool, what string) {
	t.Helper()
	if there {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs %s", what)
	}
	t.Skipf("this test needs %s", what)
}

// nftTool runs the nft binary in the calling thread's namespace, with input on its standard input.
func nftTool(t *testing.T, input string, args ...string) string {
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
