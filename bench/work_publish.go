package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// publishWork publishes one port, and unpublishes it, beside so many that are published.
func publishWork() workload {
	return workload{
		name: "publish", what: always("one port more, and one less, beside those that are published"),
		lasts: func(r *run) time.Duration {
			return time.Duration(len(r.publishers())*len(r.sizes())) * 2 * r.pace().budget
		},
		do: (*run).publish,
	}
}

// The ports that are published beforehand, and those that come and go, are apart.
const (
	firstPort  = 10_000
	firstSpare = 2_000
	spares     = 1_000
)

// some is a number of ports from first on.
func some(first, n int) []uint16 {
	ports := make([]uint16, n)
	for i := range ports {
		ports[i] = uint16(first + i)
	}
	return ports
}

func (r *run) publish() error {
	hosts := r.publishHosts("publish", r.publishers(), r.sizes(), bridged.TCP)
	defer hosts.close(r)
	var lanes []*lane
	for _, h := range hosts {
		key := report.Key{Workload: "publish", Peer: h.peer.name, Ports: len(h.ports)}
		lanes = append(lanes, &lane{key: key, most: spares, cycle: h.cycle, beside: h.pinged()})
	}
	r.run(report.Raw, lanes)
	hosts.check(r, func(h *host) error { return h.try(h.take(1), publisher.publish, publisher.unpublish) })
	return nil
}

// pinged has a daemon pinged before each of its calls, on the same connection, and is what these took: a call that comes after another one is quicker
// than one that comes after a pause. Without a daemon it is nil.
func (h *host) pinged() *lane {
	daemon, ok := h.publisher.(*httpPublisher)
	if !ok {
		return nil
	}
	l := besideLane(report.Key{Workload: "publish", Peer: report.Ping, Ports: len(h.ports)})
	h.before = func(workload string) error { return l.samples.time(workload, daemon.conn.ping) }
	return l
}

// host is a publisher with ports that are published.
type host struct {
	publisher
	peer  peer
	ports []uint16
	next  int // of the spare ports
	// before is called before each operation that is timed, with its workload; nil: nothing is.
	before func(workload string) error
}

// publishHosts makes a host for each peer and size. Those that can't be had are recorded.
func (r *run) publishHosts(workload string, peers []peer, sizes []int, proto bridged.Proto) hosts {
	var hs hosts
	for _, n := range sizes {
		for _, p := range peers {
			h, err := r.host(p, n)
			if err != nil {
				r.fail("%s, %s at %d ports: %w", workload, p.name, n, err)
				continue
			}
			h.world().proto = proto
			hs = append(hs, h)
		}
	}
	return slices.DeleteFunc(hs, func(h *host) bool { return !r.fill(workload, h) })
}

// host makes a host of a peer, on which nothing is published yet.
func (r *run) host(p peer, n int) (*host, error) {
	r.hosts++
	made, err := p.publish(&r.setting, fmt.Sprintf("h%d", r.hosts))
	if err != nil {
		return nil, err
	}
	return &host{publisher: made, peer: p, ports: some(firstPort, n)}, nil
}

// chunk is how many ports are published at once beforehand.
const chunk = 10_000

// fill publishes the ports of a host. When that can't be done it is recorded, and the host closed.
func (r *run) fill(workload string, h *host) bool {
	r.progress.doing("%s: publishing %d ports", h.peer.name, len(h.ports))
	err := r.room(h.peer, len(h.ports))
	if err != nil {
		r.skip("%s, %s at %d ports: %w", workload, h.peer.name, len(h.ports), err)
	}
	for ports := range slices.Chunk(h.ports, chunk) {
		if err != nil {
			break
		}
		if err = h.publish(ports)(); err != nil {
			r.fail("%s, %s: cannot publish %d ports beforehand: %w", workload, h.peer.name, len(h.ports), err)
		}
	}
	if err != nil {
		r.closed(h.close())
	}
	return err == nil
}

// take is the next n of the ports that come and go. One that has just gone is not the next to come: the engine would wait for the end of its
// connections.
func (h *host) take(n int) []uint16 {
	if h.next+n > spares {
		h.next = 0
	}
	h.next += n
	return some(firstSpare+h.next-n, n)
}

// cycle publishes n ports one by one, and then unpublishes them.
func (h *host) cycle(n int, s samples) error {
	ports := h.take(n)
	for _, step := range []struct {
		workload string
		prepare  func([]uint16) op
	}{{"publish", h.publish}, {"unpublish", h.unpublish}} {
		ops := make([]op, n)
		for i := range ops {
			ops[i] = step.prepare(ports[i : i+1])
		}
		for _, do := range ops {
			if h.before != nil {
				if err := h.before(step.workload); err != nil {
					return err
				}
			}
			if err := s.time(step.workload, do); err != nil {
				return err
			}
		}
	}
	return nil
}

// hosts are those of a workload.
type hosts []*host

// check has each host try once more what was measured, and compares what its kernel holds with what it should. With nil, there is nothing to be tried.
func (hs hosts) check(r *run, try func(*host) error) {
	for _, h := range hs {
		if h.peer.name == report.NoRules {
			continue // it holds nothing
		}
		r.progress.doing("%s: comparing the kernel with what it should hold", h.peer.name)
		var err error
		if try != nil {
			err = try(h)
		}
		if err == nil {
			err = check(h.publisher, h.ports, unpublished)
		}
		if err != nil {
			r.fail("%s beside %d ports: %w", h.peer.name, len(h.ports), err)
		}
	}
}

// try publishes ports as it was measured and unpublishes them: meanwhile the kernel must hold them beside the others, and packets must arrive. The measured
// operations undo themselves, so that of two which do nothing the kernel would not tell afterwards.
func (h *host) try(ports []uint16, publish, unpublish func(publisher, []uint16) op) error {
	if err := publish(h.publisher, ports)(); err != nil {
		return err
	}
	err := check(h.publisher, slices.Concat(h.ports, ports), unpublished)
	if err != nil {
		err = fmt.Errorf("with %d more: %w", len(ports), err)
	}
	return errors.Join(err, unpublish(h.publisher, ports)())
}

func (hs hosts) close(r *run) {
	for _, h := range hs {
		r.closed(h.close())
	}
}
