package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// objects are kernel objects: those that a part of the State wants, or those that are there. [diff] of the two is a Plan.
type objects struct {
	// tables are the programs. A request changes elements only: before and after it, they are one and the same slice.
	tables   []nft.Table
	elements nft.Elements
	// there is told which elements are wanted; those that it has are not in elements. nil: all are.
	there   *nft.Inventory
	bridges map[string]bridge // by name
	pairs   map[string]pair   // by the host end's name
	shapers map[string]struct{}
	routes  map[routeID]route // inside sandboxes
	// visits are the inner ends, by the host end's name, where a start looks for routes of ours.
	visits map[string]inside
	// forwarding is switched on after the rules that go with it are there.
	forwarding bridged.Forwarding
}

// bridge is a bridge with what belongs to it.
type bridge struct {
	link.Bridge
	sysctls []forwarding.Sysctl // set before it gets addresses and goes up
	addrs   []netip.Prefix
	// connected are the addresses with a route to their subnet: the kernel makes it with the address, as soon as the bridge is up.
	connected []netip.Prefix
	up        bool
	ours      bool
	// mayTake: a bridge of that name that is not ours may be made ours.
	mayTake bool
	// given: it was there and stays as it is, but for its sysctls.
	given bool
}

// pair is an attached veth pair.
type pair struct {
	link.Pair
	sandbox string // id; of a lease, its key
	// netns is the path of the sandbox's namespace. Empty: the inner end begins in the daemon's own one, for the caller of a lease.
	netns string
	nsid  bridged.NamespaceID
	inner link.Inner
	// sysctls are set inside before the inner end goes up, for the user.
	sysctls []forwarding.Sysctl
	// shape is what limits its bandwidth.
	shape link.Shaping
	// joined: the inner end was set up. From then on everything inside is the container's own business. That of a lease never is by us.
	joined bool
	// astray: the host end is down, or its MTU or its port's hairpin mode is not as wanted.
	astray bool
}

// put adds to a map, which is made when it is needed: few changes want something of every kind.
func put[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[key] = v
}

func newObjects() objects {
	return objects{
		elements: make(nft.Elements),
		bridges:  make(map[string]bridge),
		pairs:    make(map[string]pair),
		shapers:  make(map[string]struct{}),
		routes:   make(map[routeID]route),
		visits:   make(map[string]inside),
	}
}

// compiler turns objects of the State into the kernel objects they want: pure functions of what it holds.
type compiler struct {
	x       *index
	program []nft.Table
	lacks   lacks
	// takeOver is the name of the bridge that is not ours, and that the default network may have.
	takeOver string
	// router: the host may be a router for others although we switched forwarding on (--ip-forward-no-drop).
	router bool
}

// want is what the objects that c names and touches want, as they are in the state now. Compiled before and after a change, it is
// all the change does to the kernel.
func (k compiler) want(c bridged.Change, t touched) objects {
	w := objects{tables: k.program, elements: make(nft.Elements)}
	each(c.Networks, k.x.Networks, &w, k.network)
	each(t.networks, k.x.Networks, &w, k.network)
	each(t.endpoints, k.x.Endpoints, &w, k.endpoint)
	each(c.Ports, k.x.Ports, &w, k.port)
	each(t.ports, k.x.Ports, &w, k.port)
	each(t.links, k.x.Links, &w, k.link)
	if c.Forwarding != nil {
		k.host(&w)
	}
	return w
}

// each compiles those objects of the state that a set names.
func each[K comparable, N, V any](named map[K]N, state map[K]V, w *objects, compile func(*objects, V)) {
	for key := range named {
		if v, ok := state[key]; ok {
			compile(w, v)
		}
	}
}

// whole is what the whole state wants, the programs included.
func (k compiler) whole() objects {
	w := newObjects()
	// About what there will be: a map that grows is filled twice.
	w.elements = make(nft.Elements, 2*len(k.x.Ports)+8*len(k.x.Endpoints))
	w.tables = k.program
	k.ports(&w)
	k.others(&w)
	return w
}

// wholeBeside is whole beside what there is, and that. Elements that are there and wanted are in neither: nearly all of them, as a rule, and so
// there is hardly any to keep.
func (k compiler) wholeBeside(there *nft.Inventory) (want objects, tables []nft.Table, elements nft.Elements) {
	if !there.Holds(k.program) { // what a set has goes with the set
		all := there.Ruleset()
		return k.whole(), all.Tables, all.Elements
	}
	want = newObjects()
	want.tables, want.there = k.program, there
	ports := objects{tables: k.program, there: there, elements: make(nft.Elements)}
	var group sync.WaitGroup
	group.Go(func() { k.ports(&ports) }) // half of the work, and nothing else goes on at a start by then
	k.others(&want)
	group.Wait()
	maps.Copy(want.elements, ports.elements)
	return want, want.tables, there.Unwanted()
}

// ports compiles all ports.
func (k compiler) ports(w *objects) {
	for _, p := range k.x.Ports {
		k.port(w, p)
	}
}

// others compiles all but ports.
func (k compiler) others(w *objects) {
	for _, n := range k.x.Networks {
		k.network(w, n)
	}
	for _, e := range k.x.Endpoints {
		k.endpoint(w, e)
	}
	for _, l := range k.x.Links {
		k.link(w, l)
	}
	k.host(w)
	w.add(forwarding.Base())
	k.visit(w)
}

// withoutPairs leaves out pairs, and what belongs to them.
func (w *objects) withoutPairs() {
	clear(w.pairs)
	clear(w.routes)
	clear(w.shapers)
}

// add wants elements of the tables that are wanted: without a packet filter that is none, on a kernel without the family bridge
// only one.
func (w *objects) add(elements []nft.Element) {
	for i := range elements {
		e := &elements[i]
		if w.hasTable(e.Set.Table) && (w.there == nil || !w.there.Want(e)) {
			w.elements[*e] = struct{}{}
		}
	}
}

func (w *objects) hasTable(id nft.TableID) bool {
	for i := range w.tables {
		if w.tables[i].ID == id {
			return true
		}
	}
	return false
}

func (k compiler) network(w *objects, n bridged.Network) {
	if n.Driver != bridged.DriverBridge {
		return
	}
	if k.lacks.ipv6 != nil {
		n.IPv6 = bridged.Subnet{}
	}
	w.add(nat.Network(n))
	w.add(forwarding.Network(n))
	b := bridge{
		Bridge:  link.Bridge{Name: n.Bridge, MAC: addr.MAC(n.BridgeMAC), MTU: k.mtu(n), Promisc: n.Promisc},
		sysctls: forwarding.Sysctls(n),
		up:      true,
		ours:    true,
		mayTake: n.Bridge == k.takeOver,
	}
	if n.Given {
		put(&w.bridges, n.Bridge, bridge{Bridge: link.Bridge{Name: n.Bridge}, sysctls: b.sysctls, given: true})
		return
	}
	b.addrs = n.BridgeAddrs()
	if n.IPv6.Valid() && n.Gateway(true) != bridged.GatewayIsolated {
		// The kernel made it when the bridge went up. Without it the host asks for no neighbour of others (ndisc_send_ns).
		b.addrs = append(b.addrs, netip.PrefixFrom(addr.LinkLocal(addr.MAC(n.BridgeMAC)), 64))
	}
	b.connected = b.addrs
	put(&w.bridges, n.Bridge, b)
}

// mtu is the bridge's: the network's, but no larger than that of any member. Members keep the one that they were made with.
func (k compiler) mtu(n bridged.Network) int {
	mtu := n.MTU
	for id := range k.x.members[n.ID] {
		if m := k.x.Endpoints[id].MTU; m != 0 {
			mtu = min(mtu, m)
		}
	}
	return mtu
}

func (k compiler) endpoint(w *objects, e bridged.Endpoint) {
	if e.HostInterface == "" {
		return // a lease: whoever has it makes the link
	}
	n := k.x.Networks[e.Network]
	joined := k.x.joined(e.Sandbox)
	var others []bridged.Endpoint
	for _, j := range joined {
		if j.Endpoint.ID != e.ID {
			others = append(others, j.Endpoint)
		}
	}
	w.add(forwarding.Endpoint(n, e, others))
	if e.Peer != "" {
		put(&w.pairs, e.HostInterface, pair{Pair: k.pair(n, e), sandbox: e.Sandbox})
		return
	}
	s := k.x.Sandboxes[e.Sandbox]
	p := pair{
		Pair:    k.pair(n, e),
		sandbox: e.Sandbox,
		netns:   s.NetNS,
		nsid:    s.NSID,
		joined:  true,
		inner:   link.Inner{Name: e.Interface, IPv6: e.IPv6.IsValid(), Protocol: routeProtocol, Replace: len(others) > 0},
	}
	for _, a := range []netip.Prefix{e.IPv4, e.IPv6} {
		if a.IsValid() {
			p.inner.Addrs = append(p.inner.Addrs, a)
		}
	}
	if s.CNI {
		p.shape = shapingOf(e)
		if p.shape.Shaper != "" {
			put(&w.shapers, p.shape.Shaper, struct{}{})
		}
		attached(&p.inner, n, e)
		joined = nil // its default route is one of its own, if it has one
	}
	for _, ipv6 := range []bool{false, true} {
		// By way of one network only: the gateway of a sandbox in several moves with them.
		gateway, ok := bridged.Gateway(joined, ipv6)
		if !ok || gateway.Endpoint.ID != e.ID || n.Internal {
			continue
		}
		p.inner.Gateways = append(p.inner.Gateways, n.Subnet(ipv6).Gateway)
		k.route(w, e, anywhere(ipv6), n.Subnet(ipv6).Gateway)
	}
	for _, path := range sortedKeys(e.Sysctls) {
		p.sysctls = append(p.sysctls, forwarding.Sysctl{Path: strings.Replace(path, bridged.InterfaceName, e.Interface, 1), Value: e.Sysctls[path]})
	}
	put(&w.pairs, e.HostInterface, p)
}

// pair is that of an endpoint on a network.
func (k compiler) pair(n bridged.Network, e bridged.Endpoint) link.Pair {
	return link.Pair{
		Host: e.HostInterface, Inner: cmp.Or(e.Peer, e.Interface), Bridge: n.Bridge,
		MAC: addr.MAC(e.MAC), HostMAC: hostMAC(e), MTU: e.MTU,
		Port:  link.Port{Isolated: k.lacks.isolated(n), NoHairpin: e.NoHairpin},
		Alias: newLabel(k.x.Sandboxes[e.Sandbox], e).String(),
	}
}

// hostMAC is the host end's address: it begins with fe:, so that a bridge without an address of its own never takes it over
// (the kernel takes the lowest), and goes on with bytes of the endpoint's random id.
func hostMAC(e bridged.Endpoint) addr.MAC {
	m := addr.MAC{0xfe}
	for i := 1; i < len(m); i++ {
		m[i] = unhex(e.ID[2*i])<<4 | unhex(e.ID[2*i+1])
	}
	return m
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func (k compiler) port(w *objects, p bridged.Port) {
	e := k.x.Endpoints[p.Endpoint]
	n := k.x.Networks[e.Network]
	switch n.Gateway(p.Binding.HostIP.Is6()) {
	case bridged.GatewayRouted: // reached at its own address
	case bridged.GatewayIsolated: // the host has no way there: what is translated would leave by its default route
	default:
		w.add(nat.Port(p, e))
	}
	w.add(forwarding.Port(n, p, e))
}

func (k compiler) host(w *objects) {
	w.forwarding = k.x.Forwarding
	w.forwarding.IPv6 = w.forwarding.IPv6 && k.lacks.ipv6 == nil
	if !k.router {
		w.add(forwarding.Host(k.x.Forwarding))
	}
}

// clone is a copy that shares only values.
func (w objects) clone() objects {
	c := w
	c.elements = copied(w.elements)
	c.bridges = copied(w.bridges)
	c.pairs = copied(w.pairs)
	c.shapers = copied(w.shapers)
	c.routes = copied(w.routes)
	return c
}

// copied is a copy of a map that can be added to.
func copied[M ~map[K]V, K comparable, V any](m M) M {
	c := make(M, len(m))
	maps.Copy(c, m)
	return c
}
