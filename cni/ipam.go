package cni

import (
	"net/netip"

	"github.com/bridged/bridged"
)

// ipam says what addresses containers get.
type ipam struct {
	Type string
	// Ranges are sets of ranges: one address comes from each set.
	Ranges list[rangeSet, *rangeSet]
	Routes list[route, *route]
	// ResolvConf is the path of a resolv.conf whose content goes to the result.
	ResolvConf string
	// IPv6 of type bridged without a range of its own: with a subnet of the daemon's choice for IPv6, too.
	IPv6 bool
	// single is the one range of old configurations, before Ranges.
	single addressRange
}

// rangeSet are ranges that one address is taken from, in order.
type rangeSet = list[addressRange, *addressRange]

// addressRange is a part of a subnet.
type addressRange struct {
	Subnet               prefix
	RangeStart, RangeEnd address
	Gateway              address
}

// route is a route of the container.
type route struct {
	Dst           prefix
	Gateway       address
	MTU, Priority int
	Table         *int
}

// The types of ipam that are understood: the daemon is both.
const ipamBridged, ipamHostLocal = "bridged", "host-local"

func (i *ipam) checkType() error {
	if i.Type == ipamBridged || i.Type == ipamHostLocal {
		return nil
	}
	return &Error{CodeInvalid, "ipam.type: " + i.Type + " would be a further process, and none is started",
		"use bridged or host-local: the daemon then gives the addresses, of the subnets in ipam.ranges"}
}

// set is a set of ranges, and where it and they are.
type set = placed[[]placed[addressRange]]

// sets are all sets of ranges: what the runtime asks for, the single range, and the configured ones.
func (c *Config) sets() (all []set) {
	if c.IPAM == nil {
		return nil
	}
	list := func(sets []placed[rangeSet]) {
		for _, s := range sets {
			all = append(all, set{s.path, at(s.path, s.value)})
		}
	}
	list(at("runtimeConfig.ipRanges", c.RuntimeConfig.Ranges))
	if c.IPAM.single != (addressRange{}) {
		all = append(all, set{"ipam", []placed[addressRange]{{"ipam", c.IPAM.single}}})
	}
	list(at("ipam.ranges", c.IPAM.Ranges))
	return all
}

// ipv6First reports whether the first set of ranges is one of IPv6: a result has addresses in the order of the sets.
func (c *Config) ipv6First() bool {
	sets := c.sets()
	return len(sets) > 0 && len(sets[0].value) > 0 && sets[0].value[0].value.Subnet.prefix().Addr().Is6()
}

// subnets are the subnets of the network, one a family. Without a range the daemon chooses one, a prefix of length 0.
func (c *Config) subnets() (ipv4, ipv6 bridged.Subnet, err error) {
	sets := c.sets()
	if len(sets) == 0 && c.IPAM.Type == ipamBridged {
		ipv4.Prefix = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if c.IPAM.IPv6 {
			ipv6.Prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return ipv4, ipv6, nil
	}
	if c.IPAM.IPv6 {
		return ipv4, ipv6, errorf(CodeInvalid, "ipam.ipv6: true beside ranges of addresses: add a range of IPv6 to ipam.ranges instead")
	}
	if len(sets) == 0 {
		return ipv4, ipv6, errorf(CodeInvalid, `ipam: there is no range of addresses: want for example "ranges": [[{"subnet": "10.1.0.0/16"}]]`)
	}
	for _, set := range sets {
		s, err := subnetOf(set)
		if err != nil {
			return ipv4, ipv6, err
		}
		into := &ipv4
		if s.Prefix.Addr().Is6() {
			into = &ipv6
		}
		if into.Valid() {
			return ipv4, ipv6, &Error{CodeInvalid, set.path + ": " + s.Prefix.String() + " is a second subnet of its family beside " + into.Prefix.String(),
				"an interface has one address a family: attach to a further network for another"}
		}
		*into = s
	}
	return ipv4, ipv6, nil
}

// subnetOf is the subnet that the ranges of a set are parts of.
func subnetOf(set set) (s bridged.Subnet, err error) {
	if len(set.value) == 0 {
		return s, errorf(CodeInvalid, "%s: there is no range in it", set.path)
	}
	for _, r := range set.value {
		if err := r.value.check(r.path); err != nil {
			return s, err
		}
		switch subnet, gateway := r.value.Subnet.prefix(), r.value.Gateway.addr(); {
		case !s.Valid():
			s.Prefix, s.Gateway = subnet, gateway
		case s.Prefix != subnet:
			return s, &Error{CodeInvalid, r.path + ".subnet: " + subnet.String() + " is another subnet than " + s.Prefix.String(),
				"the ranges of one set must be parts of one subnet here"}
		case s.Gateway != gateway:
			return s, errorf(CodeInvalid, "%s.gateway: the ranges of one subnet have different gateways", r.path)
		}
		s.Ranges = append(s.Ranges, bridged.AddrRange{First: r.value.RangeStart.addr(), Last: r.value.RangeEnd.addr()})
	}
	if len(s.Ranges) == 1 && s.Ranges[0] == (bridged.AddrRange{}) {
		s.Ranges = nil // all of it
	}
	return s, nil
}

// check says whether the range at path can be.
func (r addressRange) check(path string) error {
	subnet := r.Subnet.prefix()
	switch {
	case !subnet.IsValid():
		return errorf(CodeInvalid, "%s.subnet is missing: want for example 10.1.0.0/16", path)
	case subnet != subnet.Masked():
		return errorf(CodeInvalid, "%s.subnet: %s has bits of a host: want %s", path, subnet, subnet.Masked())
	case subnet.Bits() > subnet.Addr().BitLen()-2:
		return errorf(CodeInvalid, "%s.subnet: %s is too small to give out addresses", path, subnet)
	}
	for _, a := range []placed[netip.Addr]{{"rangeStart", r.RangeStart.addr()}, {"rangeEnd", r.RangeEnd.addr()}, {"gateway", r.Gateway.addr()}} {
		if a.value.IsValid() && !subnet.Contains(a.value) {
			return errorf(CodeInvalid, "%s.%s: %s is not in the subnet %s", path, a.path, a.value, subnet)
		}
	}
	if first, last := r.RangeStart.addr(), r.RangeEnd.addr(); first.IsValid() && last.IsValid() && last.Less(first) {
		return errorf(CodeInvalid, "%s.rangeEnd: %s comes before rangeStart, %s", path, last, first)
	}
	return nil
}

// routes are the routes that are asked for.
func (c *Config) routes() (routes []bridged.Route, err error) {
	for _, r := range at("ipam.routes", c.IPAM.Routes) {
		dst, gateway, table := r.value.Dst.prefix(), r.value.Gateway.addr(), 0
		if r.value.Table != nil {
			table = *r.value.Table
		}
		switch {
		case !dst.IsValid():
			return nil, errorf(CodeInvalid, "%s.dst is missing: want for example 10.2.0.0/16", r.path)
		case gateway.IsValid() && gateway.Is4() != dst.Addr().Is4():
			return nil, errorf(CodeInvalid, "%s.gw: %s is of another family than %s", r.path, gateway, dst)
		}
		for _, n := range []placed[int]{{"mtu", r.value.MTU}, {"priority", r.value.Priority}, {"table", table}} {
			if n.value < 0 || uint64(n.value) > maxUint32 {
				return nil, errorf(CodeInvalid, "%s.%s: %d can't be: want a number from 0 to %d", r.path, n.path, n.value, uint64(maxUint32))
			}
		}
		routes = append(routes, bridged.Route{Dst: dst.Masked(), Gateway: gateway, MTU: r.value.MTU, Priority: r.value.Priority, Table: table})
	}
	return routes, nil
}

const maxUint32 = 1<<32 - 1
