package addr

import (
	"fmt"
	"net/netip"
	"strings"
)

// Route is a route, in the kernel's terms. The zero values of Table, Type and Protocol ask for the main table, a unicast
// route and RTPROT_STATIC when a route is added.
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
}

// Equal reports whether the two are the same in every field.
func (r Route) Equal(o Route) bool { return r == o }

// String is like a line of "ip route", with the link's index.
func (r Route) String() string {
	var b strings.Builder
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
	return b.String()
}
