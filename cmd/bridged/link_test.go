package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoProcesses: nothing that is linked in can start a process, and the program builds without C.
func TestNoProcesses(t *testing.T) {
	list := exec.Command("go", "list", "-deps", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/bridged/bridged/engine") {
		t.Errorf("the list of packages is not right: %s", out)
	}
	for _, forbidden := range []string{"os/exec", "runtime/cgo", "testing"} {
		if slices.Contains(deps, forbidden) {
			t.Errorf("%s is linked in", forbidden)
		}
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(t.TempDir(), "bridged"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("go build: %v\n%s", err, out)
	}
}
