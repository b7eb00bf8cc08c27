package docker_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/ipam"
)

// fake is an engine in memory.
type fake struct {
	ready chan struct{}
	// waits has one for each call that was about to wait for that.
	waits chan struct{}

	mu sync.Mutex
	contents
	// named has each name that a lease gets.
	named chan string
}

type lease struct {
	bridged.Joined
	ports []bridged.PortSpec
}

// pool is a reservation: taken are the addresses that are out, next is the lowest that never was.
type pool struct {
	bridged.Reservation
	taken map[netip.Addr]bool
	next  netip.Addr
}

func newFake() *fake {
	return &fake{
		ready:    make(chan struct{}),
		waits:    make(chan struct{}, 1),
		contents: contents{make(map[string]bridged.Network), make(map[string]lease), make(map[string]pool)},
		named:    make(chan string, 1024),
	}
}

// contents is all that an engine has.
type contents struct {
	networks map[string]bridged.Network
	leases   map[string]lease
	pools    map[string]pool
}

func (c contents) clone() contents {
	c = contents{maps.Clone(c.networks), maps.Clone(c.leases), maps.Clone(c.pools)}
	for id, p := range c.pools {
		p.taken = maps.Clone(p.taken)
		c.pools[id] = p
	}
	return c
}

// snapshot is what there is now.
func (f *fake) snapshot() contents {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.contents.clone()
}

// restore makes everything as it was.
func (f *fake) restore(c contents) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contents = c.clone()
}

func (f *fake) Ready() <-chan struct{} {
	select {
	case f.waits <- struct{}{}:
	default:
	}
	return f.ready
}

func (f *fake) FindNetwork(ref string) (bridged.Network, error) {
	info, err := f.Network(ref)
	return info.Network, err
}

func (f *fake) Network(ref string) (bridged.NetworkInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.networks[ref]
	if !ok {
		return bridged.NetworkInfo{}, bridged.Errorf(bridged.ErrNotFound, "network %s not found", ref)
	}
	info := bridged.NetworkInfo{Network: n}
	for _, l := range f.leases {
		if l.Network.ID == n.ID {
			info.Members = append(info.Members, bridged.Member{Endpoint: l.Endpoint, SandboxName: l.Endpoint.Called()})
		}
	}
	return info, nil
}

func (f *fake) Networks() (all []bridged.NetworkInfo) {
	for id := range f.snapshot().networks {
		if n, err := f.Network(id); err == nil {
			all = append(all, n)
		}
	}
	return all
}

func (f *fake) CreateNetwork(_ context.Context, spec bridged.NetworkSpec) (info bridged.NetworkInfo, warnings []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := bridged.Network{ID: spec.ID, Name: spec.Name, Driver: bridged.DriverBridge, Internal: spec.Internal, Labels: spec.Labels}
	if err := n.SetOptions(spec.Options); err != nil {
		return info, nil, err
	}
	if _, taken := f.networks[n.ID]; taken {
		return info, nil, bridged.Errorf(bridged.ErrConflict, "network with id %s already exists", n.ID)
	}
	for _, s := range spec.Subnets {
		for _, o := range f.networks {
			for _, theirs := range o.Subnets() {
				if theirs.Prefix.Overlaps(s.Prefix) {
					return info, nil, bridged.Errorf(bridged.ErrConflict, "subnet %s overlaps with %s", s.Prefix, theirs.Prefix)
				}
			}
		}
		c := ipam.Config{Prefix: s.Prefix, Gateway: s.Gateway, Aux: s.Aux}
		if !c.Gateway.IsValid() {
			c.Gateway = ipam.DefaultGateway(c)
			s.Gateway = c.Gateway
		}
		if _, err := ipam.New(c); err != nil {
			return info, nil, bridged.Errorf(bridged.ErrInvalid, "%w", err)
		}
		if s.Prefix.Addr().Is4() {
			n.IPv4 = s
		} else {
			n.IPv6 = s
		}
	}
	f.networks[n.ID] = n
	return bridged.NetworkInfo{Network: n}, nil, nil
}

func (f *fake) RemoveNetwork(_ context.Context, ref string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.networks[ref]; !ok {
		return bridged.Errorf(bridged.ErrNotFound, "network %s not found", ref)
	}
	for _, l := range f.leases {
		if l.Network.ID == ref {
			return bridged.Errorf(bridged.ErrConflict, "network %s has active endpoints", ref)
		}
	}
	delete(f.networks, ref)
	return nil
}

func (f *fake) Interface(key string) (j bridged.Joined, peer string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.leases[key]
	return l.Joined, l.Endpoint.Peer, ok
}

func (f *fake) AllocateInterface(_ context.Context, spec bridged.InterfaceSpec) (j bridged.Joined, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.networks[spec.Network]
	if !ok {
		return j, bridged.Errorf(bridged.ErrNotFound, "network %s not found", spec.Network)
	}
	if _, twice := f.leases[spec.ID]; twice {
		return j, bridged.Errorf(bridged.ErrConflict, "%s has an interface already: release it first", spec.ID)
	}
	e := bridged.Endpoint{ID: bridged.NewID(), Network: n.ID, Sandbox: spec.ID, MAC: spec.MAC}
	for _, family := range []struct {
		asked  netip.Addr
		subnet bridged.Subnet
		have   *netip.Prefix
	}{{spec.IPv4, n.IPv4, &e.IPv4}, {spec.IPv6, n.IPv6, &e.IPv6}} {
		a := family.asked
		switch {
		case !family.subnet.Valid() && !a.IsValid():
			continue
		case a.IsValid() && (!family.subnet.Prefix.Contains(a) || a == family.subnet.Gateway):
			return j, bridged.Errorf(bridged.ErrInvalid, "address %s is not to be had", a)
		case !a.IsValid():
			for a = family.subnet.Gateway.Next(); f.leased(a); a = a.Next() {
			}
		case f.leased(a):
			return j, bridged.Errorf(bridged.ErrConflict, "address %s is in use", a)
		}
		*family.have = netip.PrefixFrom(a, family.subnet.Prefix.Bits())
	}
	if e.MAC == (bridged.MAC{}) {
		e.MAC = bridged.MAC(addr.MACOf(e.Addrs()[0]))
	}
	f.leases[spec.ID] = lease{Joined: bridged.Joined{Endpoint: e, Network: n}}
	return f.leases[spec.ID].Joined, nil
}

func (f *fake) leased(a netip.Addr) bool {
	for _, l := range f.leases {
		if l.Endpoint.Addr(a) == a {
			return true
		}
	}
	return false
}

// change changes a lease.
func (f *fake) change(key string, change func(*lease)) (lease, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.leases[key]
	if !ok {
		return l, bridged.Errorf(bridged.ErrNotFound, "%s has no interface: allocate one first", key)
	}
	change(&l)
	f.leases[key] = l
	return l, nil
}

func (f *fake) ReleaseInterface(_ context.Context, key string) error {
	_, err := f.change(key, func(*lease) {})
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.leases, key)
	return err
}

func (f *fake) JoinInterface(_ context.Context, key string) (bridged.Joined, string, error) {
	l, err := f.change(key, func(l *lease) {
		if l.Endpoint.Peer == "" {
			l.Endpoint.HostInterface, l.Endpoint.Peer = bridged.NewLinkName(bridged.PortPrefix), bridged.NewLinkName(bridged.PeerPrefix)
		}
	})
	return l.Joined, l.Endpoint.Peer, err
}

func (f *fake) LeaveInterface(_ context.Context, key string) error {
	_, err := f.change(key, func(l *lease) { l.Endpoint.HostInterface, l.Endpoint.Peer, l.ports = "", "", nil })
	return err
}

func (f *fake) SetPorts(_ context.Context, key string, specs []bridged.PortSpec) (ports []bridged.Port, warnings []string, err error) {
	for _, s := range specs {
		if s.HostIP == netip.IPv6Loopback() {
			return nil, nil, bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: [::1] can't be reached by DNAT", s)
		}
	}
	_, err = f.change(key, func(l *lease) { l.ports = specs })
	return nil, nil, err
}

func (f *fake) NameInterface(_ context.Context, key, name string) error {
	_, err := f.change(key, func(l *lease) { l.Endpoint.Name = name })
	if err == nil {
		f.named <- name
	}
	return err
}

func (f *fake) ReservePool(_ context.Context, spec bridged.PoolSpec) (bridged.Reservation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := func(p netip.Prefix) bool {
		for _, o := range f.pools {
			if o.Prefix.Overlaps(p) {
				return true
			}
		}
		for _, n := range f.networks {
			if n.IPv4.Prefix.Overlaps(p) || n.IPv6.Prefix.Overlaps(p) {
				return true
			}
		}
		return false
	}
	p := spec.Prefix
	for i := 77; !p.IsValid() || !spec.Prefix.IsValid() && taken(p); i++ {
		p = netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", i))
		if spec.IPv6 {
			p = netip.MustParsePrefix(fmt.Sprintf("fd%d:1::/64", i))
		}
	}
	if taken(p) {
		return bridged.Reservation{}, bridged.Errorf(bridged.ErrConflict, "subnet %s is taken", p)
	}
	r := bridged.Reservation{ID: bridged.ReservationID(p, spec.Range), Prefix: p, Range: spec.Range}
	f.pools[r.ID] = pool{Reservation: r, taken: make(map[netip.Addr]bool), next: p.Addr().Next()}
	return r, nil
}

func (f *fake) ReleasePool(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, _, err := bridged.ParseReservationID(id); err != nil {
		return err
	}
	delete(f.pools, id)
	return nil
}

func (f *fake) ReserveAddress(_ context.Context, id string, a netip.Addr) (netip.Prefix, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[id]
	switch {
	case !ok:
		return netip.Prefix{}, bridged.Errorf(bridged.ErrNotFound, "pool %s not found", id)
	case !a.IsValid():
		for a = p.next; p.taken[a]; a = a.Next() {
		}
		p.next = a.Next()
	case !p.Prefix.Contains(a):
		return netip.Prefix{}, bridged.Errorf(bridged.ErrInvalid, "address %s is not in %s", a, id)
	case p.taken[a]:
		return netip.Prefix{}, bridged.Errorf(bridged.ErrConflict, "address %s is in use", a)
	}
	p.taken[a] = true
	f.pools[id] = p
	return netip.PrefixFrom(a, p.Prefix.Bits()), nil
}

func (f *fake) ReleaseAddress(_ context.Context, id string, a netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.pools[id]
	if !ok || !p.taken[a] {
		return bridged.Errorf(bridged.ErrNotFound, "address %s of pool %s was not given out", a, id)
	}
	delete(p.taken, a)
	return nil
}

// unchanged reports whether nothing happened since the snapshot.
func (f *fake) unchanged(before contents) bool { return reflect.DeepEqual(before, f.snapshot()) }

// published are the ports of a lease, in words.
func (f *fake) published(key string) (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.leases[key].ports {
		all = append(all, s.String())
	}
	slices.Sort(all)
	return all
}
