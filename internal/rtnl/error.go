package rtnl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Error is the kernel's refusal of a request. It unwraps to the errno.
type Error struct {
	Errno unix.Errno
	// Text is the extended acknowledgement; often empty.
	Text string
}

// Error is the errno's text, and the kernel's own where it gave one.
func (e *Error) Error() string {
	if e.Text == "" {
		return e.Errno.Error()
	}
	return fmt.Sprintf("%v (kernel: %s)", e.Errno, e.Text)
}

// Unwrap is the errno.
func (e *Error) Unwrap() error { return e.Errno }

// err reads an NLMSG_ERROR or NLMSG_DONE; nil for an acknowledgement. An NLMSG_ERROR that is too short for an errno acknowledges nothing.
func (m Message) err() error {
	if m.Kind == unix.NLMSG_ERROR && len(m.Body) < 4 {
		return &Error{Errno: unix.EBADMSG}
	}
	errno := unix.Errno(-int32(Uint32(m.Body)))
	if errno == 0 {
		return nil
	}
	e := &Error{Errno: errno}
	if m.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return e
	}
	for kind, v := range Attributes(m.Body[m.attributesAt():]) {
		if kind == unix.NLMSGERR_ATTR_MSG {
			e.Text = String(v)
		}
	}
	return e
}

// attributesAt is where the attributes of an NLMSG_ERROR or NLMSG_DONE begin: behind the errno and, in an error, the header of
// the request, with its body unless the answer is capped.
func (m Message) attributesAt() int {
	at := 4
	if m.Kind == unix.NLMSG_ERROR {
		at += unix.SizeofNlMsghdr
		if m.Flags&unix.NLM_F_CAPPED == 0 && len(m.Body) >= at {
			at = 4 + align(int(order.Uint32(m.Body[4:])))
		}
	}
	return min(at, len(m.Body))
}
