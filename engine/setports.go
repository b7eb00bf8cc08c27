package engine

import (
	"context"
	"maps"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/ordered"
)

// SetPorts makes the published ports of a lease just those that are asked for, in one transaction, all of them or nothing, and returns them in
// the order asked for. What is published already stays, also with a host port that was chosen, so that asking again changes nothing; the
// rest goes, and what is missing is published. A key without a lease is [bridged.ErrNotFound], a port that somebody else has is
// [bridged.ErrConflict].
func (e *Engine) SetPorts(ctx context.Context, key string, specs []bridged.PortSpec) (ports []bridged.Port, warnings []string, err error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	j, unlock, err := e.lockLease(key)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	defer e.lockLinks(key)()
	e.mu.Lock()
	had := e.index.portsOf(key)
	e.mu.Unlock()
	o := outletsOf([]bridged.Joined{j})
	claims, fresh, err := e.claimBeside(ctx, o, had, specs)
	if err != nil {
		return nil, nil, err
	}
	failpoint.Reached("lease's ports claimed")
	want := o.publication(key, claims)
	for _, b := range bindingsOf(claims) {
		ports = append(ports, *want[b])
	}
	change, gone := publicationChange(had, want)
	if len(change) > 0 {
		err = e.transact(ctx, func(*index) (bridged.Change, error) { return bridged.Change{Ports: change}, nil })
	}
	if err != nil {
		e.book.free(fresh)
		return nil, nil, err
	}
	e.drainPorts(gone)
	e.purges.add(ledElsewhere(had, change)...)
	e.purgeBypassing([]claim{{bindings: fresh}})
	return ports, publishWarnings(o, specs), nil
}

// portsOf are the published ports of a stack.
func (x *index) portsOf(stack string) map[bridged.Binding]bridged.Port {
	ports := make(map[bridged.Binding]bridged.Port, len(x.ports[stack]))
	for b := range x.ports[stack] {
		ports[b] = x.Ports[b]
	}
	return ports
}

// claimBeside is claimPorts for a stack that has ports: these need not be reserved again. What was reserved anew is fresh. Specifications
// that leave nothing open come first, so that none of the others takes what is theirs; one that is there twice means the same port.
func (e *Engine) claimBeside(ctx context.Context, o outlets, had map[bridged.Binding]bridged.Port, specs []bridged.PortSpec) (claims []claim, fresh []bridged.Binding, err error) {
	if len(specs) > 0 {
		if err := e.needFirewall("published ports"); err != nil {
			return nil, nil, err
		}
	}
	held := maps.Clone(had)
	all := make([]claim, len(specs))
	first := make(map[bridged.PortSpec]bool)
	for _, i := range strictestFirst(specs) {
		s := specs[i]
		if s.Fixed() && first[s] {
			continue
		}
		first[s] = true
		bindings, reserved, err := e.claimPort(ctx, o, s, held)
		if err != nil {
			e.book.free(fresh)
			return nil, nil, err
		}
		fresh = append(fresh, reserved...)
		all[i] = claim{container: s.ContainerPort, bindings: bindings}
		for _, b := range bindings {
			delete(held, b)
		}
	}
	return all, fresh, nil
}

// strictestFirst are the places of the specifications: first those of one host port, last those of any.
func strictestFirst(specs []bridged.PortSpec) []int {
	order := make([]int, len(specs))
	for i := range order {
		order[i] = i
	}
	choices := func(i int) int {
		if r := specs[i].HostPort; r != (bridged.PortRange{}) {
			return r.Len()
		}
		return 1 << 16
	}
	ordered.SortStable(order, func(a, b int) int { return choices(a) - choices(b) })
	return order
}

// publicationChange leads from the ports that were published to those that are wanted; gone are those that nobody wants.
func publicationChange(had map[bridged.Binding]bridged.Port, want map[bridged.Binding]*bridged.Port) (change map[bridged.Binding]*bridged.Port, gone []bridged.Port) {
	change = make(map[bridged.Binding]*bridged.Port)
	for b, p := range want {
		if old, there := had[b]; !there || old != *p {
			change[b] = p
		}
	}
	for b, p := range had {
		if want[b] == nil {
			change[b] = nil
			gone = append(gone, p)
		}
	}
	return change, gone
}

// ledElsewhere are the connections of host ports that lead to another port inside now.
func ledElsewhere(had map[bridged.Binding]bridged.Port, change map[bridged.Binding]*bridged.Port) (purges []purge) {
	for b, p := range change {
		if _, there := had[b]; there && p != nil {
			purges = append(purges, purge{flow: flowOf(b)})
		}
	}
	return purges
}
