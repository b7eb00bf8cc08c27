package serve_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// connectAs connects a user with supplementary groups to a socket that is open to everybody, and returns the server's end.
func connectAs(t *testing.T, uid int, groups ...uint32) *net.UnixConn {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, to connect as others")
		}
		t.Skip("needs root, to connect as others")
	}
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, mode := range map[string]os.FileMode{dir: 0o755, path: 0o777} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, with its user, ends with the goroutine
		errs <- connectOn(path, uid, groups)
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// connectOn changes the calling thread's user and connects. The connection is closed again: the kernel keeps who it was.
func connectOn(path string, uid int, groups []uint32) error {
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); errno != 0 {
		return errno
	}
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, errno := unix.RawSyscall(call, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			return errno
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// TestStrangersMayNotChange: on a socket that somebody has opened to all, root may change things and others may not.
func TestStrangersMayNotChange(t *testing.T) {
	if err := serve.MayChange(connectAs(t, 0), ""); err != nil {
		t.Errorf("root: %v", err)
	}
	err := serve.MayChange(connectAs(t, 65534), "bridged")
	if want := "denied: user 65534 may not change anything: be root or a member of the group bridged"; !errors.Is(err, bridged.ErrDenied) || err.Error() != want {
		t.Errorf("a stranger: %v", err)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if err := serve.MayChange(ours, "bridged"); !errors.Is(err, bridged.ErrDenied) {
		t.Errorf("what is no unix socket: %v", err)
	}
}

func TestPeerGroups(t *testing.T) {
	many := make([]uint32, 300) // more than the buffer that is tried first
	for i := range many {
		many[i] = uint32(70000 + i)
	}
	for _, want := range [][]uint32{{}, {4242}, {4242, 4243}, many} {
		have, err := serve.PeerGroups(connectAs(t, 65534, want...))
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("have %v, %v, want %v", have, err, want)
		}
	}
}
