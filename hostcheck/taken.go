package hostcheck

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/link"
)

// Taken is what addresses are in use on a host. The zero value is a host where all are free.
type Taken struct {
	Nameservers []netip.Addr
	// Routes are of all tables and types.
	Routes []addr.Route
	// Links are the links' names, by index.
	Links map[int]string
	// Own are the links, by index, whose routes don't count: the caller's own bridges.
	Own map[int]bool
}

// ReadTaken reads the resolver's files (see [Nameservers]) and, in the calling thread's network namespace, the routes. own says
// which links are bridges of the caller's; nil: those that package link made. When only the nameservers can't be read, the
// error says so, and the rest is there.
func ReadTaken(own func(link.Link) bool) (Taken, error) {
	routes, links, err := readRoutes()
	if err != nil {
		return Taken{}, err
	}
	t := NewTaken(routes, links, own)
	t.Nameservers, err = Nameservers()
	return t, err
}

// NewTaken is what routes and links take that somebody has read already; the nameservers are left to the caller. own is that of [ReadTaken].
func NewTaken(routes []addr.Route, links []link.Link, own func(link.Link) bool) Taken {
	if own == nil {
		own = link.Link.Ours
	}
	t := Taken{Routes: routes, Links: make(map[int]string, len(links)), Own: make(map[int]bool)}
	for _, l := range links {
		t.Links[l.Index] = l.Name
		if own(l) {
			t.Own[l.Index] = true
		}
	}
	return t
}

func readRoutes() (_ []addr.Route, _ []link.Link, err error) {
	addrs, err := addr.Dial()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, addrs.Close()) }()
	links, err := link.Dial()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, links.Close()) }()
	routes, err := addrs.Routes()
	if err != nil {
		return nil, nil, err
	}
	list, err := links.List()
	return routes, list, err
}

// Check says what the candidate overlaps with, as an [*Overlap]: a nameserver, or else a route. nil: it is free.
func (t Taken) Check(candidate netip.Prefix) error {
	if o := NameserverOverlap(candidate, t.Nameservers); o != nil {
		return o
	}
	if o := RouteOverlap(candidate, t.Routes, t.own, t.Links); o != nil {
		return o
	}
	return nil
}

// Prefixes are all that Check holds against a candidate, for those who look for a free prefix instead of checking one. An
// address may be in several.
func (t Taken) Prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range t.Nameservers {
		all = append(all, netip.PrefixFrom(s, s.BitLen()))
	}
	for _, r := range t.Routes {
		if counts(r, t.own) {
			all = append(all, r.Dst)
		}
	}
	return all
}

// WithoutOwn is t without the routes that don't count, for a caller that keeps it.
func (t Taken) WithoutOwn() Taken {
	t.Routes = slices.DeleteFunc(slices.Clone(t.Routes), func(r addr.Route) bool { return t.Own[r.Link] })
	return t
}

func (t Taken) own(link int) bool { return t.Own[link] }
