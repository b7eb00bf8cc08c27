//go:build amd64 || arm64

package privilege

import (
	"testing"

	"golang.org/x/sys/unix"
)

// verdict runs a program as the kernel does (net/core/filter.c), with the few instructions that it may have.
func verdict(t *testing.T, program []unix.SockFilter, arch, number uint32, arg uint64) uint32 {
	t.Helper()
	data := map[uint32]uint32{offsetNumber: number, offsetArch: arch, offsetFlags: uint32(arg), offsetFlags + 4: uint32(arg >> 32)}
	var a uint32
	for i := 0; i < len(program); i++ {
		in := program[i]
		var met bool
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = data[in.K]
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			met = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			met = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			met = a&in.K != 0
		default:
			t.Fatalf("instruction %d is %+v", i, in)
		}
		if met {
			i += int(in.Jt)
		} else {
			i += int(in.Jf)
		}
	}
	t.Fatal("the program has no end")
	return 0
}

// TestFilter holds the program against the lists, for every number.
func TestFilter(t *testing.T) {
	const (
		eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		allow  = unix.SECCOMP_RET_ALLOW
		// goThread is what Go's runtime makes threads with (cloneFlags, runtime/os_linux.go).
		goThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	)
	program := filter()
	never := make(map[uint32]bool)
	for _, number := range refused() {
		if never[number] {
			t.Errorf("system call %d is in the list twice", number)
		}
		never[number] = true
	}
	for number := range uint32(1024) {
		want := uint32(allow)
		switch {
		case never[number], number == unix.SYS_CLONE:
			want = eperm
		case number == unix.SYS_CLONE3:
			want = enosys
		}
		if got := verdict(t, program, auditArch, number, 0); got != want {
			t.Errorf("system call %d: %#x, want %#x", number, got, want)
		}
	}
	for _, tt := range []struct {
		name         string
		arch, number uint32
		arg          uint64
		want         uint32
	}{
		{"a process", auditArch, unix.SYS_CLONE, uint64(unix.SIGCHLD), eperm},
		{"a process that shares everything", auditArch, unix.SYS_CLONE, goThread &^ unix.CLONE_THREAD, eperm},
		{"a process in the upper half", auditArch, unix.SYS_CLONE, unix.CLONE_THREAD << 32, eperm},
		{"a thread", auditArch, unix.SYS_CLONE, goThread, allow},
		{"a network namespace", auditArch, unix.SYS_UNSHARE, unix.CLONE_NEWNET, allow},
		{"a user namespace", auditArch, unix.SYS_UNSHARE, unix.CLONE_NEWNET | unix.CLONE_NEWUSER, eperm},
		{"a 32 bit program's getpid", unix.AUDIT_ARCH_I386, 20, 0, eperm},
		{"another processor's", unix.AUDIT_ARCH_ARM, unix.SYS_GETPID, 0, eperm},
		{"x32's execve", auditArch, 0x4000_0000 | 520, 0, eperm},
		{"x32's getpid", auditArch, 0x4000_0000 | unix.SYS_GETPID, 0, eperm},
		{"a number that a tracer gave", auditArch, 0xffff_ffff, 0, eperm},
	} {
		if got := verdict(t, program, tt.arch, tt.number, tt.arg); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}
