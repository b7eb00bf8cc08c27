package hostcheck

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
)

// Overlap says that a requested network is in use on the host: by a route, or by a nameserver. It is an error; [errors.As] finds it.
type Overlap struct {
	// Requested is the network, masked.
	Requested netip.Prefix
	// Nameserver is the address that is in it; the zero Addr: it is a route.
	Nameserver netip.Addr
	// Route has addresses in common with it.
	Route addr.Route
	// Link is the name of the route's link; "" when it has none or the name is not known.
	Link string
}

// Error names both sides, as in "requested network 10.0.0.0/16 overlaps with route 10.0.0.0/8 dev tun0".
func (o *Overlap) Error() string {
	if o.Nameserver.IsValid() {
		return fmt.Sprintf("requested network %v overlaps with nameserver %v", o.Requested, o.Nameserver)
	}
	return fmt.Sprintf("requested network %v overlaps with route %s", o.Requested, o.RouteText())
}

// RouteText is the route as "ip route" prints it, but always with its prefix length.
func (o *Overlap) RouteText() string {
	r := o.Route
	text := r.Dst.String()
	if kind := routeType(r.Type); kind != "" {
		text = kind + " " + text
	}
	switch {
	case o.Link != "":
		text += " dev " + o.Link
	case r.Link != 0:
		text += fmt.Sprintf(" dev if%d", r.Link)
	}
	if r.Table != unix.RT_TABLE_UNSPEC && r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_LOCAL {
		text += fmt.Sprintf(" table %d", r.Table)
	}
	return text
}

// routeType is a route's type (RTN_…) in the words of "ip route"; "" for unicast.
func routeType(t int) string {
	switch t {
	case unix.RTN_UNSPEC, unix.RTN_UNICAST:
		return ""
	case unix.RTN_LOCAL:
		return "local"
	case unix.RTN_BROADCAST:
		return "broadcast"
	case unix.RTN_ANYCAST:
		return "anycast"
	case unix.RTN_MULTICAST:
		return "multicast"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	case unix.RTN_THROW:
		return "throw"
	}
	return fmt.Sprintf("type %d", t)
}

// NameserverOverlap is the first of the servers that is in the candidate; nil: none is.
func NameserverOverlap(candidate netip.Prefix, servers []netip.Addr) *Overlap {
	for _, s := range servers {
		if s = s.WithZone(""); candidate.Contains(s) {
			return &Overlap{Requested: candidate.Masked(), Nameserver: s}
		}
	}
	return nil
}

// RouteOverlap is the route that has addresses in common with the candidate; nil: there is none. Of several it is one of the
// main table before those of others, and then the first. own says which links are bridges of the caller's, whose routes don't
// count; names are the links' names, for the error. Both may be nil.
//
// Every table and type counts: where a route leads nowhere (blackhole, unreachable), somebody wants those addresses to reach nobody,
// and the addresses of the host itself are routes of type local. A route without a destination overlaps nothing: default
// routes, and the two halves of the address space by which VPN clients cover a default route.
func RouteOverlap(candidate netip.Prefix, routes []addr.Route, own func(link int) bool, names map[int]string) *Overlap {
	best := -1
	for i, r := range routes {
		if !counts(r, own) || !candidate.Overlaps(r.Dst) {
			continue
		}
		if r.Table == unix.RT_TABLE_MAIN {
			best = i
			break
		}
		if best < 0 {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return &Overlap{Requested: candidate.Masked(), Route: routes[best], Link: names[routes[best].Link]}
}

// counts reports whether the route takes its destination away from others.
func counts(r addr.Route, own func(link int) bool) bool {
	return r.Dst.Bits() > 1 && (own == nil || r.Link == 0 || !own(r.Link))
}
