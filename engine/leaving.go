package engine

import (
	"context"
	"errors"
	"net/netip"

	"github.com/bridged/bridged"
)

// leaving is an endpoint on its way out. It is in the State no more, but nobody else gets its addresses before the kernel has nothing of it:
// a removal that fails takes them back, and connections that it had must not go on with another one.
type leaving struct {
	bridged.Endpoint
	gone chan struct{} // closed when its addresses are free, or it stays
}

// leavingNetwork is a network on its way out, or one whose making may still fail: nobody else gets its subnets and its bridge's name before the
// kernel has nothing of it.
type leavingNetwork struct {
	bridged.Network
	gone chan struct{} // closed when it is gone, or stays
}

// leavingError says that what was asked for is that of something on its way out.
type leavingError struct {
	what string
	gone <-chan struct{}
}

func (l leavingError) Error() string { return "what " + l.what + " has is not free yet" }

// transactWhenFree is transact for a change that gives addresses or subnets out, or back: those of what is on its way out are waited for.
func (e *Engine) transactWhenFree(ctx context.Context, change func(*index) (bridged.Change, error)) error {
	for {
		err := e.transact(ctx, change)
		var l leavingError
		if !errors.As(err, &l) {
			return err
		}
		e.purges.hurry()
		select {
		case <-l.gone:
		case <-e.unpurged:
			return errEnding()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keepAddrs keeps the addresses of endpoints that the next change takes away.
func (x *index) keepAddrs(endpoints []bridged.Endpoint) {
	for _, ep := range endpoints {
		x.leaving[ep.ID] = &leaving{ep, make(chan struct{})}
	}
}

// staying lets endpoints stay whose removal has failed.
func (e *Engine) staying(endpoints []bridged.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ep := range endpoints {
		if l := e.index.leaving[ep.ID]; l != nil {
			delete(e.index.leaving, ep.ID)
			close(l.gone)
		}
	}
}

// drainEndpoints gives the addresses of endpoints back that are gone: behind the answer their connections are purged, then they are free.
func (e *Engine) drainEndpoints(endpoints []bridged.Endpoint) {
	var purges []purge
	for _, ep := range endpoints {
		for _, a := range ep.Addrs() {
			purges = append(purges, purge{addr: a})
		}
		purges = append(purges, purge{then: func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.index.freeAddrs(ep.ID)
		}})
	}
	e.purges.add(purges...)
}

func (x *index) freeAddrs(endpoint string) {
	l := x.leaving[endpoint]
	delete(x.leaving, endpoint)
	x.release(l.Endpoint)
	delete(x.macs, macKey{l.Network, l.MAC})
	close(l.gone)
}

// leavingWith is the error for an address that an endpoint on its way out has; for the zero Addr, for any address of the family of like. Nil:
// there is none.
func (x *index) leavingWith(network string, a, like netip.Addr) error {
	for _, l := range x.leaving {
		if has := l.Addr(like); l.Network == network && has.IsValid() && (!a.IsValid() || a == has) {
			return leavingError{l.Endpoint.String(), l.gone}
		}
	}
	return nil
}

// leavingOf is the error for a network from which an endpoint is on its way out: who has its subnet next has its addresses. Nil: there is none.
func (x *index) leavingOf(network string) error {
	for _, l := range x.leaving {
		if l.Network == network {
			return leavingError{l.Endpoint.String(), l.gone}
		}
	}
	return nil
}

// keepSubnets keeps what a network has that the next change takes away, or makes and may have to take away.
func (x *index) keepSubnets(n bridged.Network) {
	x.vacating[n.ID] = leavingNetwork{n, make(chan struct{})}
}

// freeSubnets ends what keepSubnets began, if it did.
func (e *Engine) freeSubnets(network string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l, ok := e.index.vacating[network]; ok {
		delete(e.index.vacating, network)
		close(l.gone)
	}
}

// networksLeft are those that are in the State no more and may still be in the kernel.
func (x *index) networksLeft() (left []leavingNetwork) {
	for id, l := range x.vacating {
		if _, stays := x.Networks[id]; !stays {
			left = append(left, l)
		}
	}
	return left
}

// inTheWay is the error for a network that wants what one on its way out has.
func (l leavingNetwork) inTheWay(n bridged.Network) error {
	for _, mine := range n.Subnets() {
		for _, s := range l.Subnets() {
			if mine.Prefix.Bits() > 0 && mine.Prefix.Overlaps(s.Prefix) {
				return l.error()
			}
		}
	}
	if l.Bridge == n.Bridge && n.Bridge != "" || l.ID == n.ID {
		return l.error()
	}
	return nil
}

func (l leavingNetwork) error() error { return leavingError{"network " + l.Name, l.gone} }
