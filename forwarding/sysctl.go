package forwarding

import "github.com/bridged/bridged"

// Sysctl is a kernel parameter and the value it should have.
type Sysctl struct {
	// Path is relative to /proc/sys, with slashes, so that an interface's name may have dots: net/ipv4/conf/br0.5/rp_filter.
	Path  string
	Value string
}

// String is as in "net/ipv4/ip_forward = 1".
func (s Sysctl) String() string { return s.Path + " = " + s.Value }

// Sysctls are those of a network's bridge, in the order in which to set them, which is that of their paths: after the
// bridge was made, before it goes up and gets addresses. A network without a bridge has none, and one whose bridge was given only the
// first of these.
//
//   - route_localnet=1: ports published on 127.0.0.1 lead to a sandbox, so packets from 127.0.0.1 leave by the bridge. That
//     switches off the kernel's martian checks; guard has them instead.
//   - rp_filter=2: the kernel takes the larger of this value and that of "all". Strict (1), as some distributions have it, drops
//     what a sandbox in two networks sends; loose (2) outranks it. The strict check is the program's, for both
//     families, with the exceptions that it needs (chain spoofed).
//   - send_redirects=0: a link goes in and out by the same bridge. It has no effect while "all" is 1, therefore
//     there is the chain redirects, too.
//   - accept_redirects=0: no sandbox tells the host which way to go.
//   - accept_ra=0, and then the rest of IPv6: no sandbox gives the host a default route or an address.
//   - accept_dad=0: addresses are good at once. Duplicate address detection takes a second, and on a bridge without carrier it
//     waits for a port.
//   - disable_ipv6=1 where the network has no IPv6, or the host none on it: no link-local address by which sandboxes reach services of the host.
//     With IPv6 it is 0, and comes last, since it is what makes the link-local address.
func Sysctls(n bridged.Network) []Sysctl {
	if n.Bridge == "" {
		return nil
	}
	conf4, conf6 := "net/ipv4/conf/"+n.Bridge+"/", "net/ipv6/conf/"+n.Bridge+"/"
	if n.Given {
		return []Sysctl{{conf4 + "route_localnet", "1"}}
	}
	s := []Sysctl{
		{conf4 + "accept_redirects", "0"},
		{conf4 + "route_localnet", "1"},
		{conf4 + "rp_filter", "2"},
		{conf4 + "send_redirects", "0"},
	}
	if !n.IPv6.Valid() || n.Gateway(true) == bridged.GatewayIsolated {
		return append(s, Sysctl{conf6 + "disable_ipv6", "1"})
	}
	return append(s,
		Sysctl{conf6 + "accept_dad", "0"},
		Sysctl{conf6 + "accept_ra", "0"},
		Sysctl{conf6 + "accept_redirects", "0"},
		Sysctl{conf6 + "disable_ipv6", "0"},
	)
}

// HostSysctls switch forwarding on for the families of f. Before that, in this order: the elements of [Host] are committed, and,
// for IPv6, [AcceptRA] is set where it applies.
func HostSysctls(f bridged.Forwarding) []Sysctl {
	var s []Sysctl
	if f.IPv4 {
		s = append(s, Sysctl{"net/ipv4/ip_forward", "1"})
	}
	if f.IPv6 {
		s = append(s, Sysctl{"net/ipv6/conf/all/forwarding", "1"})
	}
	return s
}

// AcceptRA lets an interface of the host go on listening to routers when the host becomes one itself: 2 overrules forwarding
// where 1 does not, and the host would lose its own default route. It is for each interface whose value is 1, and for
// "default", which later interfaces begin with; not for those with 0 (listening was switched off) or 2.
func AcceptRA(link string) Sysctl {
	return Sysctl{"net/ipv6/conf/" + link + "/accept_ra", "2"}
}
