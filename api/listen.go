package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// socketMode lets root and the socket's group in, nobody else.
const socketMode = 0o660

// dirMode of a directory that Listen makes: members of the group must find the socket in it.
const dirMode = 0o755

// Listen listens on the unix socket at path, and makes its directory when there is none. The socket belongs to root and to
// Group, where that exists, from its first moment. What a dead daemon left at path is replaced; a socket on which somebody
// listens, and anything that is no socket, is ErrConflict. Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, listenError(path, err)
	}
	// Two daemons that start at once must not remove each other's sockets: what is there is looked at and replaced under a
	// lock of the directory. A new socket is listened on before the lock goes.
	lock, err := lockDir(dir)
	if err != nil {
		return nil, listenError(path, err)
	}
	defer lock.Close()
	if err := removeStale(path); err != nil {
		return nil, listenError(path, err)
	}
	listener, err := listenPrivate(path)
	if err != nil {
		return nil, listenError(path, err)
	}
	return listener, nil
}

func listenError(path string, err error) error {
	err = fmt.Errorf("cannot listen on the socket %s: %w", path, err)
	if errors.Is(err, fs.ErrPermission) {
		return bridged.Errorf(bridged.ErrDenied, "%w; run as root, or choose another --socket", err)
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

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
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
	return os.Remove(path)
}

// listenPrivate makes the socket so that at no time anybody else could connect: a socket's mode is set before bind (unix(7):
// Linux takes the file's permissions from it), its group before anybody waits at it.
func listenPrivate(path string) (net.Listener, error) {
	var config net.ListenConfig
	config.Control = func(_, _ string, c syscall.RawConn) error {
		var errno error
		if err := c.Control(func(fd uintptr) { errno = unix.Fchmod(int(fd), socketMode) }); err != nil {
			return err
		}
		return errno
	}
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := setOwner(path); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// setOwner gives the socket to the group and sets the bits that the umask took.
func setOwner(path string) error {
	if gid, ok := groupID(); ok {
		if err := os.Chown(path, -1, int(gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, socketMode)
}
