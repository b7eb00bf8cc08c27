package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Program is the package of the binary.
const Program = "github.com/bridged/bridged/cmd/bridged"

// Build makes the binary in a directory as the Makefile does: static. BRIDGED_TEST_RACE=1 makes one with the race detector instead.
func Build(dir string) (program string, err error) {
	program = filepath.Join(dir, "bridged")
	args := []string{"build", "-buildvcs=false", "-tags", "nethttpomithttp2,purego", "-o", program}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv("BRIDGED_TEST_RACE") == "1" {
		args = append(args, "-race")
		env = append(os.Environ(), "CGO_ENABLED=1")
	}
	cmd := exec.Command("go", append(args, Program)...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build bridged: %w\n%s", err, out)
	}
	return program, nil
}
