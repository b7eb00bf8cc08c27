package addr

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// Route is a route, in the kernel's terms. When a route is added, the zero values of Table, Type and Protocol ask for the main
// table, a unicast route and RTPROT_STATIC, and Scope follows from Type and Gateway.
type Route struct {
	// Dst is the destination, masked. A default route has the family's /0.
	Dst netip.Prefix
	// Gateway is the next hop; the zero Addr: the destination is on the link.
	Gateway netip.Addr
	// Link is the index of the outgoing link; 0: none, or left to the kernel.
	Link int
	// Source is the preferred source address; the zero Addr: none.
	Source netip.Addr
	// Table is RT_TABLE_…, Type is RTN_…, Protocol is RTPROT_…, Scope is RT_SCOPE_….
	Table, Type, Protocol, Scope int
	// Priority is the metric; IPv6 gives 1024 to a route that was added with 0.
	Priority int
	// MTU of the path, in bytes; 0: the link's.
	MTU int
}

// Default is the default route by way of gateway.
func Default(gateway netip.Addr, link int) Route {
	any := netip.IPv4Unspecified()
	if gateway.Is6() {
		any = netip.IPv6Unspecified()
	}
	return Route{Dst: netip.PrefixFrom(any, 0), Gateway: gateway, Link: link}
}

// Equal reports whether the two are the same in every field.
func (r Route) Equal(o Route) bool { return r == o }

// String is like a line of "ip route", with the link's index.
func (r Route) String() string {
	var b strings.Builder
	if r.Type > unix.RTN_UNICAST {
		fmt.Fprintf(&b, "type %d ", r.Type)
	}
	fmt.Fprintf(&b, "%v", r.Dst)
	if r.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %v", r.Gateway)
	}
	if r.Link != 0 {
		fmt.Fprintf(&b, " on link %d", r.Link)
	}
	if r.Source.IsValid() {
		fmt.Fprintf(&b, " src %v", r.Source)
	}
	if r.Table != 0 {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	if r.Priority != 0 {
		fmt.Fprintf(&b, " metric %d", r.Priority)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	return b.String()
}

// Append adds the request that adds the route to a batch.
func (r Route) Append(b *rtnl.Batch) (message int) {
	return r.complete().append(b, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
}

// AppendBeside is Append, but for a route beside others to the same destination, with the same metric: the new one is used
// first, or in turn with them. The very same route is unix.EEXIST.
func (r Route) AppendBeside(b *rtnl.Batch) (message int) {
	return r.complete().append(b, unix.RTM_NEWROUTE, unix.NLM_F_CREATE)
}

// complete sets what the zero values stand for when a route is added.
func (r Route) complete() Route {
	if r.Type == 0 {
		r.Type = unix.RTN_UNICAST
	}
	if r.Protocol == 0 {
		r.Protocol = unix.RTPROT_STATIC
	}
	if r.Scope == 0 && r.Dst.Addr().Is4() && r.Type == unix.RTN_UNICAST && !r.Gateway.IsValid() {
		r.Scope = unix.RT_SCOPE_LINK
	}
	return r
}

func (r Route) append(b *rtnl.Batch, kind, flags uint16) (message int) {
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	scope := uint8(r.Scope)
	if kind == unix.RTM_DELROUTE && r.Scope == 0 {
		scope = unix.RT_SCOPE_NOWHERE // matches any
	}
	message = b.Begin(kind, flags)
	b.Route(unix.RtMsg{
		Family: family(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()),
		Protocol: uint8(r.Protocol), Scope: scope, Type: uint8(r.Type),
	})
	b.Uint32(unix.RTA_TABLE, uint32(r.Table))
	if r.Dst.Bits() > 0 {
		b.Bytes(unix.RTA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Gateway.IsValid() {
		b.Bytes(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if r.Link != 0 {
		b.Uint32(unix.RTA_OIF, uint32(r.Link))
	}
	if r.Source.IsValid() {
		b.Bytes(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.Priority != 0 {
		b.Uint32(unix.RTA_PRIORITY, uint32(r.Priority))
	}
	if r.MTU != 0 {
		b.Nest(unix.RTA_METRICS, func() { b.Uint32(unix.RTAX_MTU, uint32(r.MTU)) })
	}
	return message
}

// decodeRoutes reads the body of an RTM_NEWROUTE or RTM_DELROUTE: struct rtmsg and attributes. A route without next hops is one
// Route. Cached routes, those of families other than IP, and those to what is no prefix of their family, are none.
func decodeRoutes(body []byte) []Route {
	if len(body) < unix.SizeofRtMsg || order.Uint32(body[8:])&unix.RTM_F_CLONED != 0 {
		return nil
	}
	any := netip.IPv4Unspecified()
	switch body[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		any = netip.IPv6Unspecified()
	default:
		return nil
	}
	r := Route{
		Dst:   netip.PrefixFrom(any, int(body[1])),
		Table: int(body[4]), Protocol: int(body[5]), Scope: int(body[6]), Type: int(body[7]),
	}
	var hops []byte
	for kind, v := range rtnl.Attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			if ip, ok := netip.AddrFromSlice(v); ok {
				r.Dst = netip.PrefixFrom(ip, int(body[1])).Masked()
			}
		case unix.RTA_TABLE:
			r.Table = int(rtnl.Uint32(v))
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(v)
		case unix.RTA_PRIORITY:
			r.Priority = int(rtnl.Uint32(v))
		case unix.RTA_METRICS:
			for metric, v := range rtnl.Attributes(v) {
				if metric == unix.RTAX_MTU {
					r.MTU = int(rtnl.Uint32(v))
				}
			}
		case unix.RTA_MULTIPATH:
			hops = v
		default:
			r.hop(kind, v)
		}
	}
	if !r.Dst.IsValid() || r.Dst.Addr().Is4() != any.Is4() {
		return nil
	}
	if hops == nil {
		return []Route{r}
	}
	return r.multipath(hops)
}

// hop reads an attribute that belongs to a next hop.
func (r *Route) hop(kind uint16, v []byte) {
	switch kind {
	case unix.RTA_OIF:
		r.Link = int(rtnl.Uint32(v))
	case unix.RTA_GATEWAY:
		r.Gateway, _ = netip.AddrFromSlice(v)
	case unix.RTA_VIA: // a gateway of the other family: struct rtvia
		if len(v) > 2 {
			r.Gateway, _ = netip.AddrFromSlice(v[2:])
		}
	}
}

// multipath is the route once for each of its next hops: struct rtnexthop and attributes.
func (r Route) multipath(b []byte) []Route {
	var list []Route
	for len(b) >= unix.SizeofRtNexthop {
		n := int(order.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		one := r
		one.Link = int(order.Uint32(b[4:]))
		for kind, v := range rtnl.Attributes(b[unix.SizeofRtNexthop:n]) {
			one.hop(kind, v)
		}
		list = append(list, one)
		b = b[min((n+3)&^3, len(b)):]
	}
	return list
}
