// Package rtnl speaks rtnetlink for packages addr and link: requests, many to a datagram, whose answers are matched by
// sequence number; dumps with buffers that keep them linear; and subscriptions.
package rtnl

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
)

// Socket is an rtnetlink socket for requests. It is safe for concurrent use: one request runs at a time.
//
// The kernel works a request off inside the system call that sends it, and its answers are there when that returns. So nothing
// ever waits for an answer, and there is no time-out.
//
// What can be mended is: a request whose answer was lost is made again, and a socket that died is opened again (recover.go).
type Socket struct {
	opts Options

	mu     sync.Mutex
	fd     int // −1: closed
	layer  *fault.Layer
	closed bool // by Close
	room   int  // see GrowBuffers; 0: the kernel's default
	seq    uint32
	// answers is large enough for any single answer: an acknowledgement, an echo, a link. It is made when the first is received.
	answers []byte
	// dumped is for a part of a list.
	dumped []byte
}

// Options are what a Socket can be told. The zero value is good.
type Options struct {
	// In runs a function in the socket's network namespace: there another one is opened in the place of a socket that died. nil: it stays
	// dead.
	In func(func() error) error
	// MaxList is how many objects a list may have, for namespaces whose owner may make as many as he likes: of a longer one the rest is not
	// read, and the error is [ErrTooLong]. 0: any number.
	MaxList int
	// Fault makes requests go wrong, for tests.
	Fault fault.Inject
}

// Dial opens a Socket in the calling thread's network namespace. It makes three system calls.
func Dial() (*Socket, error) { return Options{}.Dial() }

// Dial opens a Socket with these options, in the calling thread's network namespace.
func (o Options) Dial() (*Socket, error) {
	s := &Socket{opts: o, fd: -1}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Socket) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open an rtnetlink socket: %w", err)
	}
	// Kernels without these (before 4.12) answer with less text and more bytes, which is all right.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1) // lists can be of one link; Linux 4.20
	s.fd = fd
	s.grow()
	s.layer = fault.New(unix.NETLINK_ROUTE, s.opts.Fault, fault.Socket{
		Send:    func(b []byte) error { _, err := unix.Write(fd, b); return err },
		Receive: func(b []byte) (int, error) { return unix.Read(fd, b) },
		Close:   func() error { return unix.Close(fd) },
	})
	return nil
}

// GrowBuffers makes room for batches and answers of that many bytes, as far as the kernel allows it.
func (s *Socket) GrowBuffers(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = bytes
	s.grow()
}

func (s *Socket) grow() {
	if s.room == 0 {
		return
	}
	for _, opt := range [][2]int{{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, opt[0], s.room) != nil {
			unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, opt[1], s.room)
		}
	}
}

// Close closes the socket. A second Close does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.shut()
}

// shut closes the descriptor.
func (s *Socket) shut() error {
	if s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	if s.layer != nil {
		return s.layer.Close()
	}
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
	err = unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, req)
	if fault.Gone(err) && s.reopen(err) == nil {
		err = unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

// Failure is the error of one message of a batch.
type Failure struct {
	// Message counts the batch's messages from 0.
	Message int
	Err     error
	// Again: the batch was made again after its answers were lost. What is there already may be of our own making.
	Again bool
}

// Do sends the batch as one datagram. The kernel runs each message, also those behind one that failed; failures are in the
// order of the messages. What else the kernel answers (echoes, objects that were asked for) goes to reply, which may be nil; it
// must not keep body. The error is that of the socket: nothing was done, or it is [ErrUnknownOutcome].
//
// When answers are lost, the batch is sent again, and reply may be called again, too. Addresses and routes that then are there already, or
// gone, and links that are gone, are no failures.
func (s *Socket) Do(b *Batch, reply func(message int, kind uint16, body []byte)) (failed []Failure, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := false
	for try := 1; ; try++ {
		failed, err = s.exchange(b, reply)
		if err == nil {
			break
		}
		again = again || errors.Is(err, ErrUnknownOutcome)
		if try == attempts || !s.recovers(err) {
			return nil, err
		}
	}
	if again {
		failed = b.done(failed)
	}
	return failed, nil
}

// exchange sends the batch and reads the answers.
func (s *Socket) exchange(b *Batch, reply func(message int, kind uint16, body []byte)) (failed []Failure, err error) {
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
			return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
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
				failed = append(failed, Failure{Message: int(m.Seq - first), Err: err})
			}
			if m.Seq == last {
				return failed, nil
			}
		}
	}
}

// send sends the batch, with flags on the last message, and returns the sequence numbers of the first and the last one. After an error
// the kernel has not seen it.
func (s *Socket) send(b *Batch, flags uint16) (first, last uint32, err error) {
	first = s.seq + 1
	s.seq += uint32(b.Len())
	datagram := b.Datagram(first, flags)
	if s.layer != nil && s.fd >= 0 {
		err = s.layer.Send(datagram)
	} else {
		_, err = unix.Write(s.fd, datagram)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot send to rtnetlink: %w", err)
	}
	return first, s.seq, nil
}

// read receives one datagram.
func (s *Socket) read(buf []byte) (n int, err error) {
	for {
		if s.layer != nil && s.fd >= 0 {
			n, err = s.layer.Receive(buf)
		} else {
			n, err = unix.Read(s.fd, buf)
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, fmt.Errorf("no answer from rtnetlink: %w", unix.ENOBUFS)
		case err == nil && n == 0: // netlink has no empty datagrams: it is another file by now
			return 0, fmt.Errorf("cannot receive from rtnetlink: %w", unix.ENOTSOCK)
		case err != nil:
			return 0, fmt.Errorf("cannot receive from rtnetlink: %w", err)
		default:
			return n, nil
		}
	}
}
