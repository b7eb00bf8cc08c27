package nft

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attributes are netlink attributes that are read one after the other. Reading does not allocate.
//
//	for a := attributes(b); a.next(&typ, &value); {
type attributes []byte

// next reads one: its type, without flags, and its value, which belongs to the message. It is false after the last.
func (a *attributes) next(typ *uint16, value *[]byte) bool {
	b := *a
	if len(b) < unix.SizeofNlAttr {
		return false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return false
	}
	*typ = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	*value = b[unix.SizeofNlAttr:n]
	*a = b[min(len(b), (n+3)&^3):]
	return true
}

// find gives the first attribute of a type; nil when there is none.
func find(b []byte, want uint16) []byte {
	var typ uint16
	var value []byte
	for a := attributes(b); a.next(&typ, &value); {
		if typ == want {
			return value
		}
	}
	return nil
}

// cString is what comes before the first zero byte.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// bigEndian is an attribute with a number of up to 32 bits, 0 when it is not there.
func bigEndian(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}
