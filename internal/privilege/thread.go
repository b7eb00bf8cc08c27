package privilege

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrCgo: C code may have started threads that Go can't make system calls in. Builds with the race detector are so.
var ErrCgo = errors.New("this program is built with cgo: build it with CGO_ENABLED=0")

// allThreads makes a system call in every thread of the process.
func allThreads(trap, a1, a2 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(trap, a1, a2, 0)
	return threadsError(errno)
}

func threadsError(errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOTSUP: // of AllThreadsSyscall itself
		return ErrCgo
	}
	return errno
}

// setCapabilities makes s the permitted and the effective set of every thread, and the inheritable one empty.
func setCapabilities(s set) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	words := new([2]unix.CapUserData)
	for i := range words {
		word := uint32(s >> (32 * i))
		words[i] = unix.CapUserData{Effective: word, Permitted: word}
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(&words[0])), 0)
	return threadsError(errno)
}
