package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/nstest"
)

// program is the path of the bridged that is tested; TestMain builds it. Nothing changes it afterwards.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bridged-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // some tests run the binary as nobody
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if program, err = nstest.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	before := mounts()
	code := m.Run()
	for _, left := range leftovers(dir, before) {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		code = 1
	}
	return code
}

// need ends or skips the test where the machine can't run it: without root, or without one of the tools.
func need(t testing.TB, tools ...string) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, tool := range append([]string{"ip", "nft"}, tools...) {
		if _, err := exec.LookPath(tool); err != nil {
			missing = tool
		}
	}
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("this test needs %s", missing)
	default:
		t.Skipf("this test needs %s", missing)
	}
}

// leftovers names the processes and mounts of the tests that are still there.
func leftovers(dir string, before map[string]bool) []string {
	var left []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	self := strconv.Itoa(os.Getpid())
	for _, p := range procs {
		exe, _ := os.Readlink(p + "/exe")
		stat, _ := os.ReadFile(p + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); strings.HasPrefix(exe, dir) || len(f) > 1 && f[1] == self {
			line, _ := os.ReadFile(p + "/cmdline")
			left = append(left, fmt.Sprintf("process %s: %s", filepath.Base(p), bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	for m := range mounts() {
		// Tests of other packages run at the same time and mount in their own directories.
		if !before[m] && strings.Contains(m, "nsfs") && (strings.Contains(m, " /run/") || strings.Contains(m, dir)) {
			left = append(left, "mount "+m)
		}
	}
	return left
}

func mounts() map[string]bool {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	all := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		all[line] = true
	}
	return all
}
