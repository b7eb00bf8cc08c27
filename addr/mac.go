package addr

import (
	"net"
	"net/netip"
)

// MAC is an Ethernet address. The zero MAC means none.
type MAC [6]byte

// String is the lower-case colon form, and "" for the zero MAC.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// MACOf derives a MAC from an address, so that an address that comes back on the same link comes back with the same MAC and
// no neighbour cache is wrong: 02:42 and the IPv4 address, or the last four bytes of an IPv6 address. The zero Addr has
// the zero MAC.
func MACOf(a netip.Addr) MAC {
	b := a.Unmap().AsSlice()
	if len(b) < 4 {
		return MAC{}
	}
	return MAC(append([]byte{0x02, 0x42}, b[len(b)-4:]...))
}

// LinkLocal is the address that the kernel gives an interface with this MAC when addr_gen_mode is eui64: fe80::/64 with the
// modified EUI-64 identifier (RFC 4291, appendix A).
func LinkLocal(m MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: m[0] ^ 0x02, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})
}
