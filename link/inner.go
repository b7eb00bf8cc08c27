package link

import "net/netip"

// Inner is how the inner end of a pair is set up, in its own namespace.
type Inner struct {
	Index int
	Name  string
	// Addrs are its addresses with their prefix lengths.
	Addrs []netip.Prefix
	// Gateways are the next hops of default routes, at most one a family.
	Gateways []netip.Addr
	// IPv6: the interface has IPv6, and its link-local address is made of its MAC.
	IPv6 bool
}
