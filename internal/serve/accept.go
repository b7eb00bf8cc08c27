package serve

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptPause is how long nobody is let in when there is no file descriptor for another connection, and none can be had.
const acceptPause = 100 * time.Millisecond

// acceptor is a listener whose connections are limited, and that goes on when no file can be opened. It keeps a descriptor for that:
// with this it takes the connection, and then one of those that wait is closed to have another to keep.
type acceptor struct {
	net.Listener
	conns *conns
	spare int // a file descriptor; -1: none
}

func newAcceptor(l net.Listener, c *conns) *acceptor {
	a := &acceptor{Listener: l, conns: c, spare: -1}
	a.keepSpare()
	return a
}

// keepSpare takes a descriptor, unless there is one.
func (a *acceptor) keepSpare() bool {
	if a.spare >= 0 {
		return true
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // the cheapest file that needs no path
	if err != nil {
		return false
	}
	a.spare = fd
	return true
}

// useSpare gives the descriptor back, and reports whether there was one.
func (a *acceptor) useSpare() bool {
	if a.spare < 0 {
		return false
	}
	_ = unix.Close(a.spare) // there is nothing to lose
	a.spare = -1
	return true
}

// Accept waits for the next connection. Only one goroutine calls it.
func (a *acceptor) Accept() (net.Conn, error) {
	for {
		nc, err := a.Listener.Accept()
		switch {
		case err == nil:
			uc, ok := nc.(*net.UnixConn)
			if !ok {
				nc.Close()
				return nil, fmt.Errorf("%s is no unix socket", a.Addr())
			}
			c := a.conns.newConn(uc)
			a.conns.add(c, openFiles())
			if !a.keepSpare() && a.conns.giveUp(c) {
				a.keepSpare()
			}
			return c, nil
		case noDescriptor(err) && !a.someoneWaits():
		case noDescriptor(err) && (a.useSpare() || a.conns.giveUp(nil)):
		case noDescriptor(err), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			a.conns.stuck(err)
			time.Sleep(acceptPause)
		default:
			a.useSpare()
			return nil, err
		}
	}
}

// someoneWaits reports whether somebody wants to be let in, now or within the pause: accept(2) asks for a descriptor first, and where there is
// none it says so although nobody has come, for whom none must be given up.
func (a *acceptor) someoneWaits() bool {
	l, ok := a.Listener.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return true
	}
	waits := true // also when the listener is closed: Accept says so
	_ = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(acceptPause.Milliseconds()))
		waits = n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	return waits
}

// noDescriptor reports whether an operation failed because too many files are open, by this process or by all.
func noDescriptor(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }
