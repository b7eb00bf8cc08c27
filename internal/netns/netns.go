// Package netns opens, makes, removes and enters network namespaces.
package netns

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is an open network namespace. It is safe for concurrent use, except Close.
type NS struct {
	handle   netns.NsHandle
	dev, ino uint64
	// current: it was a thread's when it was opened, and is likely to be that of others.
	current bool
}

// Open opens the namespace at path, such as /run/netns/NAME or /proc/PID/ns/net. What else may be at path is not opened, so
// that no device or pipe notices.
//
// Errors: unix.ENOENT and what else looking up a path gives; unix.EINVAL: it is no network namespace.
func Open(path string) (*NS, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return nil, fmt.Errorf("cannot open network namespace %s: %w", path, err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return nil, noNamespace(path)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open network namespace %s: %w", path, err)
	}
	ns, err := from(netns.NsHandle(fd))
	if err != nil {
		return nil, noNamespace(path)
	}
	return ns, nil
}

func noNamespace(path string) error {
	return fmt.Errorf("%s is no network namespace: %w", path, unix.EINVAL)
}

// OpenPID opens the namespace of a process: unix.ESRCH when there is no such process, or it has exited.
func OpenPID(pid int) (*NS, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("%d is no process id: %w", pid, unix.ESRCH)
	}
	h, err := netns.GetFromPid(pid)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("process %d does not exist, or has exited: %w", pid, unix.ESRCH)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the network namespace of process %d: %w", pid, err)
	}
	return from(h)
}

// Current opens the calling thread's namespace.
func Current() (*NS, error) {
	h, err := netns.GetFromPath(thread)
	if err != nil {
		return nil, fmt.Errorf("cannot open the current network namespace: %w", err)
	}
	n, err := from(h)
	if err == nil {
		n.current = true
	}
	return n, err
}

// thread is the calling thread's namespace.
const thread = "/proc/thread-self/ns/net"

// from takes over an open file, and closes it when it is no network namespace.
func from(h netns.NsHandle) (*NS, error) {
	kind, err := unix.IoctlRetInt(int(h), unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWNET {
		err = unix.EINVAL
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(h), &st)
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("cannot identify a network namespace: %w", err)
	}
	return &NS{handle: h, dev: st.Dev, ino: st.Ino}, nil
}

// FD is the file descriptor, valid until Close.
func (n *NS) FD() int { return int(n.handle) }

// ID is device and inode number of the namespace's file, which tell it from all other namespaces that exist now. Numbers come
// back after a namespace died.
func (n *NS) ID() (dev, ino uint64) { return n.dev, n.ino }

// Close closes the descriptor; the namespace lives on as long as something else holds it.
func (n *NS) Close() error { return n.handle.Close() }
