package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// private is set in the process that has a mount namespace of its own.
const private = "BRIDGED_TEST_PRIVATE_MOUNTS"

// PrivateMounts runs the tests of a package, for its TestMain, in a mount namespace of their own with an empty /run: none of their mounts is seen
// outside, and nobody outside copies one and so keeps a namespace alive. Without root it just runs them. It ends the process.
func PrivateMounts(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(private) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), private+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // Pdeathsig is about the thread
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for _, err := range []error{
		unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, ""),
	} {
		if err != nil {
			fmt.Fprintln(os.Stderr, "cannot make private mounts: ", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
