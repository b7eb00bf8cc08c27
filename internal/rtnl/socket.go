// Package rtnl speaks rtnetlink for packages addr and link: requests, many to a datagram, whose answers are matched by
// sequence number; dumps with buffers that keep them linear; and subscriptions.
package rtnl

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Socket is an rtnetlink socket for requests. It is safe for concurrent use: one request runs at a time.
//
// The kernel works a request off inside the system call that sends it, and its answers are there when that returns. So nothing
// ever waits for an answer, and there is no time-out.
type Socket struct {
	mu  sync.Mutex
	fd  int // −1: closed
	seq uint32
	// answers is large enough for any single answer: an acknowledgement, an echo, a link. It is made when the first is received.
	answers []byte
}

// Dial opens a Socket in the calling thread's network namespace. It makes three system calls.
func Dial() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("cannot open an rtnetlink socket: %w", err)
	}
	// Kernels without these (before 4.12) answer with less text and more bytes, which is all right.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &Socket{fd: fd}, nil
}

// GrowBuffers makes room for batches and answers of that many bytes, as far as the kernel allows it.
func (s *Socket) GrowBuffers(bytes int) {
	for _, opt := range [][2]int{{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, opt[0], bytes) != nil {
			unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, opt[1], bytes)
		}
	}
}

// Close closes the socket. A second Close does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return unix.Close(fd)
}

// Index is the index of the link with that name, in the socket's namespace: unix.ENODEV when there is none. It costs a
// microsecond, where RTM_GETLINK costs ten.
func (s *Socket) Index(name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

// Failure is the error of one message of a batch.
type Failure struct {
	// Message counts the batch's messages from 0.
	Message int
	Err     error
}

// Do sends the batch as one datagram. The kernel runs each message, also those behind one that failed; failures are in the
// order of the messages. What else the kernel answers (echoes, objects that were asked for) goes to reply, which may be nil; it
// must not keep body. The error is that of the socket: then it is unknown what was done.
func (s *Socket) Do(b *Batch, reply func(message int, kind uint16, body []byte)) (failed []Failure, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last, err := s.send(b, unix.NLM_F_ACK)
	if err != nil {
		return nil, err
	}
	if s.answers == nil {
		s.answers = make([]byte, 8<<10)
	}
	for {
		n, err := s.read(s.answers)
		if err != nil {
			return failed, err
		}
		for m := range Messages(s.answers[:n]) {
			switch {
			case m.Seq-first > last-first:
				continue // late answer to an earlier request
			case m.Kind != unix.NLMSG_ERROR:
				if reply != nil {
					reply(int(m.Seq-first), m.Kind, m.Body)
				}
				continue
			}
			if err := m.err(); err != nil {
				failed = append(failed, Failure{int(m.Seq - first), err})
			}
			if m.Seq == last {
				return failed, nil
			}
		}
	}
}

// send sends the batch, with flags on the last message, and returns the sequence numbers of the first and the last one.
func (s *Socket) send(b *Batch, flags uint16) (first, last uint32, err error) {
	first = s.seq + 1
	s.seq += uint32(b.Len())
	if _, err := unix.Write(s.fd, b.Datagram(first, flags)); err != nil {
		return 0, 0, fmt.Errorf("cannot send to rtnetlink: %w", err)
	}
	return first, s.seq, nil
}

// read receives one datagram.
func (s *Socket) read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, fmt.Errorf("no answer from rtnetlink, it is unknown what was done: %w", unix.ENOBUFS)
		case err != nil:
			return 0, fmt.Errorf("cannot receive from rtnetlink: %w", err)
		default:
			return n, nil
		}
	}
}
