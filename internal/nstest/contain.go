package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// contained is set in the processes of a container of tests: to its init, then to the tests themselves.
const contained = "BRIDGED_TEST_CONTAINED"

// Contain runs the tests of a package, for its TestMain, in a process and a mount namespace of their own, with an empty /run: whatever they
// start, daemons of daemons too, ends with them, however they end. Processes that tests leave behind fail them. Without root it just runs
// them. It returns the status that the process ends with.
func Contain(run func() int) int {
	if os.Geteuid() != 0 {
		return run()
	}
	switch os.Getenv(contained) {
	case "":
		status, err := again("init", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL})
		return ended(status, err)
	case "init":
		err := errors.Join(
			unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount("proc", "/proc", "proc", 0, ""),
			unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"),
		)
		if err != nil {
			return ended(0, fmt.Errorf("cannot contain the tests: %w", err))
		}
		return ended(again("tests", nil))
	}
	code := run()
	for _, p := range Processes() {
		fmt.Fprintf(os.Stderr, "left behind: process %s\n", p)
		code = 1
	}
	return code
}

func ended(status syscall.WaitStatus, err error) int {
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	case status.Signaled():
		fmt.Fprintln(os.Stderr, "the tests ended:", status.Signal())
		return 1
	}
	return status.ExitStatus()
}

// again runs this program once more, and reaps whatever ends until it does: orphans come to an init.
func again(role string, attr *syscall.SysProcAttr) (status syscall.WaitStatus, err error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), contained+"="+role)
	cmd.SysProcAttr = attr
	runtime.LockOSThread() // Pdeathsig is about the thread
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for {
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if pid == cmd.Process.Pid || err != nil && err != syscall.EINTR {
			return status, err
		}
	}
}

// Process is a process of contained tests.
type Process struct {
	PID     int
	Command string
}

func (p Process) String() string { return fmt.Sprintf("%d: %s", p.PID, p.Command) }

// Processes are those of contained tests that run now, but for the tests' own.
func Processes() (all []Process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		line, err := os.ReadFile(dir + "/cmdline")
		if err == nil && pid != 1 && pid != os.Getpid() {
			all = append(all, Process{pid, strings.ReplaceAll(string(line), "\x00", " ")})
		}
	}
	return all
}

// Kill ends a process and waits for that; one that has ended is left alone.
func (p Process) Kill() error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return nil
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return err
		}
	}
}
