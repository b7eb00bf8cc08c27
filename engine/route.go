package engine

import (
	"cmp"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/link"
)

// routeProtocol marks the routes that are ours (RTPROT_…, linux/rtnetlink.h leaves numbers above 4 to daemons; it is none of
// iproute2's list). What a container adds itself has another.
const routeProtocol = 98

// routeID names a route of ours inside a sandbox: the host's end of the pair that it leads through, and where it leads.
type routeID struct {
	host string
	dst  netip.Prefix
}

func (id routeID) compare(o routeID) int {
	return cmp.Or(cmp.Compare(id.host, o.host), id.dst.Addr().Compare(o.dst.Addr()), cmp.Compare(id.dst.Bits(), o.dst.Bits()))
}

// route leads by way of a gateway: the default route, or one to a single address.
type route struct {
	inside
	gateway netip.Addr
}

// inside is the inner end of a pair.
type inside struct {
	netns string // path of the namespace
	nsid  bridged.NamespaceID
	name  string // of the interface
}

// inner is the inner end of an endpoint's pair; false for a lease, which has none.
func (k compiler) inner(e bridged.Endpoint) (inside, bool) {
	s, ok := k.x.Sandboxes[e.Sandbox]
	return inside{netns: s.NetNS, nsid: s.NSID, name: e.Interface}, ok && e.HostInterface != ""
}

// anywhere is the destination of a default route.
func anywhere(ipv6 bool) netip.Prefix {
	if ipv6 {
		return anyPrefix6
	}
	return anyPrefix4
}

// single is the destination that is one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// route wants a way from an endpoint by way of its network's gateway.
func (k compiler) route(w *objects, from bridged.Endpoint, to netip.Prefix, gateway netip.Addr) {
	if in, ok := k.inner(from); ok {
		put(&w.routes, routeID{from.HostInterface, to}, route{in, gateway})
	}
}

// visit names the inner ends where routes of ours may have changed since they were set up: those of all that has a link, also one that is going,
// and of all that is in several networks, or was under an earlier daemon.
func (k compiler) visit(w *objects) {
	for stack, endpoints := range k.x.endpoints {
		if len(endpoints) < 2 && len(k.x.links[stack]) == 0 && !k.x.departed.left(stack) {
			continue
		}
		for _, id := range endpoints {
			e := k.x.Endpoints[id]
			if in, ok := k.inner(e); ok {
				put(&w.visits, e.HostInterface, in)
			}
		}
	}
}

// routed plans the routes. Those of a pair that goes need no step of their own, nor do the default routes of one that is just joined.
func (p Plan) routed(have, want objects) Plan {
	var add, del []routeID
	for id, r := range want.routes {
		// The namespace's path may have changed, which changes nothing inside.
		joins := id.dst.Bits() == 0 && !have.pairs[id.host].joined
		if have.routes[id].gateway != r.gateway && !joins {
			add = append(add, id)
		}
	}
	for id := range have.routes {
		_, wanted := want.routes[id]
		_, had := have.pairs[id.host]
		_, stays := want.pairs[id.host]
		if !wanted && (stays || !had) {
			del = append(del, id)
		}
	}
	ordered.Sort(add, routeID.compare)
	ordered.Sort(del, routeID.compare)
	for _, id := range add {
		p = append(p, addRoute{id, want.routes[id]})
	}
	for _, id := range del {
		p = append(p, delRoute{id, have.routes[id]})
	}
	return p
}

// addRoute sets a route of ours. What became of a container's interface is its own business: where there is no place for the route, a
// warning says so, and the container can set its interface up and ask for the link again.
func (m *machine) addRoute(s addRoute) error {
	err := m.inside(s.inside, func(c *addr.Conn, index int) error { return c.ReplaceRoute(s.onLink(index)) })
	for _, theirs := range []error{
		unix.ENOENT, unix.ENODEV, unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL,
	} {
		if errors.Is(err, theirs) {
			m.log.Warn("cannot set a link's route in a sandbox: its end of the link does not work", "route", s.String(), "error", err)
			return nil
		}
	}
	return err
}

// delRoute is done where there is no such route, interface or namespace any more.
func (m *machine) delRoute(s delRoute) error {
	err := m.inside(s.inside, func(c *addr.Conn, index int) error { return c.DeleteRoute(s.onLink(index)) })
	for _, gone := range []error{unix.ENOENT, unix.EINVAL, unix.ENODEV, unix.ESRCH} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

func (s addRoute) onLink(index int) addr.Route { return s.routeID.onLink(s.gateway, index) }
func (s delRoute) onLink(index int) addr.Route { return s.routeID.onLink(s.gateway, index) }

func (id routeID) onLink(gateway netip.Addr, index int) addr.Route {
	return addr.Route{Dst: id.dst, Gateway: gateway, Link: index, Protocol: routeProtocol}
}

// inside runs f in a sandbox's namespace with the index of its interface. It fails with unix.ENOENT when another
// namespace is at the path by now: that one is not ours to touch.
func (m *machine) inside(in inside, f func(c *addr.Conn, index int) error) error {
	ns, err := openExactly(in.netns, in.nsid)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(func() error {
		links, err := link.DialBriefly(m.here())
		if err != nil {
			return err
		}
		defer links.Close()
		l, err := links.ByName(in.name)
		if err != nil {
			return err
		}
		routes, err := addr.DialWith(m.here())
		if err != nil {
			return err
		}
		defer routes.Close()
		return f(routes, l.Index)
	})
}

// mostStrays is how many routes that nobody wants are removed from an interface at a time. Each takes a visit, and a container can make as many
// as it likes that look like ours.
const mostStrays = 256

// observeRoutes finds our routes where want says that they may have changed; elsewhere they are what they were set up with, or the container's own
// business. A sandbox that can't be visited has none.
func (m *machine) observeRoutes(have *objects, want objects) {
	for id, r := range want.routes {
		if _, visited := want.visits[id.host]; !visited && have.pairs[id.host].joined {
			have.routes[id] = r
		}
	}
	for host, in := range want.visits {
		strays := 0
		err := m.inside(in, func(c *addr.Conn, index int) error {
			all, err := c.Routes()
			for _, r := range all {
				if r.Table != unix.RT_TABLE_MAIN {
					continue
				}
				if d := (routeID{host, r.Dst}); r.Dst.Bits() == 0 && r.Protocol != routeProtocol && want.routes[d].gateway.IsValid() {
					have.routes[d] = want.routes[d] // the container has made its own
				}
				if r.Link != index || r.Protocol != routeProtocol {
					continue
				}
				id := routeID{host, r.Dst}
				if _, wanted := want.routes[id]; !wanted {
					if strays++; strays > mostStrays {
						continue
					}
				}
				have.routes[id] = route{in, r.Gateway}
			}
			return err
		})
		if errors.Is(err, addr.ErrTooLong) { // what is done in there is not for us to know
			for id, r := range want.routes {
				if id.host == host {
					have.routes[id] = r
				}
			}
		}
		if err != nil {
			m.log.Debug("cannot look for routes in a sandbox", "namespace", in.netns, "link", host, "error", err)
		}
	}
}
