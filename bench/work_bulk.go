package main

import (
	"fmt"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
)

// bulkWork publishes many ports in one operation, which is one transaction where there is such a thing.
func bulkWork() workload {
	return workload{
		name: "bulk", what: func(r *run) string {
			return fmt.Sprintf("%s ports in one operation, and gone in one", report.Numbers([]int{r.bulkSize()}))
		},
		lasts: func(r *run) time.Duration { return time.Duration(len(r.bulkPublishers())) * 2 * r.pace().budget },
		do: func(r *run) error {
			return r.many("bulk", r.bulkPublishers(), r.bulkSize(), publisher.publish, publisher.unpublish)
		},
	}
}

// bulkSize is how many ports are published at once.
func (r *run) bulkSize() int {
	if r.quick {
		return 1000
	}
	return 10_000
}

// rangeWork publishes a range of ports, as in -p 20000-20999:20000-20999.
func rangeWork() workload {
	return workload{
		name: "range", what: always("a range of 1,000 ports"),
		lasts: func(r *run) time.Duration { return time.Duration(len(r.publishers())) * 2 * r.pace().budget },
		do: func(r *run) error {
			return r.many("range", r.publishers(), 1000, func(p publisher, ports []uint16) op {
				if p, ok := p.(ranger); ok {
					return p.publishRange(ports[0], ports[len(ports)-1])
				}
				return p.publish(ports)
			}, func(p publisher, ports []uint16) op {
				if p, ok := p.(ranger); ok {
					return p.unpublishRange(ports[0], ports[len(ports)-1])
				}
				return p.unpublish(ports)
			})
		},
	}
}

// bulkPublishers are those that don't make a process a rule: these take -restore for many.
func (r *run) bulkPublishers() []peer {
	return r.but("bulk", r.publishers(), func(p peer) string {
		if p.name == report.IPTables || p.name == report.IPTablesOld {
			return "it would start two processes a port; its -restore is measured in its place"
		}
		return ""
	})
}

// many publishes a number of ports at once, and unpublishes them.
func (r *run) many(workload string, peers []peer, size int, publish, unpublish func(publisher, []uint16) op) error {
	hosts := r.publishHosts(workload, r.but(workload, peers, func(p peer) string {
		if err := r.room(p, size); err != nil {
			return err.Error()
		}
		return ""
	}), []int{0}, bridged.TCP)
	defer hosts.close(r)
	var lanes []*lane
	for _, h := range hosts {
		turn := 0
		lanes = append(lanes, &lane{key: report.Key{Workload: workload, Peer: h.peer.name, Size: size}, most: 1, cycle: func(_ int, s samples) error {
			ports := some(firstPort+turn%2*size, size)
			turn++
			if err := s.time(workload, publish(h.publisher, ports)); err != nil {
				return err
			}
			if err := s.time(workload+", undone", unpublish(h.publisher, ports)); err != nil {
				return err
			}
			return h.settle(ports[0])
		}})
	}
	r.run(report.Raw, lanes)
	hosts.check(r, func(h *host) error { return h.try(some(firstPort, size), publish, unpublish) })
	return nil
}

// settle waits until all is done behind the answers: a port that was published comes again only when its connections have been ended.
func (h *host) settle(port uint16) error {
	if err := h.publish([]uint16{port})(); err != nil {
		return err
	}
	return h.unpublish([]uint16{port})()
}
