package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Types that fields have and sets of ours don't.
const (
	typeCTState Type = iota + TypeTarget + 1
	typeCTStatus
	typeEtherType
	typeARPOperation
	typeICMPType
	typeICMP6Type
	typeIGMPType
	typeFIBAddrType
	typeMissing
	typeNumber
	typeInteger
)

// byteOrder says how the kernel holds a number: BYTEORDER_* in nft's datatype.h, as set user data have it.
type byteOrder uint8

const (
	noOrder      byteOrder = 0
	hostOrder    byteOrder = 1
	networkOrder byteOrder = 2
)

// datatype describes a Type.
type datatype struct {
	name  string    // in nft syntax, "" when only typeof can say it
	magic uint32    // TYPE_* of nft's datatype.h; 6 bits of NFTA_SET_KEY_TYPE and NFTA_SET_DATA_TYPE
	len   uint8     // bytes; 0: as long as the field
	order byteOrder // of the number
	// typeof is an expression of this type, for declarations with typeof, and typeofData the same in a set's user data
	// (NFTNL_UDATA_SET_TYPEOF_EXPR and _DATA).
	typeof     string
	typeofData []byte
	names      []symbol
	format     func(b []byte) string // of values without a name
}

// symbol is a value's name in nft syntax.
type symbol struct {
	value uint32
	name  string
}

// Expression kinds and keys in set user data, from nft's expression.h and linux/netfilter/nf_tables.h.
const (
	udataPayload = 7
	udataMeta    = 9
	udataConcat  = 13
)

// datatypes has an entry for every Type. Names are those of nft 1.0.6.
var datatypes = [...]datatype{
	TypeIfName: {name: "ifname", magic: 41, len: 16, order: hostOrder, format: formatName,
		typeof: "iifname", typeofData: typeofExpr(udataMeta, udataUint32(0, 6))},
	TypeIPv4:  {name: "ipv4_addr", magic: 7, len: 4, order: networkOrder, format: formatAddr},
	TypeIPv6:  {name: "ipv6_addr", magic: 8, len: 16, order: networkOrder, format: formatAddr},
	TypeEther: {name: "ether_addr", magic: 9, len: 6, order: networkOrder, format: formatEther},
	// The names are those of /etc/protocols, which nft reads.
	TypeProto: {name: "inet_proto", magic: 12, len: 1, order: noOrder, format: formatDecimal, names: []symbol{
		{0, "ip"}, {1, "icmp"}, {2, "igmp"}, {3, "ggp"}, {4, "ipencap"}, {5, "st"}, {6, "tcp"}, {8, "egp"}, {9, "igp"}, {12, "pup"},
		{17, "udp"}, {20, "hmp"}, {22, "xns-idp"}, {27, "rdp"}, {29, "iso-tp4"}, {33, "dccp"}, {36, "xtp"}, {37, "ddp"},
		{38, "idpr-cmtp"}, {41, "ipv6"}, {43, "ipv6-route"}, {44, "ipv6-frag"}, {45, "idrp"}, {46, "rsvp"}, {47, "gre"}, {50, "esp"}, {51, "ah"},
		{57, "skip"}, {58, "ipv6-icmp"}, {59, "ipv6-nonxt"}, {60, "ipv6-opts"}, {73, "rspf"}, {81, "vmtp"}, {88, "eigrp"},
		{89, "ospf"}, {93, "ax.25"}, {94, "ipip"}, {97, "etherip"}, {98, "encap"}, {103, "pim"}, {108, "ipcomp"}, {112, "vrrp"},
		{115, "l2tp"}, {124, "isis"}, {132, "sctp"}, {133, "fc"}, {135, "mobility-header"}, {136, "udplite"}, {137, "mpls-in-ip"},
		{138, "manet"}, {139, "hip"}, {140, "shim6"}, {141, "wesp"}, {142, "rohc"}, {143, "ethernet"}}},
	TypePort: {name: "inet_service", magic: 13, len: 2, order: networkOrder, format: formatDecimal},
	TypeMark: {name: "mark", magic: 19, len: 4, order: hostOrder, format: formatMark},
	TypeFamily: {magic: 2, len: 1, order: hostOrder, format: formatDecimal, names: []symbol{{2, "ipv4"}, {10, "ipv6"}},
		typeof: "meta nfproto", typeofData: typeofExpr(udataMeta, udataUint32(0, 15))},
	TypeTarget: {magic: 4, len: 16, order: networkOrder, format: formatHex,
		typeof: "@th,64,128", typeofData: typeofExpr(udataPayload,
			udataUint32(0, 0), udataUint32(1, 0), udataUint32(2, 3), udataUint32(3, 64), udataUint32(4, 128))},

	typeCTState: {name: "ct_state", magic: 26, len: 4, order: hostOrder, format: formatHost, names: []symbol{
		{1, "invalid"}, {2, "established"}, {4, "related"}, {8, "new"}, {64, "untracked"}}},
	typeCTStatus: {name: "ct_status", magic: 28, len: 4, order: hostOrder, format: formatHost, names: []symbol{
		{1, "expected"}, {2, "seen-reply"}, {4, "assured"}, {8, "confirmed"}, {16, "snat"}, {32, "dnat"}, {512, "dying"}}},
	typeEtherType: {name: "ether_type", magic: 10, len: 2, order: networkOrder, format: formatEtherType, names: []symbol{
		{0x0800, "ip"}, {0x0806, "arp"}, {0x86dd, "ip6"}, {0x8100, "8021q"}, {0x88a8, "8021ad"}}},
	typeARPOperation: {name: "arp_op", magic: 11, len: 2, order: networkOrder, format: formatDecimal, names: []symbol{
		{1, "request"}, {2, "reply"}, {3, "rrequest"}, {4, "rreply"}, {8, "inrequest"}, {9, "inreply"}, {10, "nak"}}},
	typeICMPType: {name: "icmp_type", magic: 14, len: 1, order: networkOrder, format: formatDecimal, names: []symbol{
		{0, "echo-reply"}, {3, "destination-unreachable"}, {4, "source-quench"}, {5, "redirect"}, {8, "echo-request"},
		{9, "router-advertisement"}, {10, "router-solicitation"}, {11, "time-exceeded"}, {12, "parameter-problem"},
		{13, "timestamp-request"}, {14, "timestamp-reply"}, {15, "info-request"}, {16, "info-reply"},
		{17, "address-mask-request"}, {18, "address-mask-reply"}}},
	typeICMP6Type: {name: "icmpv6_type", magic: 29, len: 1, order: networkOrder, format: formatDecimal, names: []symbol{
		{1, "destination-unreachable"}, {2, "packet-too-big"}, {3, "time-exceeded"}, {4, "parameter-problem"},
		{128, "echo-request"}, {129, "echo-reply"}, {130, "mld-listener-query"}, {131, "mld-listener-report"},
		{132, "mld-listener-done"}, {133, "nd-router-solicit"}, {134, "nd-router-advert"}, {135, "nd-neighbor-solicit"},
		{136, "nd-neighbor-advert"}, {137, "nd-redirect"}, {138, "router-renumbering"}, {141, "ind-neighbor-solicit"},
		{142, "ind-neighbor-advert"}, {143, "mld2-listener-report"}}},
	typeIGMPType: {name: "igmp_type", magic: 42, len: 1, order: networkOrder, format: formatDecimal, names: []symbol{
		{0x11, "membership-query"}, {0x12, "membership-report-v1"}, {0x16, "membership-report-v2"},
		{0x17, "leave-group"}, {0x22, "membership-report-v3"}}},
	typeFIBAddrType: {name: "fib_addrtype", magic: 38, len: 4, order: hostOrder, format: formatHost, names: []symbol{
		{0, "unspec"}, {1, "unicast"}, {2, "local"}, {3, "broadcast"}, {4, "anycast"}, {5, "multicast"}, {6, "blackhole"},
		{7, "unreachable"}, {8, "prohibit"}}},
	typeMissing: {name: "boolean", magic: 39, len: 1, order: hostOrder, format: formatDecimal, names: []symbol{
		{0, "missing"}, {1, "exists"}}},
	typeNumber:  {magic: 4, order: networkOrder, format: formatDecimal},
	typeInteger: {magic: 4, order: networkOrder, format: formatHex},
}

// info is the description of t; an invalid Type has that of typeInteger.
func (t Type) info() *datatype {
	if t == 0 || int(t) >= len(datatypes) {
		t = typeInteger
	}
	return &datatypes[t]
}

// text is a value in nft syntax.
func (d *datatype) text(b []byte) string {
	if len(d.names) > 0 && len(b) == int(d.len) {
		n := d.number(b)
		for _, s := range d.names {
			if s.value == n {
				return s.name
			}
		}
	}
	return d.format(b)
}

// number is a value of at most four bytes.
func (d *datatype) number(b []byte) uint32 {
	var n [4]byte
	if d.order == hostOrder && len(b) == 4 {
		return binary.NativeEndian.Uint32(b)
	}
	copy(n[4-len(b):], b)
	return binary.BigEndian.Uint32(n[:])
}

// formatName quotes a name; without the escape an asterisk at the end would stand for all names that begin so.
func formatName(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	if prefix, ok := bytes.CutSuffix(b, []byte("*")); ok {
		return `"` + string(prefix) + `\*"`
	}
	return `"` + string(b) + `"`
}

func formatAddr(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return formatHex(b)
	}
	if low := a.As16(); a.Is6() && [12]byte(low[:12]) == [12]byte{} && (low[12] != 0 || low[13] != 0) {
		return "::" + netip.AddrFrom4([4]byte(low[12:])).String() // as inet_ntop(3) writes it
	}
	return a.String()
}

func formatEther(b []byte) string {
	var s []byte
	for i, c := range b {
		if i > 0 {
			s = append(s, ':')
		}
		s = fmt.Appendf(s, "%02x", c)
	}
	return string(s)
}

func formatDecimal(b []byte) string {
	n := uint64(0)
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return strconv.FormatUint(n, 10)
}

func formatHost(b []byte) string {
	if len(b) != 4 {
		return formatHex(b)
	}
	return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(b)), 10)
}

func formatMark(b []byte) string {
	if len(b) != 4 {
		return formatHex(b)
	}
	return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
}

func formatEtherType(b []byte) string { return fmt.Sprintf("0x%04x", b) }

func formatHex(b []byte) string {
	digits := strings.TrimLeft(fmt.Sprintf("%x", b), "0")
	if digits == "" {
		digits = "0"
	}
	return "0x" + digits
}
