package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	attrTupleOrig  = 1  // nested
	attrTupleReply = 2  // nested
	attrID         = 12 // four bytes
	attrZone       = 18 // two bytes; absent in zone 0

	attrTupleIP    = 1 // nested
	attrTupleProto = 2 // nested
	attrTupleZone  = 3 // two bytes: the zone of this direction only

	attrIPv4Src = 1
	attrIPv4Dst = 2
	attrIPv6Src = 3
	attrIPv6Dst = 4

	attrProtoNum     = 1 // one byte
	attrProtoDstPort = 3 // two bytes, big-endian
)

const (
	attrHeader = 4
	typeMask   = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
)

// entry is what matters of one connection tracking entry.
type entry struct {
	orig, reply tuple
	// zone: it is not in zone 0.
	zone bool

	// What a deletion has to repeat: the family, and two attributes with their headers. With the id only this very entry goes,
	// no later one of the same tuple.
	family         uint8
	rawOrig, rawID []byte
}

// tuple is one direction of a flow.
type tuple struct {
	src, dst netip.Addr
	proto    uint8
	dstPort  uint16 // 0 for protocols without ports
	zone     bool
}

// parseEntry reads a message's struct nfgenmsg and attributes; false: it is malformed. The entry refers to b.
func parseEntry(b []byte) (entry, bool) {
	const nfgenmsg = 4
	if len(b) < nfgenmsg {
		return entry{}, false
	}
	e := entry{family: b[0]}
	ok := walk(b[nfgenmsg:], func(kind uint16, value, raw []byte) bool {
		switch kind {
		case attrTupleOrig:
			e.rawOrig = raw
			return e.orig.parse(value)
		case attrTupleReply:
			return e.reply.parse(value)
		case attrID:
			e.rawID = raw
		case attrZone:
			e.zone = true
		}
		return true
	})
	e.zone = e.zone || e.orig.zone || e.reply.zone
	return e, ok && e.orig.dst.IsValid()
}

func (t *tuple) parse(b []byte) bool {
	*t = tuple{} // of an attribute that comes twice the last one counts
	return walk(b, func(kind uint16, value, _ []byte) bool {
		switch kind {
		case attrTupleIP:
			return walk(value, t.addr)
		case attrTupleProto:
			return walk(value, t.port)
		case attrTupleZone:
			t.zone = true
		}
		return true
	})
}

func (t *tuple) addr(kind uint16, value, _ []byte) bool {
	a, ok := netip.AddrFromSlice(value)
	switch kind {
	case attrIPv4Src, attrIPv6Src:
		t.src = a
	case attrIPv4Dst, attrIPv6Dst:
		t.dst = a
	default:
		return true
	}
	return ok
}

func (t *tuple) port(kind uint16, value, _ []byte) bool {
	switch {
	case kind == attrProtoNum && len(value) == 1:
		t.proto = value[0]
	case kind == attrProtoDstPort && len(value) == 2:
		t.dstPort = binary.BigEndian.Uint16(value)
	}
	return true
}

// walk calls f with each attribute until f returns false; false: f did, or the attributes are malformed. raw is the
// attribute with its header and padding. (The decoder of package netlink allocates, and a table may have a million entries.)
func walk(b []byte, f func(kind uint16, value, raw []byte) bool) bool {
	for len(b) >= attrHeader {
		size := int(binary.NativeEndian.Uint16(b))
		kind := binary.NativeEndian.Uint16(b[2:]) & typeMask
		aligned := (size + 3) &^ 3
		if size < attrHeader || aligned > len(b) {
			return false
		}
		if !f(kind, b[attrHeader:size], b[:aligned]) {
			return false
		}
		b = b[aligned:]
	}
	return len(b) == 0
}

// deletion is the body of the message that deletes the entry.
func (e *entry) deletion() []byte {
	b := make([]byte, 0, 4+len(e.rawOrig)+len(e.rawID))
	b = append(b, e.family, unix.NFNETLINK_V0, 0, 0)
	b = append(b, e.rawOrig...)
	return append(b, e.rawID...)
}
