package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// concurrentWork has many callers publish at the same time.
func concurrentWork() workload {
	return workload{
		name: "concurrent", what: always(fmt.Sprintf("%d callers that publish and unpublish at the same time, and one", crowd)),
		lasts: func(r *run) time.Duration { return time.Duration(len(r.publishers())) * 4 * r.pace().budget },
		do:    (*run).concurrent,
	}
}

// crowd is how many callers there are.
const crowd = 32

func (r *run) concurrent() error {
	hosts := r.publishHosts("concurrent", r.publishers(), []int{0}, bridged.TCP)
	defer hosts.close(r)
	together := make(map[*host][]caller)
	var lanes []*lane
	for _, h := range hosts {
		callers, err := h.callers(crowd)
		if err != nil {
			r.fail("concurrent, %s: %w", h.peer.name, err)
			continue
		}
		together[h] = callers
		for _, n := range []int{1, crowd} {
			c := callers[:n]
			lanes = append(lanes, &lane{
				key: report.Key{Workload: "concurrent", Peer: h.peer.name, Callers: n}, most: spares / crowd,
				cycle: func(n int, s samples) error { return h.crowd(c, n, s) },
			})
		}
	}
	r.run(report.Raw, lanes)
	hosts.check(r, func(h *host) error { return h.together(together[h]) })
	return nil
}

// lodger is a caller whose ports lead to a sandbox of its own.
type lodger interface {
	// lodging is the name of its namespace.
	lodging() string
}

// together has all callers publish a port and unpublish it: meanwhile the kernel must hold all of them, and packets must arrive through the first and the
// last.
func (h *host) together(callers []caller) error {
	ports := h.take(len(callers))
	all := func(prepare func(caller, []uint16) op) error {
		var group errgroup.Group
		for i, c := range callers {
			group.Go(prepare(c, ports[i:i+1]))
		}
		return group.Wait()
	}
	if err := all(caller.publish); err != nil {
		return err
	}
	err := h.union(callers, ports)
	if err != nil {
		err = fmt.Errorf("with a port of each of %d callers: %w", len(callers), err)
	}
	return errors.Join(err, all(caller.unpublish))
}

// union compares what the kernel holds with a port of each caller, and sends packets to the first and the last.
func (h *host) union(callers []caller, ports []uint16) error {
	held, err := h.held()
	if err != nil {
		return fmt.Errorf("cannot read what the kernel holds: %w", err)
	}
	expected := want(h.world().proto, ports)
	if _, ok := callers[0].(lodger); ok {
		if expected, err = held.chosen(h.world().proto, ports); err != nil {
			return err
		}
	}
	if err := held.differs(expected); err != nil {
		return err
	}
	for _, i := range []int{0, len(callers) - 1} {
		if err := h.arrives(callers[i], ports[i]); err != nil {
			return err
		}
	}
	return nil
}

// arrives says whether packets to a caller's port arrive in its sandbox, which is the world's container where it has none of its own.
func (h *host) arrives(c caller, port uint16) error {
	l, ok := c.(lodger)
	if !ok {
		return h.world().reaches(h.world().container, port)
	}
	s, err := openSpace(l.lodging())
	if err != nil {
		return err
	}
	defer s.ns.Close()
	return h.world().reaches(s, port)
}

// crowd has each caller publish n ports and unpublish them, all at the same time.
func (h *host) crowd(callers []caller, n int, s samples) error {
	work := make([][]op, len(callers))
	all := h.take(len(callers) * n) // at once: where the ports begin anew, two must not be given the same
	for i, c := range callers {
		ports := all[i*n : (i+1)*n]
		for p := range ports {
			work[i] = append(work[i], c.publish(ports[p:p+1]), c.unpublish(ports[p:p+1]))
		}
	}
	took := make([][]time.Duration, len(callers))
	var group errgroup.Group
	start := time.Now()
	for i := range callers {
		group.Go(func() error {
			for _, do := range work[i] {
				start := time.Now()
				if err := do(); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(start))
			}
			return nil
		})
	}
	err := group.Wait()
	s.wall["concurrent"] += time.Since(start)
	for _, t := range took {
		s.add("concurrent", t...)
	}
	return err
}

// many is a caller that can be used by several at the same time.
func many(c caller, n int) []caller {
	all := make([]caller, n)
	for i := range all {
		all[i] = c
	}
	return all
}

// inLine is a caller that can't.
func inLine(c caller, n int) []caller {
	return many(&line{caller: c}, n)
}

// line lets one after the other.
type line struct {
	caller
	mu sync.Mutex
}

func (l *line) publish(ports []uint16) op   { return l.wait(l.caller.publish(ports)) }
func (l *line) unpublish(ports []uint16) op { return l.wait(l.caller.unpublish(ports)) }

func (l *line) wait(do op) op {
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		return do()
	}
}
