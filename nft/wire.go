package nft

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nf_tables.h and nfnetlink.h that x/sys does not have.
const (
	batchBegin  = 0x10 // NFNL_MSG_BATCH_BEGIN
	batchEnd    = 0x11 // NFNL_MSG_BATCH_END
	subsystem   = unix.NFNL_SUBSYS_NFTABLES << 8
	headerLen   = unix.SizeofNlMsghdr + 4 // netlink and nfgenmsg headers
	maxNested   = 60_000                  // an attribute's length has 16 bits
	elemKeyEnd  = 10                      // NFTA_SET_ELEM_KEY_END
	nested      = unix.NLA_F_NESTED
	writeFlags  = unix.NLM_F_REQUEST
	createFlags = unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_EXCL
)

// batch is messages in wire format that the kernel takes as one transaction. Its memory is used again.
//
//	BATCH_BEGIN  change  change … change (ACK)  BATCH_END
type batch struct {
	buf      []byte
	seq      uint32 // of BATCH_BEGIN; each message's is one more than the one's before
	messages []message
	msgStart int // of the last message
	setID    uint32
}

// message says what a message of the batch is about, to name it when the kernel refuses it.
type message struct {
	tx     int // index of its transaction in the batch
	kind   opKind
	delete bool // elements are deleted, not added
	table  TableID
	object string
	set    *Set
	rule   Rule
	// elements are those of the message, when it has some.
	elements []Element
}

// begin starts a batch, whose first message has the number seq.
func (b *batch) begin(seq uint32) {
	b.buf, b.seq, b.setID = b.buf[:0], seq, 0
	clear(b.messages)
	b.messages = b.messages[:0]
	b.header(batchBegin, 0, unix.NLM_F_REQUEST, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
}

// finish asks for an acknowledgement of the last change, and ends the batch. Errors of the others are reported in any case; an
// acknowledgement says that the batch was seen.
func (b *batch) finish() {
	flags := b.buf[b.msgStart+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	b.header(batchEnd, 0, unix.NLM_F_REQUEST, unix.NFNL_SUBSYS_NFTABLES)
	binary.NativeEndian.PutUint32(b.buf[b.msgStart+8:], b.last()+1)
	b.end()
}

// last is the sequence number of the last change: the one that is acknowledged.
func (b *batch) last() uint32 { return b.seq + uint32(len(b.messages)) }

// message starts a change.
func (b *batch) message(typ, flags uint16, m message) {
	b.messages = append(b.messages, m)
	b.header(subsystem|typ, m.table.Family, flags, 0)
}

// header appends the netlink and nfgenmsg headers; end fills in the length.
func (b *batch) header(typ uint16, family Family, flags, resource uint16) {
	b.msgStart = len(b.buf)
	b.buf = slices.Grow(b.buf, headerLen)[:b.msgStart+headerLen]
	h := (*[headerLen]byte)(b.buf[b.msgStart:])
	binary.NativeEndian.PutUint16(h[4:], typ)
	binary.NativeEndian.PutUint16(h[6:], flags)
	binary.NativeEndian.PutUint32(h[8:], b.last()) // number
	binary.NativeEndian.PutUint32(h[12:], 0)       // port
	h[16], h[17] = byte(family), unix.NFNETLINK_V0
	binary.BigEndian.PutUint16(h[18:], resource)
}

// end fills in the message's length.
func (b *batch) end() {
	binary.NativeEndian.PutUint32(b.buf[b.msgStart:], uint32(len(b.buf)-b.msgStart))
}

// udataIntervalOpen is NFTNL_UDATA_SET_ELEM_FLAGS (1) with NFTNL_UDATA_SET_ELEM_F_INTERVAL_OPEN (1).
var udataIntervalOpen = [...]byte{1, 4, 1, 0, 0, 0}

// attribute appends the header of an attribute with n bytes, which are to be appended, and pad to follow.
func (b *batch) attribute(typ uint16, n int) {
	h := binary.NativeEndian.AppendUint16(b.buf, uint16(unix.SizeofNlAttr+n))
	b.buf = binary.NativeEndian.AppendUint16(h, typ)
}

// pad fills up to a multiple of four.
func (b *batch) pad() {
	for len(b.buf)&3 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) bytes(typ uint16, v []byte) {
	b.attribute(typ, len(v))
	b.buf = append(b.buf, v...)
	b.pad()
}

// str appends a string and its terminating zero.
func (b *batch) str(typ uint16, s string) {
	b.attribute(typ, len(s)+1)
	b.buf = append(b.buf, s...)
	b.buf = append(b.buf, 0)
	b.pad()
}

func (b *batch) uint32(typ uint16, n uint32) {
	b.attribute(typ, 4)
	b.buf = binary.BigEndian.AppendUint32(b.buf, n)
}

// value appends a key or data: NFTA_DATA_VALUE, nested.
func (b *batch) value(typ uint16, v []byte) {
	padded := (len(v) + 3) &^ 3
	b.attribute(typ|nested, unix.SizeofNlAttr+padded)
	b.bytes(unix.NFTA_DATA_VALUE, v)
}

// nest opens a nested attribute; unnest closes it.
func (b *batch) nest(typ uint16) (start int) {
	start = len(b.buf)
	b.attribute(typ|nested, 0)
	return start
}

func (b *batch) unnest(start int) {
	binary.NativeEndian.PutUint16(b.buf[start:], uint16(len(b.buf)-start))
}
