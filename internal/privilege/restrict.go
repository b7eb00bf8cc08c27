package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Restrict gives up what the package's documentation says, in all threads and for good. It returns what could not be given up and why; the rest
// is gone. None of it is a reason not to run: the data path does not depend on it.
func Restrict() []error {
	var left []error
	if err := dropCapabilities(keptSet()); err != nil {
		left = append(left, fmt.Errorf("the daemon keeps more privileges than it needs: %w", err))
	}
	if err := refuseProcesses(); err != nil {
		left = append(left, fmt.Errorf("nothing keeps the daemon from starting processes: %w", err))
	}
	return left
}

// refuseProcesses sets no_new_privs and installs the filter. The kernel sets both in the other threads too (seccomp_sync_threads,
// kernel/seccomp.c).
func refuseProcesses() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot set no_new_privs: %w", err)
	}
	err := installFilter()
	if err != nil { // then nobody tells the other threads
		if e := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); e != nil {
			err = errors.Join(err, fmt.Errorf("cannot set no_new_privs: %w", e))
		}
	}
	return err
}

// installFilter puts the filter before every thread.
func installFilter() error {
	program := filter()
	if len(program) == 0 {
		return fmt.Errorf("there is no system call filter for %s", runtime.GOARCH)
	}
	// Without SPEC_ALLOW (Linux 4.17) kernels before 5.16 switch mitigations on that slow the whole process down; they are for programs that
	// run code of others.
	err := seccomp(program, unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	if errors.Is(err, unix.EINVAL) {
		err = seccomp(program, unix.SECCOMP_FILTER_FLAG_TSYNC)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("this kernel has no system call filters (CONFIG_SECCOMP_FILTER): %w", err)
	}
	return err
}

func seccomp(program []unix.SockFilter, flags uintptr) error {
	prog := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(prog)))
	runtime.KeepAlive(program)
	switch {
	case errno != 0:
		return errno
	case thread != 0:
		return fmt.Errorf("thread %d has a system call filter of its own", thread)
	}
	return nil
}
