package rtnl

import (
	"bytes"
	"iter"

	"golang.org/x/sys/unix"
)

// Message is one message that the kernel sent.
type Message struct {
	Kind, Flags uint16
	Seq         uint32
	// Body is what follows the header. It shares the buffer's memory.
	Body []byte
}

// Messages are the messages of a datagram. It ends before the first that is malformed.
func Messages(datagram []byte) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for b := datagram; len(b) >= unix.SizeofNlMsghdr; {
			n := int(order.Uint32(b))
			if n < unix.SizeofNlMsghdr || n > len(b) {
				return
			}
			m := Message{
				Kind: order.Uint16(b[4:]), Flags: order.Uint16(b[6:]), Seq: order.Uint32(b[8:]),
				Body: b[unix.SizeofNlMsghdr:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// Attributes are the attributes in b, without flags in their kind. It ends before the first that is malformed.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(order.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(order.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

func align(n int) int { return (n + 3) &^ 3 }

// String reads an attribute's C string.
func String(v []byte) string {
	s, _, _ := bytes.Cut(v, []byte{0})
	return string(s)
}

// Uint8 reads an attribute; a missing value is 0.
func Uint8(v []byte) uint8 {
	if len(v) < 1 {
		return 0
	}
	return v[0]
}

// Uint16 reads an attribute; a value that is too short is 0.
func Uint16(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return order.Uint16(v)
}

// Uint32 reads an attribute; a value that is too short is 0.
func Uint32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return order.Uint32(v)
}
