package addr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// Conn is an rtnetlink socket. It is safe for concurrent use: calls run one after the other.
//
// Errors name the object, wrap the kernel's errno, for [errors.Is] with unix.EEXIST and the like, and carry the kernel's
// extended acknowledgement.
type Conn struct {
	socket *rtnl.Socket
}

// Options are what DialWith can be told. The zero value is good.
type Options = rtnl.Options

// Dial opens a Conn in the calling thread's network namespace; the Conn stays there, whoever uses it.
func Dial() (*Conn, error) { return DialWith(Options{}) }

// ErrTooLong: a list has more entries than the options of its Conn allow.
var ErrTooLong = rtnl.ErrTooLong

// DialWith is Dial with options.
func DialWith(o Options) (*Conn, error) {
	s, err := o.Dial()
	if err != nil {
		return nil, err
	}
	return &Conn{s}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.socket.Close() }

// Addresses lists the addresses of all links, both families.
func (c *Conn) Addresses() ([]Address, error) { return c.AddressesOf(0) }

// AddressesOf lists the addresses of one link, by its index; none where it is not there.
func (c *Conn) AddressesOf(link int) ([]Address, error) {
	var b rtnl.Batch
	b.Begin(unix.RTM_GETADDR, 0)
	b.Address(unix.AF_UNSPEC, 0, 0, link)
	var list []Address
	err := c.socket.Dump(&b, func() { list = nil }, func(kind uint16, body []byte) {
		// Kernels that don't know of lists of one link send all.
		if a, ok := decodeAddress(body); ok && kind == unix.RTM_NEWADDR && (link == 0 || a.Link == link) {
			list = append(list, a)
		}
	})
	if err != nil && !(link != 0 && errors.Is(err, unix.ENODEV)) {
		return nil, fmt.Errorf("cannot list addresses: %w", err)
	}
	return list, nil
}

// Routes lists the routes of IPv4 and IPv6 in all tables and of all types. A route with several next hops appears once for
// each.
func (c *Conn) Routes() ([]Route, error) { return c.RoutesOf(0) }

// RoutesOf is Routes for those that lead out by one link, by its index.
func (c *Conn) RoutesOf(link int) ([]Route, error) {
	var list []Route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var b rtnl.Batch
		b.Begin(unix.RTM_GETROUTE, 0)
		b.Route(unix.RtMsg{Family: family})
		if link != 0 {
			b.Uint32(unix.RTA_OIF, uint32(link))
		}
		before := len(list)
		err := c.socket.Dump(&b, func() { list = list[:before] }, func(kind uint16, body []byte) {
			if kind != unix.RTM_NEWROUTE {
				return
			}
			for _, r := range decodeRoutes(body) {
				if link == 0 || r.Link == link {
					list = append(list, r)
				}
			}
		})
		if err != nil && !(link != 0 && errors.Is(err, unix.ENODEV)) {
			return nil, fmt.Errorf("cannot list routes: %w", err)
		}
	}
	return list, nil
}

// Add adds an address: unix.EEXIST when the link has it, unix.ENODEV when the link is not there.
func (c *Conn) Add(a Address) error {
	var b rtnl.Batch
	a.Append(&b)
	return c.do(&b, "add address", a)
}

// Delete deletes an address: unix.EADDRNOTAVAIL when the link does not have it, unix.ENODEV when the link is not there. With the
// first IPv4 address of a subnet the kernel deletes the link's others of that subnet, unless the sysctl promote_secondaries is on.
func (c *Conn) Delete(a Address) error {
	var b rtnl.Batch
	a.append(&b, unix.RTM_DELADDR, 0)
	return c.do(&b, "delete address", a)
}

// AddRoute adds a route: unix.EEXIST when it is there, unix.ENETUNREACH or unix.EHOSTUNREACH when its gateway can't be
// reached.
func (c *Conn) AddRoute(r Route) error {
	var b rtnl.Batch
	r.Append(&b)
	return c.do(&b, "add route", r)
}

// DeleteRoute deletes the first route that has all that r has: unix.ESRCH when there is none. What is zero in r matches
// anything, except that the table is the main table.
func (c *Conn) DeleteRoute(r Route) error {
	var b rtnl.Batch
	r.append(&b, unix.RTM_DELROUTE, 0)
	return c.do(&b, "delete route", r)
}

// do runs the one request in b.
func (c *Conn) do(b *rtnl.Batch, what string, object fmt.Stringer) error {
	failed, err := c.socket.Do(b, nil)
	if err == nil && len(failed) > 0 {
		err = failed[0].Err
	}
	if err != nil {
		return fmt.Errorf("cannot %s %v: %w", what, object, err)
	}
	return nil
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// order is the byte order of netlink: the machine's.
var order = binary.NativeEndian
