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
	Index int
	// Name is for errors.
	Name string
	// Addrs are its addresses with their prefix lengths.
	Addrs []netip.Prefix
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
// addresses, which can be used at once, then default routes. The error is that of the first step that failed; those behind it
// were tried too, and what was done stays.
func (c *Conn) Configure(in Inner) error {
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
	setUp(b, in.Index)
	steps = append(steps, "link up")
	for _, p := range in.Addrs {
		addr.Address{Link: in.Index, Prefix: p, NoDAD: true}.Append(b)
		steps = append(steps, "address "+p.String())
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
