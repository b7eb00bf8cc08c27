package ipam

import "net/netip"

// FirstHost is the first address of p that a host can have: the one after the network's own, and p's only or first
// address where all of them are for hosts (/32, /31 of RFC 3021; /128, /127 of RFC 6164).
func FirstHost(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr()
	if allHosts(p) {
		return first
	}
	return first.Next()
}

// allHosts reports whether a prefix is so small that it has no network and broadcast address.
func allHosts(p netip.Prefix) bool { return p.Addr().BitLen()-p.Bits() <= 1 }

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	hostBits := p.Addr().BitLen() - p.Bits()
	for i := 15; hostBits > 0; i, hostBits = i-1, hostBits-8 {
		b[i] |= 0xff >> max(0, 8-hostBits)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		a = a.Unmap()
	}
	return a
}

// within reports whether all of inner is in outer.
func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

// unusable are the prefixes that no subnet may touch, each with the reason.
func unusable() map[netip.Prefix]string {
	return map[netip.Prefix]string{
		netip.MustParsePrefix("0.0.0.0/8"):          "addresses of no host",
		netip.MustParsePrefix("127.0.0.0/8"):        "loopback addresses",
		netip.MustParsePrefix("224.0.0.0/4"):        "multicast addresses",
		netip.MustParsePrefix("255.255.255.255/32"): "the broadcast address of every link",
		netip.MustParsePrefix("::/96"):              "the unspecified and the loopback address",
		netip.MustParsePrefix("::ffff:0:0/96"):      "IPv4 addresses in IPv6 form",
		netip.MustParsePrefix("fe80::/10"):          "link-local addresses, which every interface has of its own",
		netip.MustParsePrefix("ff00::/8"):           "multicast addresses",
	}
}
