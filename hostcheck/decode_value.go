package hostcheck

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// flags are comparisons of masked bits with 0: != 0 is any of them, == 0 is none.
func flags(l load, c *expr.Cmp, m Match) Match {
	if len(bytes.Trim(c.Data, "\x00")) != 0 || len(l.mask) != 4 {
		return Match{Field: Other}
	}
	m.Not = c.Op == expr.CmpOpEq
	m.Values = bits(l.field, binary.NativeEndian.Uint32(l.mask))
	return m
}

// bits are the names of the bits of ct state or ct status: NF_CT_STATE_…_BIT, and IPS_… of linux/netfilter/nf_conntrack_common.h.
func bits(f Field, mask uint32) []string {
	names := map[uint32]string{1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
	if f == CTStatus {
		names = map[uint32]string{1: "expected", 2: "seen-reply", 4: "assured", 8: "confirmed", 16: "snat", 32: "dnat"}
	}
	var values []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		switch name := names[bit]; {
		case mask&bit == 0:
		case name == "":
			values = append(values, fmt.Sprintf("%#x", bit))
		default:
			values = append(values, name)
		}
	}
	return values
}

// value is what a load is compared with, in nft's words; false when there is none.
func (d *decoder) value(l load, b []byte) (string, bool) {
	switch l.field {
	case SAddr, DAddr:
		return address(l, b)
	case Other:
		return "", false
	}
	if l.mask != nil {
		return "", false
	}
	switch {
	case l.index:
		if len(b) != 4 {
			return "", false
		}
		name, ok := d.links[int(binary.NativeEndian.Uint32(b))]
		return name, ok
	case l.size == unix.IFNAMSIZ:
		name, _, whole := bytes.Cut(b, []byte{0})
		if !whole && len(b) < unix.IFNAMSIZ {
			return string(name) + "*", true
		}
		return string(name), true
	case l.field == CTState || l.field == CTStatus:
		if len(b) != 4 {
			return "", false
		}
		values := bits(l.field, binary.NativeEndian.Uint32(b))
		return strings.Join(values, ","), l.field == CTState && len(values) == 1
	case l.field == NFProto:
		return networkProtocol(b)
	case l.field == L4Proto && len(b) == 1:
		return transportProtocol(b[0]), true
	}
	return "", false
}

// networkProtocol reads NFPROTO_… in one byte or an ethertype in two.
func networkProtocol(b []byte) (string, bool) {
	var n uint16
	switch len(b) {
	case 1:
		n = uint16(b[0])
	case 2:
		n = binary.BigEndian.Uint16(b)
	default:
		return "", false
	}
	switch n {
	case unix.NFPROTO_IPV4, unix.ETH_P_IP:
		return "ipv4", true
	case unix.NFPROTO_IPV6, unix.ETH_P_IPV6:
		return "ipv6", true
	}
	return fmt.Sprintf("%#x", n), true
}

func transportProtocol(n byte) string {
	switch n {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "ipv6-icmp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return fmt.Sprint(n)
}

// address reads an address of which the first bytes, or those of a mask, are compared: a prefix.
func address(l load, b []byte) (string, bool) {
	if len(b) != l.size {
		return "", false
	}
	ones := 8 * len(b)
	if l.mask != nil {
		ones = leadingOnes(l.mask)
		if ones < 0 {
			return "", false
		}
	}
	whole := make([]byte, l.whole)
	copy(whole, b)
	a, _ := netip.AddrFromSlice(whole)
	return netip.PrefixFrom(a, ones).String(), true
}

// leadingOnes is the prefix length of a mask; −1 when it is not contiguous.
func leadingOnes(mask []byte) int {
	n := 0
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	for bit := n; bit < 8*len(mask); bit++ {
		if mask[bit/8]&(0x80>>(bit%8)) != 0 {
			return -1
		}
	}
	return n
}
