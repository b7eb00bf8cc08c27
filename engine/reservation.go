package engine

import (
	"context"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/ipam"
)

// Reservations are for callers that manage addresses with us before there is a network, or without one of ours: Docker's engine asks for a
// subnet first, then for its gateway, and for the network last. A network that takes a reserved subnet as its own has one pool of
// addresses with the reservation: an address is free when neither has given it out. An endpoint can have an address that is
// reserved, since that is what it was reserved for.

// ReservePool keeps a subnet; it outlives a boot. One that overlaps with another reservation, a network or what the host uses is
// [bridged.ErrConflict].
func (e *Engine) ReservePool(ctx context.Context, spec bridged.PoolSpec) (bridged.Reservation, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return bridged.Reservation{}, err
	}
	defer leave()
	asked, err := newReservation(spec)
	if err != nil {
		return bridged.Reservation{}, err
	}
	host, err := e.hostUse()
	if err != nil {
		return bridged.Reservation{}, err
	}
	if asked.Prefix.IsValid() {
		if err := host.Check(asked.Prefix); err != nil {
			return bridged.Reservation{}, bridged.Errorf(bridged.ErrConflict, "cannot reserve subnet %s: %w; choose another one", asked.Prefix, err)
		}
	}
	r, kept := asked, false
	err = e.transactWhenFree(ctx, func(x *index) (c bridged.Change, err error) {
		r = asked // not what was chosen the last time
		left := x.networksLeft()
		if !r.Prefix.IsValid() {
			if r.Prefix, err = e.freeSubnet(x, spec.IPv6, host.space, left); err != nil {
				return c, bridged.Errorf(bridged.ErrConflict, "no subnet is free: %w; name one", err)
			}
		}
		if err := x.overlaps(r.Prefix, ""); err != nil {
			return c, err
		}
		for _, l := range left {
			if err := l.inTheWay(alone(r)); err != nil {
				return c, err
			}
		}
		r.ID = bridged.ReservationID(r.Prefix, r.Range)
		x.keepSubnets(alone(r))
		kept = true
		return bridged.Change{Reservations: map[string]*bridged.Reservation{r.ID: &r}}, nil
	})
	if kept {
		e.freeSubnets(r.ID)
	}
	return r, err
}

// newReservation checks what is asked for.
func newReservation(spec bridged.PoolSpec) (r bridged.Reservation, err error) {
	if !spec.Prefix.IsValid() {
		if spec.Range.IsValid() {
			return r, bridged.Errorf(bridged.ErrInvalid, "range %s needs its subnet", spec.Range)
		}
		return r, nil
	}
	if spec.IPv6 != spec.Prefix.Addr().Is6() {
		return r, bridged.Errorf(bridged.ErrInvalid, "subnet %s is of the other family than asked for", spec.Prefix)
	}
	n := bridged.Network{}
	if err := setSubnet(&n, bridged.Subnet{Prefix: spec.Prefix, Range: spec.Range}); err != nil {
		return r, err
	}
	r.Prefix = n.Subnets()[0].Prefix
	if spec.Range.IsValid() {
		r.Range = spec.Range.Masked()
	}
	return r, nil
}

// ReleasePool gives a reservation back, with the addresses that were given out of it. A network that has taken the subnet as its own keeps it,
// and the addresses of its endpoints. One that is not there is no error.
func (e *Engine) ReleasePool(ctx context.Context, id string) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, _, err := bridged.ParseReservationID(id); err != nil {
		return err
	}
	return e.releasePool(ctx, id)
}

func (e *Engine) releasePool(ctx context.Context, id string) (err error) {
	defer e.locks.lock("pool " + id)()
	kept := false
	err = e.transactWhenFree(ctx, func(x *index) (bridged.Change, error) {
		r, there, err := x.reservation(id)
		if err != nil || !there {
			return bridged.Change{}, err
		}
		var c bridged.Change
		x.unreserve(r, &c)
		x.keepSubnets(alone(r))
		kept = true
		return c, nil
	})
	if kept {
		e.freeSubnets(id)
	}
	return err
}

// reservation is the one with this id. One that is just being made is waited for: what is done with it would be recorded before it is. The
// caller holds its lock, or it might be one on its way out.
func (x *index) reservation(id string) (r bridged.Reservation, there bool, err error) {
	if l, making := x.vacating[id]; making {
		return r, false, l.error()
	}
	r, there = x.Reservations[id]
	return r, there, nil
}

// lockReservation locks the reservation of a subnet, if there is one.
func (e *Engine) lockReservation(prefix netip.Prefix) (unlock func()) {
	e.mu.Lock()
	id, reserved := e.index.reservations[prefix]
	e.mu.Unlock()
	if !reserved {
		return func() {}
	}
	return e.locks.lock("pool " + id)
}

// unreserve adds to a change what takes a reservation and its addresses away.
func (x *index) unreserve(r bridged.Reservation, c *bridged.Change) {
	if c.Reservations == nil {
		c.Reservations, c.Reserved = make(map[string]*bridged.Reservation), make(map[bridged.PoolAddr]*bridged.Reserved)
	}
	c.Reservations[r.ID] = nil
	for a := range x.reserved[r.ID] {
		c.Reserved[bridged.PoolAddr{Pool: r.ID, Addr: a}] = nil
	}
}

// ReserveAddress gives an address of a reservation out, and returns it with the length of the subnet's prefix; for the zero Addr it is the
// lowest that never was, and where there is none, the one that is free longest. As long as no network has the subnet the address
// outlives a boot: it is a gateway or an auxiliary address, which nobody asks for again. Errors: [bridged.ErrNotFound] for a reservation,
// [bridged.ErrConflict] for an address in use, [bridged.ErrInvalid] for one that nobody can have.
func (e *Engine) ReserveAddress(ctx context.Context, pool string, a netip.Addr) (got netip.Prefix, err error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return got, err
	}
	defer leave()
	defer e.locks.lock("pool " + pool)()
	err = e.transactWhenFree(ctx, func(x *index) (c bridged.Change, err error) {
		r, there, err := x.reservation(pool)
		if err != nil {
			return c, err
		}
		if !there {
			return c, bridged.Errorf(bridged.ErrNotFound, "pool %.100q not found: it is not reserved", pool)
		}
		n := x.ownerOf(r.Prefix)
		lasts := n.ID == ""
		if lasts {
			n = alone(r)
		}
		if x.isReserved(n, a) {
			return c, bridged.Errorf(bridged.ErrConflict, "cannot use address %s in network %s: %w", a, n.Name, ipam.ErrInUse)
		}
		if got, err = x.take(n, n.Subnet(r.IPv6()), a); err != nil {
			return c, err
		}
		if !lasts {
			return bridged.Change{Reserved: map[bridged.PoolAddr]*bridged.Reserved{{Pool: pool, Addr: got.Addr()}: {}}}, nil
		}
		r.Lasting = append(slices.Clone(r.Lasting), got.Addr())
		return bridged.Change{Reservations: map[string]*bridged.Reservation{pool: &r}}, nil
	})
	return got, err
}

// ReleaseAddress gives an address back. An endpoint that has it keeps it. One that was not given out is no error, nor is a reservation that is not
// there.
func (e *Engine) ReleaseAddress(ctx context.Context, pool string, a netip.Addr) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, _, err := bridged.ParseReservationID(pool); err != nil {
		return err
	}
	defer e.locks.lock("pool " + pool)()
	return e.transact(ctx, func(x *index) (c bridged.Change, err error) {
		r := x.Reservations[pool]
		key := bridged.PoolAddr{Pool: pool, Addr: a}
		if _, given := x.Reserved[key]; given {
			c.Reserved = map[bridged.PoolAddr]*bridged.Reserved{key: nil}
		}
		if r.Lasts(a) {
			r.Lasting = without(r.Lasting, a)
			c.Reservations = map[string]*bridged.Reservation{pool: &r}
		}
		return c, nil
	})
}

// alone is a network that has just the subnet of a reservation.
func alone(r bridged.Reservation) bridged.Network {
	n := bridged.Network{ID: r.ID, Name: r.ID}
	s := bridged.Subnet{Prefix: r.Prefix, Range: r.Range, Gateway: r.Prefix.Addr()}
	if r.IPv6() {
		n.IPv6 = s
	} else {
		n.IPv4 = s
	}
	return n
}
