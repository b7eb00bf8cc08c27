package engine

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// Frames, as somebody with root in a sandbox writes them to its interface.

func ethernet(dst, src bridged.MAC, kind uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(slices.Concat(dst[:], src[:]), kind), payload...)
}

// udp is a packet with a datagram from port 1024 to port 80.
func udp(src, dst netip.Addr, payload string) []byte {
	d := []byte{1024 >> 8, 0, 0, 80}
	d = binary.BigEndian.AppendUint16(d, uint16(8+len(payload)))
	d = append(append(d, 0, 0), payload...)
	pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, 0, byte(len(d) >> 8), byte(len(d)), 0, 0, 0, unix.IPPROTO_UDP})
	binary.BigEndian.PutUint16(d[6:], checksum(pseudo, d))
	if src.Is6() {
		h := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(d)))
		return slices.Concat(append(h, unix.IPPROTO_UDP, 64), src.AsSlice(), dst.AsSlice(), d)
	}
	h := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(d)))
	h = slices.Concat(h, []byte{0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, src.AsSlice(), dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, d...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// arpReply claims that the address is at the MAC; a text stands behind it.
func arpReply(mac bridged.MAC, a netip.Addr, to bridged.MAC, toAddr netip.Addr, text string) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, mac[:], a.AsSlice(), to[:], toAddr.AsSlice(), []byte(text))
}
