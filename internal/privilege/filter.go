//go:build amd64 || arm64

package privilege

import "golang.org/x/sys/unix"

// refused are system calls that fail with EPERM whatever their arguments. Numbers of one processor only are in refusedHere.
func refused() []uint32 {
	return append([]uint32{
		// Starting a program. Go's runtime makes threads with clone, see filter.
		unix.SYS_EXECVE, unix.SYS_EXECVEAT,
		// Other processes: their memory, registers and files. kcmp and process_madvise go with them.
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
		unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
		// Code for the kernel.
		unix.SYS_BPF, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		// Calls that no filter sees (io_uring), and calls that make the kernel start a program (/sbin/request-key).
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_REQUEST_KEY, unix.SYS_ADD_KEY, unix.SYS_KEYCTL,
		// The machine as a whole.
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_PERSONALITY,
		// Files past every directory and mount, with CAP_DAC_READ_SEARCH.
		unix.SYS_OPEN_BY_HANDLE_AT,
	}, refusedHere()...)
}

// Offsets in struct seccomp_data (linux/seccomp.h), and an argument's lower half on a little-endian processor.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetFlags  = 16 // of clone and unshare: the first argument
)

// filter is the program that the kernel asks about every system call:
//
//	of another processor's or another ABI's numbers   EPERM
//	refused                                           EPERM
//	clone without CLONE_THREAD                        EPERM: it makes a process
//	unshare with CLONE_NEWUSER                        EPERM: there the process has every capability
//	clone3                                            ENOSYS: its flags are in memory, which a filter does not see, and C libraries know what
//	                                                  to do on a kernel without it
//	all others                                        allowed
func filter() []unix.SockFilter {
	var (
		allow = ret(unix.SECCOMP_RET_ALLOW)
		eperm = ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	)
	p := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0), eperm,
		load(offsetNumber),
		jump(unix.BPF_JGE, firstForeign, 0, 1), eperm,
	}
	for _, number := range refused() {
		p = append(p, jump(unix.BPF_JEQ, number, 0, 1), eperm)
	}
	return append(p,
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(offsetFlags),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1), allow, eperm,
		jump(unix.BPF_JEQ, unix.SYS_UNSHARE, 0, 3),
		load(offsetFlags),
		jump(unix.BPF_JSET, unix.CLONE_NEWUSER, 0, 1), eperm,
		allow,
	)
}

// load puts the 32 bits at an offset of struct seccomp_data into the accumulator.
func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump compares the accumulator with k and passes over some instructions.
func jump(how uint16, k uint32, whenTrue, whenFalse uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, Jt: whenTrue, Jf: whenFalse, K: k}
}

// ret ends the program.
func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
