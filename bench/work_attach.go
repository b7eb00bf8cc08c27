package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bridged/bridged/bench/report"
)

// attachWork attaches a namespace with one published port to the bridge, and detaches it.
func attachWork() workload {
	return workload{
		name: "attach", what: always("a namespace to the bridge with one port published, and off it"),
		lasts: func(r *run) time.Duration { return time.Duration(len(r.attachers())) * 4 * r.pace().budget },
		do:    (*run).attach,
	}
}

// attachers are the peers that attach namespaces.
func (r *run) attachers() []peer {
	return slices.DeleteFunc(slices.Clone(r.peers), func(p peer) bool { return p.attach == nil })
}

// pool is how many containers of a host are attached in turn: from one that was just detached the kernel takes its link for some time yet.
const pool = 8

// attachHost is a host where containers are attached and detached.
type attachHost struct {
	attacher
	peer       peer
	containers []*container
	turn       int
	published  []uint16 // by others on the host
	next       int      // of the containers' ports
	endpoints  int      // of others on the host
	sizes      []int    // of the containers' ports, that were measured
	before     func(workload string) error
}

func (r *run) attachHost(p peer) (*attachHost, error) {
	r.hosts++
	made, err := p.attach(&r.setting, fmt.Sprintf("h%d", r.hosts))
	if err != nil {
		return nil, err
	}
	b := &attachHost{attacher: made, peer: p}
	if b.containers, err = made.world().containers(pool); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *attachHost) close() error { return errors.Join(closeAll(b.containers), b.attacher.close()) }

func (r *run) attach() error {
	hosts := r.attachHosts("attach", r.attachers())
	defer func() { hosts.close(r) }()
	var lanes []*lane
	for _, b := range hosts {
		lanes = append(lanes, b.loneLane())
	}
	lanes = append(lanes, r.crowdedLanes(&hosts)...)
	r.run(report.Raw, lanes)
	hosts.check(r)
	return nil
}

// lane attaches and detaches containers, with as many ports each as the key has. The prefix is of the workloads' names.
//
// It does so once in a turn: in a row code and data are warm, which containers that come and go do not find, and quick peers would have longer rows than
// others.
func (b *attachHost) lane(key report.Key, prefix string) *lane {
	key.Peer, key.Endpoints = b.peer.name, b.endpoints
	b.sizes = append(b.sizes, key.Size)
	return &lane{
		key: key, most: 1,
		stays: key.Peer == report.Raw || key.Peer == report.Link, // a detach of theirs takes as long as many attaches
		cycle: func(_ int, s samples) error {
			return b.with(prefix, key.Size, s, func(*container, []uint16) error { return nil })
		},
	}
}

// loneLane is of containers with one port, on a host where others have none.
func (b *attachHost) loneLane() *lane {
	l := b.lane(report.Key{Workload: "attach", Size: 1}, "")
	l.beside = b.pinged()
	return l
}

// pinged is as of a publish.
func (b *attachHost) pinged() *lane {
	daemon, ok := b.attacher.(*httpPublisher)
	if !ok {
		return nil
	}
	l := besideLane(report.Key{Workload: "attach", Peer: report.Ping, Size: 1, Endpoints: b.endpoints})
	b.before = func(workload string) error { return l.samples.time(workload, daemon.conn.ping) }
	return l
}

// with runs f while the next container is attached, with its ports.
func (b *attachHost) with(prefix string, size int, s samples, f func(*container, []uint16) error) error {
	c, ports := b.containers[b.turn%pool], b.take(size)
	b.turn++
	if err := b.one(prefix+"attach", c, ports, s, b.attacher.attach); err != nil {
		return err
	}
	if err := f(c, ports); err != nil {
		return err
	}
	if err := b.one(prefix+"detach", c, ports, s, b.attacher.detach); err != nil {
		return err
	}
	return c.awaitBare()
}

// one makes one operation with a container, prepared beforehand.
func (b *attachHost) one(workload string, c *container, ports []uint16, s samples, prepare func(*container, []uint16) ([]step, error)) error {
	steps, err := prepare(c, ports)
	if err != nil {
		return err
	}
	if b.before != nil {
		if err := b.before(workload); err != nil {
			return err
		}
	}
	return s.steps(workload, steps)
}

// steps times an operation, and its steps when there are several.
func (s samples) steps(workload string, steps []step) error {
	var whole time.Duration
	for _, step := range steps {
		start := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		took := time.Since(start)
		whole += took
		if len(steps) > 1 {
			s.addPart(workload, step.name, took)
		}
	}
	s.add(workload, whole)
	return nil
}

// take is the next so many ports: see host.take.
func (b *attachHost) take(n int) []uint16 {
	const room = 20 * spares
	if b.next+n > room {
		b.next = 0
	}
	b.next += n
	return some(fleetFirst+b.next-n, n)
}

// fleetFirst is the first of the containers' ports; those published beforehand are below.
const fleetFirst = firstPort + 30_000

// attachHosts are those of a workload.
type attachHosts []*attachHost

func (r *run) attachHosts(workload string, peers []peer) attachHosts {
	var all attachHosts
	for _, p := range peers {
		b, err := r.attachHost(p)
		if err != nil {
			r.fail("%s, %s: %w", workload, p.name, err)
			continue
		}
		all = append(all, b)
	}
	return all
}

// check attaches a container once more with each number of ports, sends packets to it, and compares what the kernel holds before, meanwhile and after with what it should.
func (bs attachHosts) check(r *run) {
	for _, b := range bs {
		r.progress.doing("%s: comparing the kernel with what it should hold", b.peer.name)
		if err := b.check(); err != nil {
			r.fail("%s, attached and detached: %w", b.peer.name, err)
		}
	}
}

func (b *attachHost) check() error {
	if err := b.holds(); err != nil {
		return err
	}
	for _, size := range b.sizes {
		err := b.with("", size, newSamples(), func(c *container, ports []uint16) error {
			if b.peer.name == report.Link {
				return nil // it publishes nothing
			}
			return errors.Join(b.holds(ports...), b.world().reaches(c.space, ports[0]), b.world().reaches(c.space, ports[size-1]))
		})
		if err := errors.Join(err, b.holds()); err != nil {
			return fmt.Errorf("with %d ports: %w", size, err)
		}
	}
	return nil
}

// holds says how the kernel differs from the ports that others have published and these, which lead to a container.
func (b *attachHost) holds(ports ...uint16) error {
	held, err := b.held()
	if err != nil {
		return fmt.Errorf("cannot read what the kernel holds: %w", err)
	}
	expected, err := held.chosen(b.world().proto, ports)
	if err != nil {
		return err
	}
	maps.Copy(expected, want(b.world().proto, b.published))
	return held.differs(expected)
}

func (bs attachHosts) close(r *run) {
	for _, b := range bs {
		r.closed(b.close())
	}
}
