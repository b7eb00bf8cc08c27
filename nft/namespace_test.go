package nft

import (
	"flag"
	"os"
	"os/exec"
	"runtime"
	"strconv"
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

// drawsTheSame lets rapid draw the same in every run, checks times, until the test ends. What the test holds the draws against is
// another program, nft or the kernel: a corner of it that nobody looked into yet is not to fail the build of who changed something
// else. Who looks for such corners gives flags of their own (seed 0 is a new one in every run):
//
//	go test ./nft -run 'AnyRule|Walk|RandomChanges' -rapid.seed=0 -rapid.checks=3000
func drawsTheSame(tb testing.TB, checks int) {
	tb.Helper()
	preset(tb, "rapid.seed", "RAPID_SEED", "1")
	preset(tb, "rapid.checks", "RAPID_CHECKS", strconv.Itoa(checks))
}

// preset is the value of a flag until the test ends, where neither the command line nor the environment has one.
func preset(tb testing.TB, name, env, value string) {
	tb.Helper()
	_, given := os.LookupEnv(env)
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	v := flag.Lookup(name).Value // flag.Set would make it one that was given
	old := v.String()
	if err := v.Set(value); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := v.Set(old); err != nil {
			tb.Error(err)
		}
	})
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
