package engine

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/ipam"
)

// index is the State with what finds its way in it: names, members, address pools. It is a pure value store: whoever holds
// the engine's lock may read and change it. Every change, at start and later, goes through apply.
type index struct {
	bridged.State
	networkNames map[string]string                       // name → id
	sandboxNames map[string]string                       // name → id
	bridges      map[string]string                       // name of a bridge that is ours → network id
	namespaces   map[bridged.NamespaceID]string          // → sandbox id
	macs         map[macKey]string                       // → endpoint id
	hostEnds     map[string]string                       // name of the host end → endpoint id
	users        map[string]map[string]struct{}          // sandbox id → ids of the sandboxes that share its stack
	members      map[string]map[string]struct{}          // network id → endpoint ids
	endpoints    map[string][]string                     // sandbox id → endpoint ids
	ports        map[string]map[bridged.Binding]struct{} // sandbox id → bindings
	reached      sets[stackPort, bridged.Binding]        // → those that lead there
	links        map[string]map[bridged.LinkID]struct{}  // stack → those that it is an end of
	addrs        map[addrKey]string                      // → endpoint id
	subnets      addressSpace                            // of the networks, and of the reservations that no network has taken as its own
	leaving      map[string]*leaving                     // by endpoint id
	vacating     map[string]leavingNetwork               // by id
	pools        map[bridged.PoolID]*ipam.Pool           // of a reservation that a network has taken as its own: that network's
	reservations map[netip.Prefix]string                 // → id
	reserved     map[string]map[netip.Addr]struct{}      // reservation id → addresses of it that were given out, beside the lasting ones
	departed     *departed                               // nil: nobody wants to know
}

// macKey is a MAC address on a network: no two endpoints share one.
type macKey struct {
	network string // id
	mac     bridged.MAC
}

// stackPort is a port inside a stack.
type stackPort struct {
	stack string
	port  bridged.ProtoPort
}

func stackPortOf(p bridged.Port) stackPort {
	return stackPort{p.Sandbox, bridged.ProtoPort{Proto: p.Binding.Proto, Port: p.ContainerPort}}
}

// addrKey is an address on a network: no two endpoints share one.
type addrKey struct {
	network string // id
	addr    netip.Addr
}

func newIndex() *index {
	return &index{
		State:        bridged.State{}.Clone(),
		networkNames: make(map[string]string),
		sandboxNames: make(map[string]string),
		bridges:      make(map[string]string),
		namespaces:   make(map[bridged.NamespaceID]string),
		macs:         make(map[macKey]string),
		hostEnds:     make(map[string]string),
		users:        make(map[string]map[string]struct{}),
		members:      make(map[string]map[string]struct{}),
		endpoints:    make(map[string][]string),
		ports:        make(map[string]map[bridged.Binding]struct{}),
		reached:      newSets[stackPort, bridged.Binding](0),
		links:        make(map[string]map[bridged.LinkID]struct{}),
		addrs:        make(map[addrKey]string),
		leaving:      make(map[string]*leaving),
		vacating:     make(map[string]leavingNetwork),
		pools:        make(map[bridged.PoolID]*ipam.Pool),
		reservations: make(map[netip.Prefix]string),
		reserved:     make(map[string]map[netip.Addr]struct{}),
	}
}

// expect makes room in an empty index for what these changes will bring: maps that grow are filled again and again.
func (x *index) expect(changes []bridged.Change) {
	var sandboxes, endpoints, ports int
	for _, c := range changes {
		sandboxes, endpoints, ports = sandboxes+len(c.Sandboxes), endpoints+len(c.Endpoints), ports+len(c.Ports)
	}
	x.Sandboxes = make(map[string]bridged.Sandbox, sandboxes)
	x.sandboxNames = make(map[string]string, sandboxes)
	x.namespaces = make(map[bridged.NamespaceID]string, sandboxes)
	x.Endpoints = make(map[string]bridged.Endpoint, endpoints)
	x.macs = make(map[macKey]string, endpoints)
	x.hostEnds = make(map[string]string, endpoints)
	x.endpoints = make(map[string][]string, endpoints)
	x.addrs = make(map[addrKey]string, endpoints)
	x.Ports = make(map[bridged.Binding]bridged.Port, ports)
	x.ports = make(map[string]map[bridged.Binding]struct{}, endpoints)
	x.reached = newSets[stackPort, bridged.Binding](ports)
}

// apply makes the change in the state and in everything that is derived from it. It takes each object in the order in
// which one needs the other: networks and reservations before what is given out of them, histories before leases.
func (x *index) apply(c bridged.Change) {
	if x.departed != nil {
		x.departed.note(x, c)
	}
	for a, given := range c.Reserved {
		if given == nil {
			x.setReserved(a, false)
		}
	}
	for id, n := range c.Networks {
		x.setNetwork(id, n)
	}
	for id, r := range c.Reservations {
		x.setReservation(id, r)
	}
	for a, given := range c.Reserved {
		if given != nil {
			x.setReserved(a, true)
		}
	}
	for id, p := range c.Pools {
		if pool := x.pools[id]; pool != nil && p != nil {
			pool.Restore(p.Next, p.Freed)
		}
	}
	for id, s := range c.Sandboxes {
		x.setSandbox(id, s)
	}
	for id, e := range c.Endpoints {
		x.setEndpoint(id, e)
	}
	for b, p := range c.Ports {
		if old, ok := x.Ports[b]; ok {
			leave(x.ports, old.Sandbox, b)
			x.reached.leave(stackPortOf(old), b)
		}
		if p != nil {
			enter(x.ports, p.Sandbox, b)
			x.reached.enter(stackPortOf(*p), b)
		}
	}
	for id := range c.Links {
		x.setLink(id, c.Links[id] != nil)
	}
	c.Pools = nil // histories live in x.pools
	x.State.Apply(c)
}

func (x *index) setNetwork(id string, n *bridged.Network) {
	old, had := x.Networks[id]
	if had {
		delete(x.networkNames, old.Name)
		delete(x.bridges, old.Bridge)
		for _, s := range old.Subnets() {
			if r, reserved := x.reservations[s.Prefix]; reserved {
				x.subnets.give(s.Prefix, id, r)
			} else {
				x.subnets.remove(s.Prefix, id)
			}
		}
	}
	if n != nil {
		x.networkNames[n.Name] = id
		if n.Bridge != "" && !n.Given {
			x.bridges[n.Bridge] = id
		}
		for _, s := range n.Subnets() {
			if r, reserved := x.reservations[s.Prefix]; reserved {
				x.subnets.give(s.Prefix, r, id)
			} else {
				x.subnets.add(s.Prefix, id)
			}
		}
	}
	for _, family := range []struct {
		v6   bool
		pick func(bridged.Network) bridged.Subnet
	}{
		{false, func(n bridged.Network) bridged.Subnet { return n.IPv4 }},
		{true, func(n bridged.Network) bridged.Subnet { return n.IPv6 }},
	} {
		pid := bridged.PoolID{Network: id, IPv6: family.v6}
		if had && (n == nil || family.pick(*n).Prefix != family.pick(old).Prefix) {
			x.leavePool(family.pick(old).Prefix)
		}
		if n == nil || !family.pick(*n).Valid() {
			delete(x.pools, pid)
			continue
		}
		if had && sameSubnet(family.pick(old), family.pick(*n)) {
			continue
		}
		s := family.pick(*n)
		pool, err := ipam.New(poolConfig(s))
		if err != nil {
			continue // checked when the network was made; a network without a pool gives no addresses
		}
		x.pools[pid] = pool
		x.sharePool(s.Prefix, pool)
		for e := range x.members[id] {
			x.hold(x.Endpoints[e])
		}
		for _, l := range x.leaving {
			if l.Network == id {
				x.hold(l.Endpoint)
			}
		}
	}
}

func sameSubnet(a, b bridged.Subnet) bool {
	return a.Prefix == b.Prefix && a.Range == b.Range && slices.Equal(a.Ranges, b.Ranges) && a.Gateway == b.Gateway &&
		len(a.Aux) == len(b.Aux) && !slices.ContainsFunc(sortedKeys(a.Aux), func(k string) bool { return a.Aux[k] != b.Aux[k] })
}

func (x *index) setSandbox(id string, s *bridged.Sandbox) {
	if old, ok := x.Sandboxes[id]; ok {
		if x.sandboxNames[old.Name] == id {
			delete(x.sandboxNames, old.Name)
		}
		if x.namespaces[old.NSID] == id {
			delete(x.namespaces, old.NSID)
		}
		if old.Shares != "" {
			leave(x.users, old.Shares, id)
		}
	}
	if s == nil {
		return
	}
	if !s.Gone {
		x.sandboxNames[s.Name] = id
	}
	if s.NSID != (bridged.NamespaceID{}) {
		x.namespaces[s.NSID] = id
	}
	if s.Shares != "" {
		enter(x.users, s.Shares, id)
	}
}

func (x *index) setEndpoint(id string, e *bridged.Endpoint) {
	if old, ok := x.Endpoints[id]; ok {
		if _, leaving := x.leaving[id]; !leaving {
			if e == nil || old.IPv4 != e.IPv4 || old.IPv6 != e.IPv6 {
				x.release(old)
			}
			delete(x.macs, macKey{old.Network, old.MAC})
		}
		x.endpoints[old.Sandbox] = without(x.endpoints[old.Sandbox], id)
		if len(x.endpoints[old.Sandbox]) == 0 {
			delete(x.endpoints, old.Sandbox)
		}
		leave(x.members, old.Network, id)
		delete(x.hostEnds, old.HostInterface)
		for _, a := range old.Addrs() {
			if x.addrs[addrKey{old.Network, a}] == id {
				delete(x.addrs, addrKey{old.Network, a})
			}
		}
	}
	if e == nil {
		return
	}
	x.hold(*e)
	x.endpoints[e.Sandbox] = append(x.endpoints[e.Sandbox], id)
	enter(x.members, e.Network, id)
	x.macs[macKey{e.Network, e.MAC}] = id
	if e.HostInterface != "" {
		x.hostEnds[e.HostInterface] = id
	}
	for _, a := range e.Addrs() {
		x.addrs[addrKey{e.Network, a}] = id
	}
}

// joined are a stack's endpoints with their networks, in the order of joining.
func (x *index) joined(stack string) []bridged.Joined {
	ids := x.endpoints[stack]
	joined := make([]bridged.Joined, len(ids))
	for i, id := range ids {
		e := x.Endpoints[id]
		joined[i] = bridged.Joined{Endpoint: e, Network: x.Networks[e.Network]}
	}
	ordered.Sort(joined, func(a, b bridged.Joined) int {
		return cmp.Or(a.Endpoint.Created.Compare(b.Endpoint.Created), cmp.Compare(a.Endpoint.ID, b.Endpoint.ID))
	})
	return joined
}

func (x *index) setLink(id bridged.LinkID, there bool) {
	for _, stack := range []string{id.Parent, id.Child} {
		if there {
			enter(x.links, stack, id)
		} else {
			leave(x.links, stack, id)
		}
	}
}

// enter and leave keep sets by key; a key without a set is not kept.
func enter[K, T comparable](m map[K]map[T]struct{}, key K, v T) {
	set := m[key]
	if set == nil {
		set = make(map[T]struct{})
		m[key] = set
	}
	set[v] = struct{}{}
}

func leave[K, T comparable](m map[K]map[T]struct{}, key K, v T) {
	delete(m[key], v)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// hold marks the endpoint's addresses as used. Those that were just taken out of the pool are already.
func (x *index) hold(e bridged.Endpoint) {
	for _, a := range e.Addrs() {
		if pool := x.pool(e.Network, a); pool != nil {
			_ = pool.Claim(a) // "in use" is what we want; an address that no longer fits the subnet needs no lease
		}
	}
}

func (x *index) release(e bridged.Endpoint) {
	for _, a := range e.Addrs() {
		if pool := x.pool(e.Network, a); pool != nil && !x.isReserved(x.Networks[e.Network], a) {
			pool.Release(a)
		}
	}
}

func (x *index) pool(network string, like netip.Addr) *ipam.Pool {
	return x.pools[bridged.PoolID{Network: network, IPv6: !like.Is4()}]
}

// whole is the state, pool histories included, as one change: what a fresh index needs to become equal to x.
func (x *index) whole() bridged.Change {
	c := x.State.Whole()
	c.Pools = make(map[bridged.PoolID]*bridged.Pool, len(x.pools))
	for id, p := range x.pools {
		next, freed := p.History()
		if next.IsValid() || len(freed) > 0 {
			c.Pools[id] = &bridged.Pool{Next: next, Freed: freed}
		}
	}
	return c
}

// network finds a network by name, id or unique prefix of the id.
func (x *index) network(ref string) (bridged.Network, error) {
	id, err := find("network", ref, x.networkNames, x.Networks)
	return x.Networks[id], err
}

// sandbox finds a sandbox by name, id or unique prefix of the id. One that is being made or removed is not found.
func (x *index) sandbox(ref string) (bridged.Sandbox, error) {
	id, err := find("sandbox", ref, x.sandboxNames, x.Sandboxes)
	switch s := x.Sandboxes[id]; {
	case err != nil:
		return s, err
	case s.Gone:
		return bridged.Sandbox{}, bridged.Errorf(bridged.ErrNotFound, "sandbox %s not found", ref)
	case !s.Settled:
		return bridged.Sandbox{}, bridged.Errorf(bridged.ErrNotFound, "sandbox %s not found: it is just being made or removed", ref)
	default:
		return s, nil
	}
}

// stackName is what people call a stack: its sandbox's name, or when that is gone, the name of one that shares it.
func (x *index) stackName(id string) string {
	s, ok := x.Sandboxes[id]
	if !ok {
		for _, endpoint := range x.endpoints[id] {
			return x.Endpoints[endpoint].Called() // a key has one lease
		}
		return id
	}
	if !s.Gone {
		return s.Name
	}
	var names []string
	for user := range x.users[id] {
		names = append(names, x.Sandboxes[user].Name)
	}
	if len(names) == 0 {
		return s.Name
	}
	return slices.Min(names)
}

// find looks an id up, then a name, then the prefix of an id: whoever has the id means that object, also when somebody has called another one so.
func find[V any](kind, ref string, names map[string]string, objects map[string]V) (string, error) {
	if ref == "" {
		return "", bridged.Errorf(bridged.ErrInvalid, "no %s was named", kind)
	}
	if _, ok := objects[ref]; ok {
		return ref, nil
	}
	if id, ok := names[ref]; ok {
		return id, nil
	}
	var found string
	for id := range objects {
		if strings.HasPrefix(id, ref) {
			if found != "" {
				return "", bridged.Errorf(bridged.ErrInvalid, "%s id %s is ambiguous: use more digits", kind, ref)
			}
			found = id
		}
	}
	if found == "" {
		return "", bridged.Errorf(bridged.ErrNotFound, "%s %s not found", kind, ref)
	}
	return found, nil
}

// take chooses the next address of one family, or claims the one asked for.
func (x *index) take(n bridged.Network, s bridged.Subnet, asked netip.Addr) (netip.Prefix, error) {
	pool := x.pool(n.ID, s.Gateway)
	if pool == nil {
		return netip.Prefix{}, bridged.Errorf(bridged.ErrInvalid, "network %s has no addresses in %s", n.Name, s.Prefix)
	}
	if asked.IsValid() {
		if x.isReserved(n, asked) && !x.hasAddr(n.ID, asked) {
			return netip.PrefixFrom(asked, s.Prefix.Bits()), nil // for just this
		}
		if err := pool.Claim(asked); err != nil {
			if leaving := x.leavingWith(n.ID, asked, asked); leaving != nil {
				return netip.Prefix{}, leaving
			}
			kind := bridged.ErrInvalid
			if errors.Is(err, ipam.ErrInUse) {
				kind = bridged.ErrConflict
			}
			return netip.Prefix{}, bridged.Errorf(kind, "cannot use address %s in network %s: %w", asked, n.Name, err)
		}
		return netip.PrefixFrom(asked, s.Prefix.Bits()), nil
	}
	a, err := pool.Take()
	if err != nil {
		if leaving := x.leavingWith(n.ID, netip.Addr{}, s.Gateway); leaving != nil {
			return netip.Prefix{}, leaving
		}
		return netip.Prefix{}, bridged.Errorf(bridged.ErrConflict, "network %s has no free address: %w", n.Name, err)
	}
	return netip.PrefixFrom(a, s.Prefix.Bits()), nil
}

func without[T comparable](s []T, v T) []T {
	return slices.DeleteFunc(slices.Clone(s), func(e T) bool { return e == v })
}

// sortedKeys are m's keys in order, where a listing or a comparison needs one.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
