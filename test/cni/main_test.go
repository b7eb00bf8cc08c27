package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bridged/bridged/internal/nstest"
)

// program is the path of the bridged that is tested, and plugins the directory in which it is bridged-cni.
var program, plugins string

func TestMain(m *testing.M) {
	os.Exit(nstest.Contain(func() int { return run(m) }))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bridged-cni-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if program, err = nstest.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	plugins = filepath.Join(dir, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Link(program, filepath.Join(plugins, "bridged-cni")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
