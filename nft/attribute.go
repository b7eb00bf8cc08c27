package nft

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// eachAttribute calls f with the type, without flags, and the value of every netlink attribute in b.
func eachAttribute(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}

// cString is what comes before the first zero byte.
func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
