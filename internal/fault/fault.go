// Package fault knows what can go wrong between a netlink socket and the kernel: which errors end a socket, and, for tests, a [Layer]
// below packages nft, link and addr that makes all of it. The Layer is not there unless somebody asks for it.
//
//	nft, rtnl ──► Layer ──► kernel
//	                │ refuses a message, loses an answer, kills the socket …
package fault

import (
	"encoding/binary"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/ordered"
)

// Inject says what goes wrong with a datagram on its way to the kernel.
type Inject func(Datagram) Fault

// Datagram is requests on their way to the kernel.
type Datagram struct {
	// Protocol is unix.NETLINK_ROUTE or unix.NETLINK_NETFILTER.
	Protocol int
	Messages []Message
}

// Message is one request of a datagram.
type Message struct {
	Kind, Flags uint16
	// Body is what follows the netlink header. It is good until Inject returns.
	Body []byte
}

// Dump says that the message asks for a list.
func (m Message) Dump() bool {
	return m.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP && m.Flags&unix.NLM_F_REQUEST != 0
}

// Fault is what goes wrong with a datagram. The zero Fault is nothing.
type Fault struct {
	// Refusals are the messages that the kernel refuses. It does the others, unless they are a transaction.
	Refusals []Refusal
	// Send is the error of handing over: the kernel does not see the datagram.
	Send unix.Errno
	// Receive is the error in the place of the answers, which are lost: ENOBUFS, EAGAIN (there is none), or of a socket that died.
	Receive unix.Errno
	// Undone: with Receive, the kernel does not see the datagram either.
	Undone bool
	// Dead: the socket is closed, and fails with the error Send or Receive from then on.
	Dead bool
	// Interrupted: a list changed while it was sent.
	Interrupted bool
}

// Refusal is the kernel's error for a message, which counts from 0. The first message of an nf_tables transaction is its begin: who
// refuses it refuses the transaction as a whole.
type Refusal struct {
	Message int
	Errno   unix.Errno
}

// Layer is between one socket and the kernel. A nil Layer is none.
type Layer struct {
	inject   Inject
	protocol int
	socket   Socket

	dead        unix.Errno
	failing     unix.Errno // of the next receive
	answers     [][]byte
	interrupted bool
}

// Socket is a non-blocking netlink socket.
type Socket struct {
	Send    func(datagram []byte) error
	Receive func([]byte) (int, error)
	Close   func() error
}

// New puts a Layer on a socket; nil when there is nothing to inject.
func New(protocol int, inject Inject, s Socket) *Layer {
	if inject == nil {
		return nil
	}
	return &Layer{inject: inject, protocol: protocol, socket: s}
}

// Send is the socket's, with faults.
func (l *Layer) Send(datagram []byte) error {
	if l.dead != 0 {
		return l.dead
	}
	messages := split(datagram)
	f := l.inject(Datagram{l.protocol, read(messages)})
	if f.Send != 0 {
		return l.die(f.Dead, f.Send)
	}
	if err := l.pass(datagram, messages, f); err != nil {
		return err
	}
	l.interrupted = f.Interrupted
	if f.Receive != 0 {
		l.answers, l.failing = nil, f.Receive
		l.die(f.Dead, f.Receive)
	}
	return nil
}

// die closes the socket, for all: no process that a test is just starting still has a copy of the descriptor.
func (l *Layer) die(dead bool, errno unix.Errno) error {
	if dead {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		l.dead = errno
		l.socket.Close()
	}
	return errno
}

// pass hands over what the kernel is to see.
func (l *Layer) pass(datagram []byte, messages [][]byte, f Fault) error {
	switch {
	case f.Undone:
		return nil
	case len(f.Refusals) == 0 && f.Receive == 0:
		return l.socket.Send(datagram)
	case len(f.Refusals) == 0:
		if err := l.socket.Send(datagram); err != nil {
			return err
		}
		l.collect()
		return nil
	}
	for _, r := range f.Refusals {
		l.answers = append(l.answers, refusal(messages[r.Message], r.Errno))
	}
	if l.protocol == unix.NETLINK_NETFILTER || len(f.Refusals) == len(messages) {
		return nil
	}
	rest := slices.Clone(datagram)
	for i, m := range split(rest) {
		if slices.ContainsFunc(f.Refusals, func(r Refusal) bool { return r.Message == i }) {
			binary.NativeEndian.PutUint16(m[4:], unix.NLMSG_NOOP)
			binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
		}
	}
	if err := l.socket.Send(rest); err != nil {
		return err
	}
	l.collect()
	ordered.SortStable(l.answers, func(a, b []byte) int { return int(int32(number(a) - number(b))) })
	return nil
}

// collect takes the answers out of the socket.
func (l *Layer) collect() {
	for buf := make([]byte, 64<<10); ; {
		n, err := l.socket.Receive(buf)
		if err != nil {
			return
		}
		l.answers = append(l.answers, slices.Clone(buf[:n]))
	}
}

// Receive is the socket's, with faults.
func (l *Layer) Receive(b []byte) (int, error) {
	if l.failing != 0 {
		err := l.failing
		l.failing = 0
		return 0, err
	}
	if l.dead != 0 {
		return 0, l.dead
	}
	if len(l.answers) > 0 {
		n := copy(b, l.answers[0])
		l.answers = l.answers[1:]
		return n, nil
	}
	n, err := l.socket.Receive(b)
	if err == nil && l.interrupted {
		binary.NativeEndian.PutUint16(b[6:], binary.NativeEndian.Uint16(b[6:])|unix.NLM_F_DUMP_INTR)
	}
	return n, err
}

// Close is the socket's. One that died is closed already.
func (l *Layer) Close() error {
	if l.dead != 0 {
		return nil
	}
	return l.socket.Close()
}

// split is the messages of a datagram.
func split(b []byte) (messages [][]byte) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := min(len(b), int(binary.NativeEndian.Uint32(b)+3)&^3)
		messages = append(messages, b[:n])
		b = b[n:]
	}
	return messages
}

func read(messages [][]byte) []Message {
	all := make([]Message, len(messages))
	for i, m := range messages {
		all[i] = Message{
			Kind: binary.NativeEndian.Uint16(m[4:]), Flags: binary.NativeEndian.Uint16(m[6:]), Body: m[unix.SizeofNlMsghdr:],
		}
	}
	return all
}

// number is a message's sequence number.
func number(m []byte) uint32 { return binary.NativeEndian.Uint32(m[8:]) }

// refusal is the kernel's answer to a message that failed (netlink_ack in net/netlink/af_netlink.c, with NETLINK_CAP_ACK).
func refusal(m []byte, errno unix.Errno) []byte {
	const size = unix.SizeofNlMsghdr + unix.SizeofNlMsgerr
	b := binary.NativeEndian.AppendUint32(make([]byte, 0, size), size)
	b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_ERROR)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_CAPPED)
	b = append(b, m[8:unix.SizeofNlMsghdr]...) // number and port
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	return append(b, m[:unix.SizeofNlMsghdr]...)
}
