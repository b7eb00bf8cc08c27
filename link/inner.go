package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// Inner is how the inner end of a pair is set up, in its own namespace.
type Inner struct {
	// Name is the interface's; Index its index, or 0 when the caller does not know.
	Name  string
	Index int
	// Addrs are its addresses with their prefix lengths.
	Addrs []netip.Prefix
	// DAD: IPv6 addresses can be used when nobody else was found to have them. Without it they can at once.
	DAD bool
	// MTU in bytes; 0: it stays.
	MTU     int
	Promisc bool
	// Down: the link stays down.
	Down bool
	// Routes are further ones, by way of the link; their Link is ignored. Others to the same destinations stay beside them.
	Routes []addr.Route
	// Gateways are the next hops of default routes, at most one a family.
	Gateways []netip.Addr
	// Replace: default routes that are there give way; else they are unix.EEXIST.
	Replace bool
	// Protocol marks the default routes, RTPROT_…; 0 is RTPROT_STATIC.
	Protocol int
	// IPv6: the interface has IPv6, and its link-local address is made of its MAC.
	IPv6 bool
}

// loopback is the index of lo in every network namespace (LOOPBACK_IFINDEX, net/flow.h).
const loopback = 1

// Configure sets up the inner end of a pair in one datagram, on a Conn in its namespace: the loopback up, then the link, then
// addresses, then routes. The error is that of the first step that failed; those behind it were tried too, and what was done stays.
func (c *Conn) Configure(in Inner) error {
	if in.Index == 0 {
		var err error
		if in.Index, err = c.socket.Index(in.Name); err != nil {
			return fmt.Errorf("cannot configure %s: %w", in.Name, err)
		}
	}
	var b rtnl.Batch
	steps := in.append(&b)
	failed, err := c.socket.Do(&b, nil)
	if err != nil {
		return fmt.Errorf("cannot configure %s: %w", in.Name, err)
	}
	for _, f := range failed {
		if steps[f.Message] == stepGenMode && errors.Is(f.Err, unix.EAFNOSUPPORT) {
			continue // no IPv6 here; an IPv6 address among Addrs has its own error
		}
		return fmt.Errorf("cannot configure %s: %s: %w", in.Name, steps[f.Message], f.Err)
	}
	return nil
}

// stepGenMode is the one step that may fail.
const stepGenMode = "link-local address"

// append adds the messages, and returns what each one does.
func (in Inner) append(b *rtnl.Batch) (steps []string) {
	setUp(b, loopback)
	steps = append(steps, "loopback up")
	if in.IPv6 {
		b.Begin(unix.RTM_SETLINK, 0)
		b.Link(unix.AF_UNSPEC, in.Index, 0, 0)
		b.Nest(unix.IFLA_AF_SPEC, func() {
			b.Nest(unix.AF_INET6, func() { b.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, nl.IN6_ADDR_GEN_MODE_EUI64) })
		})
		steps = append(steps, stepGenMode)
	}
	if in.MTU != 0 {
		set(b, in.Index)
		b.Uint32(unix.IFLA_MTU, uint32(in.MTU))
		steps = append(steps, fmt.Sprintf("MTU %d", in.MTU))
	}
	if in.Promisc {
		b.Begin(unix.RTM_SETLINK, 0)
		b.Link(unix.AF_UNSPEC, in.Index, unix.IFF_PROMISC, unix.IFF_PROMISC)
		steps = append(steps, "promiscuous mode")
	}
	if !in.Down {
		setUp(b, in.Index)
		steps = append(steps, "link up")
	}
	for _, p := range in.Addrs {
		addr.Address{Link: in.Index, Prefix: p, NoDAD: !in.DAD}.Append(b)
		steps = append(steps, "address "+p.String())
	}
	for _, r := range in.Routes {
		r.Link = in.Index
		r.AppendBeside(b)
		r.Link = 0
		steps = append(steps, "route "+r.String())
	}
	for _, g := range in.Gateways {
		route := addr.Default(g, in.Index)
		route.Protocol = in.Protocol
		if in.Replace {
			route.AppendReplace(b)
		} else {
			route.Append(b)
		}
		steps = append(steps, "default route by way of "+g.String())
	}
	return steps
}
