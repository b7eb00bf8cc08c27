package engine

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/ipam"
)

func (x *index) setReservation(id string, r *bridged.Reservation) {
	old, had := x.Reservations[id]
	switch {
	case r == nil && !had:
		return
	case r == nil:
		for _, a := range old.Lasting {
			x.takeBackAddr(old, a)
		}
		x.subnets.remove(old.Prefix, id) // nothing, where a network has it
		delete(x.reservations, old.Prefix)
		delete(x.pools, poolOf(old))
		return
	case !had:
		x.reservations[r.Prefix] = id
		if o, taken := x.subnets.overlap(r.Prefix); taken && o.Prefix == r.Prefix {
			x.setPool(*r, x.pools[bridged.PoolID{Network: o.owner, IPv6: r.IPv6()}])
		} else {
			x.subnets.add(r.Prefix, id)
			x.setPool(*r, newPool(*r))
		}
	}
	for _, a := range old.Lasting {
		if !r.Lasts(a) {
			x.takeBackAddr(old, a)
		}
	}
	x.holdReserved(*r)
}

func poolOf(r bridged.Reservation) bridged.PoolID {
	return bridged.PoolID{Network: r.ID, IPv6: r.IPv6()}
}

// newPool is that of a reservation that no network has taken as its own.
func newPool(r bridged.Reservation) *ipam.Pool {
	pool, err := ipam.New(ipam.Config{Prefix: r.Prefix, Range: r.Range})
	if err != nil {
		return nil // checked when it was made
	}
	return pool
}

// setPool sets the pool of a reservation; nil: there is none.
func (x *index) setPool(r bridged.Reservation, pool *ipam.Pool) {
	if pool == nil {
		delete(x.pools, poolOf(r))
		return
	}
	x.pools[poolOf(r)] = pool
	x.holdReserved(r)
}

// setReserved notes that an address of a reservation was given out, or given back.
func (x *index) setReserved(a bridged.PoolAddr, given bool) {
	if !given {
		leave(x.reserved, a.Pool, a.Addr)
		x.takeBackAddr(x.Reservations[a.Pool], a.Addr)
		return
	}
	enter(x.reserved, a.Pool, a.Addr)
	if pool := x.pools[bridged.PoolID{Network: a.Pool, IPv6: a.Addr.Is6()}]; pool != nil {
		_ = pool.Claim(a.Addr) // "in use" is what we want
	}
}

// holdReserved marks the addresses of a reservation as used.
func (x *index) holdReserved(r bridged.Reservation) {
	pool := x.pools[poolOf(r)]
	if pool == nil {
		return
	}
	for _, a := range r.Lasting {
		_ = pool.Claim(a) // "in use" is what we want
	}
	for a := range x.reserved[r.ID] {
		_ = pool.Claim(a)
	}
}

// takeBackAddr frees an address of a reservation, unless an endpoint has it.
func (x *index) takeBackAddr(r bridged.Reservation, a netip.Addr) {
	o, _ := x.subnets.overlap(r.Prefix)
	if pool := x.pools[poolOf(r)]; pool != nil && !x.hasAddr(o.owner, a) {
		pool.Release(a)
	}
}

// hasAddr says whether an endpoint on the network has an address, or had it until now.
func (x *index) hasAddr(network string, a netip.Addr) bool {
	_, has := x.addrs[addrKey{network, a}]
	return has || x.leavingWith(network, a, a) != nil
}

// sharePool makes the pool of a network that of the reservation of its subnet, if there is one.
func (x *index) sharePool(prefix netip.Prefix, pool *ipam.Pool) {
	if r, reserved := x.Reservations[x.reservations[prefix]]; reserved {
		x.setPool(r, pool)
	}
}

// leavePool gives the reservation of a subnet that a network has no more a pool of its own again.
func (x *index) leavePool(prefix netip.Prefix) {
	if r, reserved := x.Reservations[x.reservations[prefix]]; reserved {
		x.sharePool(prefix, newPool(r))
	}
}

// ownerOf is the network that has just this subnet; the zero Network: none has.
func (x *index) ownerOf(prefix netip.Prefix) bridged.Network {
	if o, taken := x.subnets.overlap(prefix); taken && o.Prefix == prefix {
		return x.Networks[o.owner]
	}
	return bridged.Network{}
}

// isReserved says whether an address in the network's subnet was given out by its reservation.
func (x *index) isReserved(n bridged.Network, a netip.Addr) bool {
	if len(x.reservations) == 0 || !a.IsValid() {
		return false
	}
	id := x.reservations[n.Subnet(a.Is6()).Prefix]
	_, given := x.reserved[id][a]
	return given || x.Reservations[id].Lasts(a)
}

// takeRanges gives the subnets of a network that name none the ranges of their reservations.
func (x *index) takeRanges(n *bridged.Network) {
	for _, s := range []*bridged.Subnet{&n.IPv4, &n.IPv6} {
		if r, reserved := x.Reservations[x.reservations[s.Prefix]]; reserved && s.Valid() && !s.Range.IsValid() {
			s.Range = r.Range
		}
	}
}
