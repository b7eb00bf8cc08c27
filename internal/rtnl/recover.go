package rtnl

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
)

// ErrUnknownOutcome: the kernel's answers were lost again and again, and the requests happened or they did not. Look, do not assume.
var ErrUnknownOutcome = errors.New("the kernel's answer was lost")

// attempts is how often a request is made whose answers are lost, or that a socket does not take.
const attempts = 3

// recovers says whether a request that failed with the socket's error can be made again.
func (s *Socket) recovers(err error) bool {
	switch {
	case fault.Dead(err):
		return s.reopen(err) == nil
	case errors.Is(err, ErrUnknownOutcome):
		s.drain()
		return true
	}
	return errors.Is(err, unix.EINTR)
}

// reopen opens another socket in the place of one that died of cause.
func (s *Socket) reopen(cause error) error {
	if s.closed || s.opts.In == nil {
		return cause
	}
	if fault.Gone(cause) {
		s.fd = -1
	}
	s.shut()
	return s.opts.In(s.open)
}

// drain throws away what is left of the answers. Until the queue is empty the kernel goes on losing them (NETLINK_S_CONGESTED in
// net/netlink/af_netlink.c), and a list that nobody reads to its end keeps it from sending another one.
func (s *Socket) drain() {
	var header [unix.SizeofNlMsghdr]byte // the rest of each is cut off
	for lost := 0; lost < attempts; {
		if _, err := s.read(header[:]); err != nil {
			lost++
		}
	}
}

// done leaves out failures that say that the request was done before.
func (b *Batch) done(failed []Failure) []Failure {
	before := map[uint16]unix.Errno{
		unix.RTM_NEWADDR: unix.EEXIST, unix.RTM_NEWROUTE: unix.EEXIST,
		unix.RTM_DELADDR: unix.EADDRNOTAVAIL, unix.RTM_DELROUTE: unix.ESRCH, unix.RTM_DELLINK: unix.ENODEV,
	}
	for i := range failed {
		failed[i].Again = true
	}
	return slices.DeleteFunc(failed, func(f Failure) bool {
		kind := order.Uint16(b.buf[b.starts[f.Message]+4:])
		return errors.Is(f.Err, before[kind])
	})
}

// restarts says whether a list is to be asked for again: its answers were lost, or it is refused because an earlier one was not read to
// its end.
func (s *Socket) restarts(err error) bool {
	var refused *Error
	if errors.As(err, &refused) {
		if refused.Errno == unix.EBUSY {
			s.drain()
			return true
		}
		return false
	}
	if !fault.Dead(err) {
		s.drain()
		return true
	}
	return s.reopen(err) == nil
}
