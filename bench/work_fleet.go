package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/bridged/bridged/bench/report"
)

// fleetWork attaches containers with few and with many ports, on hosts with few and with many.
func fleetWork() workload {
	return workload{
		name: "fleet", what: func(r *run) string {
			return fmt.Sprintf("containers with %s ports, on hosts with %s", report.Numbers(r.fleetShapes()), report.Numbers(r.fleetSizes()))
		},
		lasts: func(r *run) time.Duration {
			return time.Duration(len(r.fleetPeers())*len(r.fleetSizes())*len(r.fleetShapes())) * 5 * r.fleetPace().budget
		},
		do: (*run).fleet,
	}
}

// fleetShapes are how many ports a container has.
func (r *run) fleetShapes() []int {
	if r.quick {
		return []int{1, 32}
	}
	return []int{1, 32, 206}
}

// fleetSizes are how many ports the others on the host have.
func (r *run) fleetSizes() []int {
	if r.quick {
		return []int{1000}
	}
	return []int{0, 15_000}
}

func (r *run) fleetPace() pace {
	p := r.pace()
	p.budget, p.least = p.budget/2, 3
	return p
}

// fleetPeers are those that publish ports with an attach.
func (r *run) fleetPeers() []peer {
	return r.but("fleet", r.attachers(), func(p peer) string {
		if p.name == report.Link {
			return "it publishes nothing"
		}
		return ""
	})
}

// fleet takes one size after the other, since a port of the engine takes a file of this process.
func (r *run) fleet() error {
	for _, ports := range r.fleetSizes() {
		hosts := r.attachHosts("fleet", r.fleetPeers())
		hosts = slices.DeleteFunc(hosts, func(b *attachHost) bool { return !r.populate(b, ports) })
		var lanes []*lane
		for _, b := range hosts {
			for _, size := range r.fleetShapes() {
				if p := b.peer; p.patience > 0 && ports*size > p.patience {
					r.skip("fleet, %s with %d ports at %d ports: it takes minutes", p.name, size, ports)
					continue
				}
				lanes = append(lanes, b.lane(report.Key{Workload: "fleet", Ports: ports, Size: size}, "fleet "))
			}
		}
		r.runAt(r.fleetPace(), report.Raw, lanes)
		hosts.check(r)
		hosts.close(r)
	}
	return nil
}

// populate publishes the ports of the others. What can't be done is recorded, and the host closed.
func (r *run) populate(b *attachHost, ports int) bool {
	r.progress.doing("%s: publishing %d ports", b.peer.name, ports)
	err := r.room(b.peer, ports+slices.Max(r.fleetShapes()))
	if err != nil {
		r.skip("fleet, %s at %d ports: %w", b.peer.name, ports, err)
	} else if err = b.publish(ports); err != nil {
		r.fail("fleet, %s: cannot publish %d ports beforehand: %w", b.peer.name, ports, err)
	}
	if err != nil {
		r.closed(b.close())
	}
	return err == nil
}

// publish publishes ports of the world's own container.
func (b *attachHost) publish(ports int) error {
	p, ok := b.attacher.(interface{ publish([]uint16) op })
	if !ok {
		return fmt.Errorf("%s does not publish", b.peer.name)
	}
	b.published = some(firstPort, ports)
	for chunk := range slices.Chunk(b.published, chunk) {
		if err := p.publish(chunk)(); err != nil {
			return err
		}
	}
	return nil
}
