package rtnl

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// order is the byte order of netlink: the machine's.
var order = binary.NativeEndian

// Batch is messages for one datagram. The zero Batch is empty and ready to use. Begin starts a message, which takes everything
// up to the next Begin.
type Batch struct {
	buf    []byte
	starts []int
}

// Len is the number of messages.
func (b *Batch) Len() int { return len(b.starts) }

// Begin starts a message: kind is RTM_…, flags are NLM_F_… besides NLM_F_REQUEST. It returns the number that Do reports the
// message's failure under.
func (b *Batch) Begin(kind, flags uint16) int {
	b.finish()
	b.starts = append(b.starts, len(b.buf))
	b.buf = append(b.buf, make([]byte, unix.SizeofNlMsghdr)...)
	h := b.buf[len(b.buf)-unix.SizeofNlMsghdr:]
	order.PutUint16(h[4:], kind)
	order.PutUint16(h[6:], flags|unix.NLM_F_REQUEST)
	return len(b.starts) - 1
}

// finish writes the length of the last message.
func (b *Batch) finish() {
	if n := len(b.starts); n > 0 {
		order.PutUint32(b.buf[b.starts[n-1]:], uint32(len(b.buf)-b.starts[n-1]))
	}
}

// Datagram is the batch as it is sent: with sequence numbers from seq on, and flags on the last message. It is valid until the
// next message begins.
func (b *Batch) Datagram(seq uint32, flags uint16) []byte {
	b.finish()
	for i, at := range b.starts {
		order.PutUint32(b.buf[at+8:], seq+uint32(i))
		if i == len(b.starts)-1 {
			order.PutUint16(b.buf[at+6:], order.Uint16(b.buf[at+6:])|flags)
		}
	}
	return b.buf
}

// Link is the fixed part of a message about a link (struct ifinfomsg), also inside VETH_INFO_PEER. set is the flags, IFF_…,
// among change to set.
func (b *Batch) Link(family uint8, index int, set, change uint32) {
	b.buf = append(b.buf, family, 0, 0, 0)
	b.buf = order.AppendUint32(b.buf, uint32(index))
	b.buf = order.AppendUint32(b.buf, set)
	b.buf = order.AppendUint32(b.buf, change)
}

// Address is the fixed part of a message about an address (struct ifaddrmsg).
func (b *Batch) Address(family uint8, bits int, flags uint8, link int) {
	b.buf = append(b.buf, family, uint8(bits), flags, 0)
	b.buf = order.AppendUint32(b.buf, uint32(link))
}

// Route is the fixed part of a message about a route (struct rtmsg).
func (b *Batch) Route(r unix.RtMsg) {
	b.buf = append(b.buf, r.Family, r.Dst_len, r.Src_len, r.Tos, r.Table, r.Protocol, r.Scope, r.Type)
	b.buf = order.AppendUint32(b.buf, r.Flags)
}

// Queue is the fixed part of a message about a queueing discipline or a filter of a link (struct tcmsg).
func (b *Batch) Queue(link int, handle, parent, info uint32) {
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.buf = order.AppendUint32(b.buf, uint32(link))
	b.buf = order.AppendUint32(b.buf, handle)
	b.buf = order.AppendUint32(b.buf, parent)
	b.buf = order.AppendUint32(b.buf, info)
}

// Bytes is an attribute.
func (b *Batch) Bytes(kind uint16, v []byte) {
	b.header(kind, len(v))
	b.buf = append(b.buf, v...)
	b.pad()
}

// String is an attribute that the kernel reads as a C string.
func (b *Batch) String(kind uint16, v string) {
	b.header(kind, len(v)+1)
	b.buf = append(append(b.buf, v...), 0)
	b.pad()
}

// Uint8 is an attribute.
func (b *Batch) Uint8(kind uint16, v uint8) {
	b.header(kind, 1)
	b.buf = append(b.buf, v, 0, 0, 0)
}

// Bool is an attribute of one byte, 1 or 0.
func (b *Batch) Bool(kind uint16, v bool) {
	if v {
		b.Uint8(kind, 1)
	} else {
		b.Uint8(kind, 0)
	}
}

// Uint16 is an attribute.
func (b *Batch) Uint16(kind uint16, v uint16) {
	b.header(kind, 2)
	b.buf = append(order.AppendUint16(b.buf, v), 0, 0)
}

// Uint32 is an attribute.
func (b *Batch) Uint32(kind uint16, v uint32) {
	b.header(kind, 4)
	b.buf = order.AppendUint32(b.buf, v)
}

// Nest is an attribute that holds what body adds.
func (b *Batch) Nest(kind uint16, body func()) {
	at := len(b.buf)
	b.header(kind|unix.NLA_F_NESTED, 0)
	body()
	order.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}

func (b *Batch) header(kind uint16, payload int) {
	b.buf = order.AppendUint16(b.buf, uint16(unix.SizeofNlAttr+payload))
	b.buf = order.AppendUint16(b.buf, kind)
}

func (b *Batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}
