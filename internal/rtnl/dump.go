package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// dumpBuffer is what one answer of a dump may have: the kernel fills at most 32 KiB (netlink_dump in
	// net/netlink/af_netlink.c), and less for smaller buffers, which makes long dumps quadratic.
	dumpBuffer = 32 << 10
	// dumpAttempts bounds the repetitions of a dump that was interrupted by changes.
	dumpAttempts = 16
)

// ErrTooLong: a list has more objects than the socket's options allow.
var ErrTooLong = errors.New("the list is too long")

// Dump asks for a list; b holds the one request, without flags. reset is called before the first object, and again when the list
// changed while it was sent, or was lost, and so is asked for anew; after 16 changes the error is unix.EINTR. each must not keep body.
func (s *Socket) Dump(b *Batch, reset func(), each func(kind uint16, body []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dumped == nil {
		s.dumped = make([]byte, dumpBuffer)
	}
	lost := 0
	for range dumpAttempts {
		reset()
		err := s.dump(b, s.dumped, each)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, ErrTooLong):
			return err
		}
		if lost++; lost == attempts || !s.restarts(err) {
			return err
		}
	}
	return fmt.Errorf("the list changes faster than it can be read: %w", unix.EINTR)
}

func (s *Socket) dump(b *Batch, buf []byte, each func(uint16, []byte)) error {
	_, seq, err := s.send(b, unix.NLM_F_DUMP)
	if err != nil {
		return err
	}
	interrupted, objects := false, 0
	for {
		n, err := s.read(buf)
		if err != nil {
			return err
		}
		for m := range Messages(buf[:n]) {
			if m.Seq != seq {
				continue
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Kind {
			case unix.NLMSG_ERROR:
				return m.err()
			case unix.NLMSG_DONE:
				if err := m.err(); err != nil || !interrupted {
					return err
				}
				return unix.EINTR
			default:
				if objects++; s.opts.MaxList > 0 && objects > s.opts.MaxList {
					s.shut() // the next request opens another socket: this one would have to be read to the end of the list first
					return ErrTooLong
				}
				each(m.Kind, m.Body)
			}
		}
	}
}
