package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// Plan is what must be done, in order, to get from the objects that are there to those that are wanted. It is a value: it can
// be printed, and tried on objects without a kernel.
//
// The order is the one of the packet program: what restricts is committed before a bridge has a port and taken away after the
// bridge is gone; a port without elements can send nothing, so its link may come before them and go after them; forwarding is
// switched on when the fences stand.
type Plan []step

// step is one thing the kernel does as a whole: it is done or it is not.
type step interface {
	fmt.Stringer
	// on makes the step on objects: what the kernel would hold afterwards.
	on(w *objects)
}

type (
	addBridge  struct{ link.Bridge }
	takeBridge struct{ link.Bridge } // makes one that is there ours
	delBridge  struct{ name string }
	setBridge  struct{ link.Bridge } // settings of a bridge that is there
	setSysctl  struct {
		bridge string
		given  bool // the bridge is not ours
		forwarding.Sysctl
	}
	addAddr struct {
		bridge string
		prefix netip.Prefix
	}
	delAddr struct {
		bridge string
		prefix netip.Prefix
	}
	// addConnected adds the route to a subnet that the kernel made with the address, and somebody else removed.
	addConnected struct {
		bridge string
		prefix netip.Prefix
	}
	upBridge struct{ name string }
	// addPair is the first datagram of an attach, join the second.
	addPair struct{ pair }
	join    struct{ pair }
	// enslave puts a host end back into its bridge, with its settings and up.
	enslave struct {
		host, bridge string
		port         link.Port
		mtu          int // 0: as it is
	}
	// isolate closes or opens the way between a port and its siblings.
	isolate struct {
		host   string
		closed bool
	}
	// setAlias says on a host end whose it is.
	setAlias struct{ host, text string }
	// commit is the one nf_tables transaction of a plan.
	commit struct{ tx *nft.Tx }
	// forward switches IP forwarding on, or off again.
	forward struct{ ipv6, off bool }
	// addRoute and delRoute are inside a sandbox.
	addRoute struct {
		routeID
		route
	}
	delRoute struct {
		routeID
		route
	}
	// setShape limits the bandwidth of a pair.
	setShape struct{ pair }
	// delShaper removes a link that limited a pair's bandwidth. It may be done behind the answer, too.
	delShaper struct{ name string }
	// delPair may be done behind the answer: nothing can pass the pair any more. Its routes go with it.
	delPair struct{ pair }
	// endFlows ends connections that may not go on, behind the answer: established ones pass without being asked again.
	endFlows struct{ flows []conntrack.Flow }
)

func (s addBridge) String() string  { return "create bridge " + s.Name }
func (s takeBridge) String() string { return "take over bridge " + s.Name }
func (s delBridge) String() string  { return "remove bridge " + s.name }
func (s setBridge) String() string {
	return fmt.Sprintf("set bridge %s: address %s, mtu %d", s.Name, s.MAC, s.MTU)
}
func (s setSysctl) String() string { return "set " + s.Sysctl.String() }
func (s addAddr) String() string   { return fmt.Sprintf("add address %s to %s", s.prefix, s.bridge) }
func (s delAddr) String() string   { return fmt.Sprintf("remove address %s from %s", s.prefix, s.bridge) }
func (s addConnected) String() string {
	return fmt.Sprintf("add route %s to %s", s.prefix.Masked(), s.bridge)
}
func (s upBridge) String() string { return "set bridge " + s.name + " up" }
func (s addPair) String() string {
	if s.netns == "" {
		return fmt.Sprintf("create pair %s (%s) and %s for %s", s.Host, s.Bridge, s.Inner, s.sandbox)
	}
	return fmt.Sprintf("create pair %s (%s) and %s in %s", s.Host, s.Bridge, s.Inner, s.netns)
}
func (s join) String() string {
	return fmt.Sprintf("set %s in %s up with %v", s.Inner, s.netns, s.inner.Addrs)
}
func (s enslave) String() string { return "put " + s.host + " back into " + s.bridge }
func (s isolate) String() string {
	if s.closed {
		return "isolate " + s.host
	}
	return "end the isolation of " + s.host
}
func (s setAlias) String() string { return fmt.Sprintf("set alias of %s to %q", s.host, s.text) }
func (s commit) String() string   { return "commit\n" + s.tx.String() }
func (s forward) String() string {
	family, state := "IPv4", "on"
	if s.ipv6 {
		family = "IPv6"
	}
	if s.off {
		state = "off"
	}
	return "switch " + family + " forwarding " + state
}
func (s addRoute) String() string {
	return fmt.Sprintf("add route %s via %s to %s in %s", s.dst, s.gateway, s.name, s.netns)
}
func (s delRoute) String() string {
	return fmt.Sprintf("remove route %s via %s from %s in %s", s.dst, s.gateway, s.name, s.netns)
}
func (s setShape) String() string {
	return fmt.Sprintf("limit the bandwidth of %s: %s", s.Host, s.shape)
}
func (s delShaper) String() string { return "remove link " + s.name }
func (s delPair) String() string   { return "remove pair " + s.Host }
func (s endFlows) String() string {
	var b strings.Builder
	b.WriteString("end flows")
	for _, f := range s.flows {
		fmt.Fprintf(&b, " %s->%s", f.Source, netip.AddrPortFrom(f.HostIP, f.HostPort))
	}
	return b.String()
}

// String is one step a line.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

func (s addBridge) on(w *objects) { w.bridges[s.Name] = bridge{Bridge: s.Bridge, ours: true} }
func (s takeBridge) on(w *objects) {
	b := w.bridges[s.Name]
	b.Bridge, b.ours = s.Bridge, true
	w.bridges[s.Name] = b
}
func (s delBridge) on(w *objects) {
	delete(w.bridges, s.name)
	for name, p := range w.pairs {
		if p.Bridge == s.name {
			p.Bridge = ""
			w.pairs[name] = p
		}
	}
}
func (s setBridge) on(w *objects) {
	b := w.bridges[s.Name]
	b.Bridge = s.Bridge
	w.bridges[s.Name] = b
}
func (s setSysctl) on(w *objects) {
	b := w.bridges[s.bridge]
	b.sysctls = slices.DeleteFunc(slices.Clone(b.sysctls), func(o forwarding.Sysctl) bool { return o.Path == s.Path })
	b.sysctls = append(b.sysctls, s.Sysctl)
	w.bridges[s.bridge] = b
}
func (s addAddr) on(w *objects) {
	b := w.bridges[s.bridge]
	b.addrs = append(slices.Clone(b.addrs), s.prefix)
	b.connected = append(slices.Clone(b.connected), s.prefix)
	w.bridges[s.bridge] = b
}
func (s addConnected) on(w *objects) {
	b := w.bridges[s.bridge]
	b.connected = append(slices.Clone(b.connected), s.prefix)
	w.bridges[s.bridge] = b
}
func (s delAddr) on(w *objects) {
	b := w.bridges[s.bridge]
	b.addrs, b.connected = without(b.addrs, s.prefix), without(b.connected, s.prefix)
	w.bridges[s.bridge] = b
}
func (s upBridge) on(w *objects) {
	b := w.bridges[s.name]
	b.up, b.connected = true, b.addrs
	w.bridges[s.name] = b
}
func (s addPair) on(w *objects) {
	p := s.pair
	p.joined, p.shape = false, link.Shaping{}
	w.pairs[s.Host] = p
}
func (s join) on(w *objects) {
	w.pairs[s.Host] = s.pair
	s.replaces(w)
	for _, g := range s.inner.Gateways {
		w.routes[routeID{s.Host, anywhere(g.Is6())}] = route{inside{s.netns, s.nsid, s.Inner}, g}
	}
}

// replaces takes the routes away that give way to the pair's default routes. A join that fails may have come to that, too.
func (s join) replaces(w *objects) {
	for _, g := range s.inner.Gateways {
		w.giveWay(routeID{s.Host, anywhere(g.Is6())}, s.nsid)
	}
}

// giveWay takes the routes away that another one in the same namespace replaces: those to the same destination.
func (w *objects) giveWay(by routeID, nsid bridged.NamespaceID) {
	maps.DeleteFunc(w.routes, func(id routeID, r route) bool { return id.dst == by.dst && id.host != by.host && r.nsid == nsid })
}

func (s enslave) on(w *objects) {
	p := w.pairs[s.host]
	p.Bridge, p.Port, p.astray = s.bridge, s.port, false
	w.pairs[s.host] = p
}
func (s isolate) on(w *objects) {
	p := w.pairs[s.host]
	p.Isolated = s.closed
	w.pairs[s.host] = p
}
func (s setAlias) on(w *objects) {
	p := w.pairs[s.host]
	p.Alias = s.text
	w.pairs[s.host] = p
}
func (s commit) on(w *objects) {
	rs := nft.Ruleset{Tables: w.tables, Elements: w.elements}
	rs.Apply(s.tx)
	w.tables, w.elements = rs.Tables, rs.Elements
}
func (s forward) on(w *objects) {
	if s.ipv6 {
		w.forwarding.IPv6 = !s.off
	} else {
		w.forwarding.IPv4 = !s.off
	}
}
func (s addRoute) on(w *objects) {
	w.giveWay(s.routeID, s.nsid)
	w.routes[s.routeID] = s.route
}
func (s delRoute) on(w *objects) { delete(w.routes, s.routeID) }
func (s setShape) on(w *objects) {
	p := w.pairs[s.Host]
	p.shape = s.shape
	w.pairs[s.Host] = p
	if s.shape.Shaper != "" {
		w.shapers[s.shape.Shaper] = struct{}{}
	}
}
func (s delShaper) on(w *objects) { delete(w.shapers, s.name) }
func (s delPair) on(w *objects) {
	delete(w.pairs, s.Host)
	maps.DeleteFunc(w.routes, func(id routeID, _ route) bool { return id.host == s.Host })
}
func (s endFlows) on(*objects) {}

// diff plans the way from have to want.
func diff(have, want objects) Plan {
	var p Plan
	p = p.bridgesGone(have, want)
	p = p.bridgesMade(have, want)
	pairs := sortedKeys(want.pairs)
	p = p.pairsMade(pairs, have, want)
	tx := nft.Diff(nft.Ruleset{Tables: have.tables, Elements: have.elements},
		nft.Ruleset{Tables: want.tables, Elements: want.elements})
	if !tx.Empty() {
		p = append(p, commit{tx})
	}
	if want.forwarding.IPv4 && !have.forwarding.IPv4 {
		p = append(p, forward{})
	}
	if want.forwarding.IPv6 && !have.forwarding.IPv6 {
		p = append(p, forward{ipv6: true})
	}
	for _, name := range pairs {
		w, h := want.pairs[name], have.pairs[name]
		if h.Isolated && !w.Isolated && h.Bridge == w.Bridge {
			p = append(p, isolate{name, false})
		}
		if w.joined && !h.joined {
			p = append(p, join{w})
		}
	}
	p = p.routed(have, want)
	for _, name := range missing(have.pairs, want.pairs) {
		p = append(p, delPair{have.pairs[name]})
	}
	for _, name := range missing(have.shapers, want.shapers) {
		p = append(p, delShaper{name})
	}
	if !tx.Empty() {
		if flows := flowsGone(have, want); len(flows) > 0 {
			p = append(p, endFlows{flows})
		}
	}
	return p
}

func (p Plan) bridgesGone(have, want objects) Plan {
	for _, name := range sortedKeys(have.bridges) {
		if _, ok := want.bridges[name]; !ok && !have.bridges[name].given {
			p = append(p, delBridge{name})
		}
	}
	return p
}

func (p Plan) bridgesMade(have, want objects) Plan {
	for _, name := range sortedKeys(want.bridges) {
		w := want.bridges[name]
		h, ok := have.bridges[name]
		switch {
		case w.given:
		case !ok:
			p = append(p, addBridge{w.Bridge})
		case !h.ours:
			p = append(p, takeBridge{w.Bridge})
		}
		if ok && h.ours && !w.given && h.Bridge != w.Bridge {
			p = append(p, setBridge{w.Bridge})
		}
		for _, s := range w.sysctls {
			if !slices.Contains(h.sysctls, s) {
				p = append(p, setSysctl{bridge: name, given: w.given, Sysctl: s})
			}
		}
		if w.given {
			continue
		}
		for _, a := range h.addrs {
			if !slices.Contains(w.addrs, a) {
				p = append(p, delAddr{name, a})
			}
		}
		for _, a := range w.addrs {
			switch {
			case !slices.Contains(h.addrs, a):
				p = append(p, addAddr{name, a})
			case h.up && !slices.Contains(h.connected, a):
				p = append(p, addConnected{name, a})
			}
		}
		if !h.up {
			p = append(p, upBridge{name})
		}
	}
	return p
}

// missing are the keys of have that want lacks, in order.
func missing[V any](have, want map[string]V) (keys []string) {
	for k := range have {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// pairsMade plans the pairs of these names, which are all that are wanted.
func (p Plan) pairsMade(names []string, have, want objects) Plan {
	for _, name := range names {
		w := want.pairs[name]
		h, ok := have.pairs[name]
		switch {
		case !ok:
			p = append(p, addPair{w})
		case h.Bridge != w.Bridge || h.astray || slices.Contains(p.madeBridges(), w.Bridge):
			p = append(p, enslave{name, w.Bridge, w.Port, w.MTU})
		case w.Isolated && !h.Isolated:
			p = append(p, isolate{name, true})
		}
		if h.shape != w.shape && w.shape != (link.Shaping{}) {
			p = append(p, setShape{w})
		}
		if ok && h.Alias != w.Alias {
			p = append(p, setAlias{name, w.Alias})
		}
	}
	return p
}

// madeBridges are the bridges that the plan creates: ports that an earlier one of that name had are out of it.
func (p Plan) madeBridges() []string {
	var names []string
	for _, s := range p {
		if b, ok := s.(addBridge); ok {
			names = append(names, b.Name)
		}
	}
	return names
}
