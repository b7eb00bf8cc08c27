package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A table belongs to a socket, not to a process: while somebody has the socket open, the table is owned. So a daemon that is replaced hands
// its writer's socket on (to its successor, or to systemd in between), and there is no time at which anybody could change the tables.
//
//	w, _ := Dial(Options{})                  file, _ := w.Socket() ──► the next process ──► Dial(Options{Socket: file})

// ErrUnfitSocket: [Options.Socket] can't be the writer's socket. Without it Dial opens one of its own.
var ErrUnfitSocket = errors.New("the socket that was handed on can't be used")

// Socket is the writer's socket, to be handed on to another process. The file is the caller's to close; the tables stay owned as long as
// it or the Writer is open. Two writers must not use a socket at the same time.
func (w *Writer) Socket() (*os.File, error) {
	r, err := w.turn(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	if !r.lead {
		return nil, w.release(r)
	}
	defer w.endTurn(r)
	fd, err := w.conn.socket.duplicate()
	if err != nil {
		return nil, fmt.Errorf("cannot hand on the nf_tables socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "nf_tables"), nil
}

// inheritNetlink makes a socket of a descriptor from an earlier process, with a descriptor of its own.
func inheritNetlink(f *os.File) (*netlinkSocket, error) {
	s := &netlinkSocket{fd: -1}
	err := control(f, func(fd uintptr) (err error) {
		s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = s.takeOver()
	}
	if err != nil {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnfitSocket, err)
	}
	return s, nil
}

func control(f syscall.Conn, do func(fd uintptr) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(fd) }); err != nil {
		return err
	}
	return inner
}

// takeOver checks that the socket is one for nf_tables in this namespace, and empties it.
func (s *netlinkSocket) takeOver() error {
	for _, want := range []struct {
		option, value int
		what          string
	}{
		{unix.SO_DOMAIN, unix.AF_NETLINK, "it is not a netlink socket"},
		{unix.SO_PROTOCOL, unix.NETLINK_NETFILTER, "it is not a netfilter socket"},
	} {
		v, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, want.option)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", want.what, err)
		case v != want.value:
			return errors.New(want.what)
		}
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return err
	}
	s.portID = name.(*unix.SockaddrNetlink).Pid
	if s.portID == 0 {
		return errors.New("it is not bound")
	}
	if err := s.sameNamespace(); err != nil {
		return err
	}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return err
	}
	s.grow()
	return s.drain()
}

// sameNamespace compares with a new socket: cookies of namespaces never come back, and Linux has them since 5.14.
func (s *netlinkSocket) sameNamespace() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	here, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return fmt.Errorf("cannot tell its network namespace: %w", err)
	}
	there, err := unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return fmt.Errorf("cannot tell its network namespace: %w", err)
	}
	if here != there {
		return errors.New("it belongs to another network namespace")
	}
	return nil
}

// drain throws away answers that nobody read.
func (s *netlinkSocket) drain() error {
	var b [unix.SizeofNlMsghdr]byte // the rest of each is cut off
	for {
		_, err := s.receive(b[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS):
			return err
		}
	}
}

// duplicate is a further descriptor of the socket.
func (s *netlinkSocket) duplicate() (int, error) {
	return unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
}
