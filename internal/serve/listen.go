package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// Access says who may connect to a socket besides root, which owns it.
type Access struct {
	// Mode are the permissions of the socket's file.
	Mode fs.FileMode
	// Group is the file's group, where it exists; "": root's.
	Group string
}

// dirMode is that of a directory that Listen makes: whoever may connect must find the socket in it, and nobody else need. Others may keep
// there what is theirs, as Docker's engine does in /run/docker.
func (a Access) dirMode() fs.FileMode {
	if a.Mode&0o077 == 0 {
		return 0o700
	}
	return 0o755
}

// Listen listens on the unix socket at path, and makes its directory when there is none. Somebody listens behind the path from the first moment that it
// is there, and nobody else than access says can connect: the socket is made beside it and renamed. So what a dead daemon left at path is replaced
// at once; a socket on which somebody listens, and anything that is no socket, is ErrConflict. Closing the listener removes the socket.
func Listen(path string, access Access) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, access.dirMode()); err != nil {
		return nil, listenError(path, err)
	}
	// Two daemons that start at once must not remove each other's sockets: what is there is looked at and replaced under a
	// lock of the directory.
	lock, err := lockDir(dir)
	if err != nil {
		return nil, listenError(path, err)
	}
	defer lock.Close()
	if err := checkStale(path); err != nil {
		return nil, listenError(path, err)
	}
	l, err := listenBeside(path, access)
	if err != nil {
		return nil, listenError(path, err)
	}
	return l, nil
}

func listenError(path string, err error) error {
	err = fmt.Errorf("cannot listen on the socket %s: %w", path, err)
	if errors.Is(err, fs.ErrPermission) {
		return bridged.Errorf(bridged.ErrDenied, "%w; run as root, or choose another path", err)
	}
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) {
		return bridged.Errorf(bridged.ErrUnavailable, "%w: free some space there, or make it writable", err)
	}
	return err
}

// lockDir takes a lock of the directory that goes when the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, bridged.Errorf(bridged.ErrConflict, "another process is making a socket in %s just now", dir)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return f, nil
}

// checkStale refuses a path where there is anything but a socket that nobody listens on.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return bridged.Errorf(bridged.ErrConflict, "the file exists and is no socket")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return bridged.Errorf(bridged.ErrConflict, "another daemon is listening on it")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}

// listenBeside listens on a socket beside path, and puts it there when it is as it must be.
func listenBeside(path string, access Access) (net.Listener, error) {
	beside := besideName(path)
	if err := checkStale(beside); err != nil {
		return nil, fmt.Errorf("%s is in the way: %w", beside, err)
	}
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := listenPrivate(beside, access)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(beside)
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		l.Close()
		return nil, errors.Join(err, os.Remove(beside))
	}
	return &listener{UnixListener: l, path: path, info: info}, nil
}

// maxPath is the longest path of a socket, in bytes: sun_path of unix(7), less the final zero.
const maxPath = 107

// besideName is another path in the same directory, no longer than one can be. The kernel goes on to show a socket by it (ss -x), so it says which it is.
func besideName(path string) string {
	if len(path) < maxPath {
		return path + "~"
	}
	if last := len(path) - 1; path[last] != '~' {
		return path[:last] + "~"
	}
	return path[:len(path)-1] + "="
}

// listenPrivate makes the socket so that at no time anybody else could connect: a socket's mode is set before bind (unix(7):
// Linux takes the file's permissions from it), its group before anybody waits at it.
func listenPrivate(path string, access Access) (*net.UnixListener, error) {
	var config net.ListenConfig
	config.Control = func(_, _ string, c syscall.RawConn) error {
		var errno error
		if err := c.Control(func(fd uintptr) { errno = unix.Fchmod(int(fd), uint32(access.Mode)) }); err != nil {
			return err
		}
		return errno
	}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := access.apply(path); err != nil {
		l.Close()
		return nil, err
	}
	ul := l.(*net.UnixListener) // of the network "unix"
	ul.SetUnlinkOnClose(false)
	return ul, nil
}

// apply gives the socket to the group and sets the bits that the umask took.
func (a Access) apply(path string) error {
	if gid, ok := groupID(a.Group); ok && a.Group != "" {
		if err := os.Chown(path, -1, int(gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, a.Mode)
}

// listener is a socket that was renamed: it is removed where it is now.
type listener struct {
	*net.UnixListener
	path  string
	info  fs.FileInfo // of the socket's file
	close sync.Once
}

// Addr is where the socket is.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close removes the socket, unless another one is at its path by now.
func (l *listener) Close() error {
	l.close.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
			_ = os.Remove(l.path) // what stays is replaced by the next one
		}
	})
	return l.UnixListener.Close()
}
