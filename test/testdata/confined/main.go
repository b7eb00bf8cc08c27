// Command confined tries, one after the other, what the daemon must not be able to do, and prints the errors as
// "THREAD NAME: ERROR", THREAD being old for one that was there before. With the argument "restricted" it gives up first what the daemon does. All arguments of the calls are such
// that nothing happens where they are allowed.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/privilege"
)

// nobody is no process and no file.
const nobody = ^uintptr(0)

type attempt struct {
	name string
	do   func() error
}

func call(name string, number, a1, a2, a3 uintptr) attempt {
	return attempt{name, func() error {
		if _, _, errno := unix.Syscall(number, a1, a2, a3); errno != 0 {
			return errno
		}
		return nil
	}}
}

// start makes a process that ends at once.
func start(name string, number, a1 uintptr) attempt {
	return attempt{name, func() error {
		pid, _, errno := unix.RawSyscall6(number, a1, 0, 0, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		_, err := unix.Wait4(int(pid), nil, 0, nil)
		return err
	}}
}

func attempts() []attempt {
	return append([]attempt{
		{"command", func() error { return exec.Command("/proc/self/exe", "nothing").Run() }},
		call("execve", unix.SYS_EXECVE, 0, 0, 0),
		call("execveat", unix.SYS_EXECVEAT, nobody, 0, 0),
		start("clone", unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
		call("clone3", unix.SYS_CLONE3, 0, 0, 0),
		call("ptrace", unix.SYS_PTRACE, unix.PTRACE_ATTACH, nobody, 0),
		call("process_vm_readv", unix.SYS_PROCESS_VM_READV, nobody, 0, 0),
		call("process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, nobody, 0, 0),
		call("pidfd_getfd", unix.SYS_PIDFD_GETFD, nobody, 0, 0),
		call("bpf", unix.SYS_BPF, nobody, 0, 0),
		call("init_module", unix.SYS_INIT_MODULE, 0, 0, 0),
		call("finit_module", unix.SYS_FINIT_MODULE, nobody, 0, 0),
		call("delete_module", unix.SYS_DELETE_MODULE, 0, 0, 0),
		call("kexec_load", unix.SYS_KEXEC_LOAD, 0, nobody, 0),
		call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, 0, nobody, nobody),
		call("io_uring_setup", unix.SYS_IO_URING_SETUP, 0, 0, 0),
		call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, nobody, 0, 0),
		// A thread of several can't do it: EINVAL.
		call("unshare user", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0),
		// What the daemon does.
		call("unshare net", unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0),
		{"thread", func() error {
			done := make(chan error)
			go func() { runtime.LockOSThread(); done <- nil }() // never unlocked: the thread ends
			return <-done
		}},
	}, attemptsHere()...)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "nothing" {
		return
	}
	restricted, done := make(chan struct{}), make(chan struct{})
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(ready)
		<-restricted
		try("old")
		done <- struct{}{}
	}()
	<-ready
	if len(os.Args) > 1 && os.Args[1] == "restricted" {
		if left := privilege.Restrict(); len(left) > 0 {
			fmt.Println(errors.Join(left...))
			os.Exit(1)
		}
	}
	close(restricted)
	<-done
	go func() {
		runtime.LockOSThread()
		try("new")
		done <- struct{}{}
	}()
	<-done
}

func try(thread string) {
	for _, a := range attempts() {
		var errno unix.Errno
		switch err := a.do(); {
		case err == nil:
			fmt.Println(thread, a.name+": ok")
		case errors.As(err, &errno):
			fmt.Println(thread, a.name+":", unix.ErrnoName(errno))
		default:
			fmt.Println(thread, a.name+":", err)
		}
	}
}
