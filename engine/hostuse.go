package engine

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
)

// hostUse is what addresses the host uses, outside our own bridges. Routes are listed when somebody asks after the kernel told of one that came
// or went, not each time: there may be very many.
type hostUse struct {
	hostcheck.Taken
	space *addressSpace // of it
}

// hostUse is what the host uses now.
func (e *Engine) hostUse() (hostUse, error) {
	e.hostUses.Lock()
	defer e.hostUses.Unlock()
	if e.hostMoved.Swap(false) || e.hostUses.space == nil {
		t, err := e.host.taken()
		if err != nil {
			e.hostMoved.Store(true)
			return hostUse{}, fmt.Errorf("cannot tell which subnets the host uses: %w", err)
		}
		t = t.WithoutOwn()
		e.hostUses.hostUse = hostUse{t, outermost(t.Prefixes())}
		return e.hostUses.hostUse, nil
	}
	// The resolver's files are small, and nobody tells when they change.
	if servers := e.host.nameservers(); !slices.Equal(servers, e.hostUses.Nameservers) {
		e.hostUses.Nameservers = servers
		e.hostUses.space = outermost(e.hostUses.Prefixes())
	}
	return e.hostUses.hostUse, nil
}

// check refuses subnets that a user named and the host uses; where the user wants it so, that is a warning.
func (u hostUse) check(n bridged.Network) (warnings []string, err error) {
	for _, s := range n.Subnets() {
		if s.Prefix.Bits() == 0 {
			continue // it is still to be chosen
		}
		err := u.Check(s.Prefix)
		switch {
		case err == nil:
		case n.AllowOverlap:
			warnings = append(warnings, err.Error()+": what is there can't be reached from this host's containers, or they from there")
		default:
			return nil, bridged.Errorf(bridged.ErrConflict, "%w: choose another subnet, or have it so with -o %s=true", err, bridged.OptionAllowOverlap)
		}
	}
	return warnings, nil
}

// moved is a route or an address that came or went.
type moved struct {
	route addr.Route // of an address: to its subnet
	link  string     // its name; "" when it has gone
	ours  bool       // the link is one of ours
	gone  bool
	// connected: it is the address, or the route to its subnet, that the kernel made with an address.
	connected bool
	// foreign: it is a link of somebody else that changed, which may have taken routes along.
	foreign bool
}

// hostChanged takes note of what came or went on the host. What a bridge of ours lost is put back. A route of somebody else's that leads away from
// a network what is meant for it is an event that names both.
func (e *Engine) hostChanged(m moved) {
	if m.foreign {
		e.hostMoved.Store(true)
		return
	}
	e.mu.Lock()
	_, known := e.index.bridges[m.link]
	o, overlaps := e.index.subnets.overlap(m.route.Dst)
	n, ours := e.index.Networks[o.owner] // not one that is only reserved
	e.mu.Unlock()
	switch {
	case known:
		if m.gone && m.connected {
			e.suspect(suspicion{link: m.link})
		}
		return
	case m.ours, m.link != "" && m.link == n.Bridge:
		return
	case m.gone:
		// What went with a bridge of ours was none of the host's: nothing is to be listed anew.
		if e.hostHas(m.route.Dst) {
			e.hostMoved.Store(true)
		}
		return
	case m.link == "" && m.route.Link != 0:
		return // it is gone again, with its link
	}
	e.hostMoved.Store(true)
	if !overlaps || !ours || !m.shadows(o) {
		return
	}
	route := (&hostcheck.Overlap{Requested: o.Prefix, Route: m.route, Link: m.link}).RouteText()
	e.log.Warn("a route leads away from a network what is meant for it", "network", n.Name, "subnet", o.Prefix, "route", route)
	e.events.add(bridged.Event{Type: bridged.EventNetwork, Action: "shadow", ID: n.ID, Name: n.Name,
		Attributes: map[string]string{"subnet": o.String(), "route": route}})
}

// hostHas says whether the host used something of the prefix when it was looked at.
func (e *Engine) hostHas(p netip.Prefix) bool {
	e.hostUses.Lock()
	defer e.hostUses.Unlock()
	if e.hostUses.space == nil {
		return false
	}
	_, has := e.hostUses.space.overlap(p)
	return has
}

// shadows says whether the route is taken before the one to the subnet: it is to a part of it, or to all of it with no higher metric.
func (m moved) shadows(o owned) bool {
	switch m.route.Type {
	case unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
	default:
		return false
	}
	metric := addConnected{prefix: o.Prefix}.route(0).Priority
	return m.route.Dst.Bits() > o.Bits() || m.route.Dst.Bits() == o.Bits() && m.route.Priority <= metric
}
