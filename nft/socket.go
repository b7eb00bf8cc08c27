package nft

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket: datagrams to the kernel, which has dealt with them when send returns, and its answers.
type socket interface {
	// send hands over one datagram. An error says that the kernel has not looked at it.
	send(datagram []byte) error
	// receive reads one datagram; EAGAIN when there is none, ENOBUFS when some were lost.
	receive(b []byte) (int, error)
	// port is the socket's netlink port number: the owner of its tables.
	port() uint32
	// duplicate is a further descriptor of the socket.
	duplicate() (int, error)
	close() error
}

// Socket options of linux/netlink.h.
const (
	netlinkExtAck = unix.NETLINK_EXT_ACK
	netlinkCapAck = unix.NETLINK_CAP_ACK
)

const (
	// sendBuffer bounds one transaction, receiveBuffer the errors of one: an error takes about 1 KiB of it.
	sendBuffer    = 64 << 20
	receiveBuffer = 8 << 20
)

// netlinkSocket never blocks: the kernel answers before send returns.
type netlinkSocket struct {
	fd     int
	portID uint32
}

// dialNetlink opens a socket in the calling thread's network namespace.
func dialNetlink() (*netlinkSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, probeError(err)
	}
	s := &netlinkSocket{fd: fd}
	if err := s.setUp(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot set up a netfilter socket: %w", err)
	}
	return s, nil
}

func (s *netlinkSocket) setUp() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return err
	}
	s.portID = name.(*unix.SockaddrNetlink).Pid
	s.grow()
	return nil
}

// grow asks for better and smaller messages, and room for many of them: no transaction of few elements depends on it.
func (s *netlinkSocket) grow() {
	unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, netlinkExtAck, 1)
	unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, netlinkCapAck, 1)
	setBuffer(s.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	setBuffer(s.fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer)
}

// setBuffer asks for more than net.core.[rw]mem_max, which a user namespace may not, and then for what it may have.
func setBuffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

func (s *netlinkSocket) send(datagram []byte) error {
	_, err := unix.Write(s.fd, datagram)
	return err
}

func (s *netlinkSocket) receive(b []byte) (int, error) { return unix.Read(s.fd, b) }

func (s *netlinkSocket) port() uint32 { return s.portID }

func (s *netlinkSocket) close() error { return unix.Close(s.fd) }
