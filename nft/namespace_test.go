package nft

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newNamespace puts the test's goroutine into a network namespace of its own until the test ends. Nothing is left of it then.
func newNamespace(tb testing.TB) {
	tb.Helper()
	needs(tb, os.Geteuid() == 0, "root")
	runtime.LockOSThread()
	old, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := unix.Setns(old, unix.CLONE_NEWNET); err != nil {
			tb.Fatal(err)
		}
		unix.Close(old)
		runtime.UnlockOSThread()
	})
}

// needs skips the test when something is missing; under CI=true it fails.
func needs(tb testing.TB, ok bool, what string) {
	tb.Helper()
	switch {
	case ok:
	case os.Getenv("CI") == "true":
		tb.Fatal("needs " + what)
	default:
		tb.Skip("needs " + what)
	}
}

// nftTool runs the nft binary in the test's namespace, with its commands from standard input when there are some.
func nftTool(tb testing.TB, stdin string, args ...string) (string, error) {
	tb.Helper()
	path, err := exec.LookPath("nft")
	needs(tb, err == nil, "the nft binary")
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustNFT is nftTool for what has to work.
func mustNFT(tb testing.TB, stdin string, args ...string) string {
	tb.Helper()
	out, err := nftTool(tb, stdin, args...)
	if err != nil {
		tb.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
