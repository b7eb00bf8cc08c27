package dockerengine

import (
	"fmt"
	"os"
	"testing"

	"github.com/bridged/bridged/internal/nstest"
)

// program is the path of the bridged that is tested; TestMain builds it. Nothing changes it afterwards.
var program string

func TestMain(m *testing.M) { os.Exit(nstest.Contain(func() int { return run(m) })) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bridged-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		program, err = nstest.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
