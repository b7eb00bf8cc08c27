package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/engine"
)

// restartWork stops and starts the daemon on a host where nothing has changed.
func restartWork() workload {
	return workload{
		name: "restart", what: func(r *run) string {
			return fmt.Sprintf("a start with %s sandboxes of %d ports and nothing to do", report.Numbers([]int{r.restartSandboxes()}), portsEach)
		},
		lasts: func(r *run) time.Duration {
			return 6*r.pace().budget + time.Duration(r.restartSandboxes())*10*time.Millisecond
		},
		do: (*run).restart,
	}
}

// portsEach is how many ports a sandbox has.
const portsEach = 10

func (r *run) restartSandboxes() int {
	if r.quick {
		return 50
	}
	return 1000
}

// restarter is a peer that can be stopped and started with what it keeps.
type restarter interface {
	publisher
	// inhabit makes sandboxes with their own namespaces.
	inhabit(sandboxes int) error
	stop() error
	start() error
	// written is how many transactions the start has made.
	written() (uint64, error)
}

func (r *run) restart() error {
	n := r.restartSandboxes()
	key := report.Key{Workload: "restart", Ports: n * portsEach, Endpoints: n}
	var lanes []*lane
	var hosts hosts
	defer func() { hosts.close(r) }()
	r.skip("restart, all but the engine and the daemon: they are not stopped and started")
	for _, p := range r.publishers() {
		if p.name != report.Engine && p.name != report.HTTP {
			continue
		}
		if err := r.room(p, n*portsEach); err != nil {
			r.skip("restart, %s: %w", p.name, err)
			continue
		}
		h, err := r.host(p, 0)
		if err != nil {
			r.fail("restart, %s: %w", p.name, err)
			continue
		}
		hosts = append(hosts, h)
		l, err := r.restartLane(h.publisher.(restarter), n)
		if err != nil {
			r.fail("restart, %s: %w", p.name, err)
			continue
		}
		l.key = key
		l.key.Peer = p.name
		lanes = append(lanes, l)
		if len(lanes) == 1 {
			floor := key
			floor.Peer = report.Raw
			lanes = append(lanes, &lane{key: floor, most: 1, cycle: func(_ int, s samples) error {
				return s.time("restart", func() error { return h.world().host.dumpAll() })
			}})
		}
	}
	r.run(report.Raw, lanes)
	return nil
}

// idleAfter is how long after its start a daemon is idle: it gives back what only the start needed.
const idleAfter = time.Second

// restartLane makes sandboxes, and notes what memory the daemon takes with and without them.
func (r *run) restartLane(p restarter, sandboxes int) (*lane, error) {
	r.progress.doing("making %d sandboxes", sandboxes)
	daemon, ok := p.(*httpPublisher)
	if ok {
		time.Sleep(idleAfter)
		r.report.Footprint.Idle = daemon.memory()
	}
	if err := p.inhabit(sandboxes); err != nil {
		return nil, err
	}
	if ok {
		r.report.Footprint.Loaded, r.report.Footprint.Sandboxes = daemon.memory(), sandboxes
	}
	before, err := p.held()
	if err != nil {
		return nil, err
	}
	if len(before) != sandboxes*portsEach {
		return nil, fmt.Errorf("the kernel holds %d ports instead of %d", len(before), sandboxes*portsEach)
	}
	return &lane{most: 1, cycle: func(_ int, s samples) error {
		if err := p.stop(); err != nil {
			return err
		}
		if err := s.time("restart", p.start); err != nil {
			return err
		}
		if n, err := p.written(); err != nil || n > 1 {
			return fmt.Errorf("the start wrote %d transactions instead of the adoption alone: %w", n, err)
		}
		after, err := p.held()
		if err != nil {
			return err
		}
		return after.differs(before)
	}}, nil
}

// sandbox is the i-th of those that inhabit a world: its name, and its ports.
func (w *world) sandbox(i int) (name string, ports []uint16) {
	return fmt.Sprintf("%s-s%d", w.name, i), some(firstPort+i*portsEach, portsEach)
}

func (p *enginePublisher) inhabit(sandboxes int) error {
	for i := range sandboxes {
		name, ports := p.w.sandbox(i)
		spec := bridged.SandboxSpec{Name: name, Network: networkOf(i), Ports: portSpecs(p.w.proto, ports)}
		if err := p.network(spec.Network); err != nil {
			return err
		}
		if _, err := p.engine.CreateSandbox(context.Background(), spec); err != nil {
			return err
		}
	}
	return nil
}

// networkOf spreads sandboxes over networks: a bridge has at most 1,023 ports.
func networkOf(i int) string { return fmt.Sprintf("n%d", i/500) }

// network makes a network unless it is there.
func (p *enginePublisher) network(name string) error {
	_, _, err := p.engine.CreateNetwork(context.Background(), bridged.NetworkSpec{Name: name})
	if errors.Is(err, bridged.ErrConflict) {
		return nil
	}
	return err
}

func (p *enginePublisher) written() (uint64, error) { return p.engine.Status().Transactions, nil }

func (p *httpPublisher) inhabit(sandboxes int) error {
	ctx := context.Background()
	for i := range sandboxes {
		name, ports := p.w.sandbox(i)
		_, err := p.daemon.client.CreateNetwork(ctx, client.NetworkCreate{Name: networkOf(i)})
		if err != nil && !errors.Is(err, bridged.ErrConflict) {
			return err
		}
		if _, err := p.daemon.client.CreateSandbox(ctx, client.SandboxCreate{Name: name, Network: networkOf(i), Ports: specTexts(ports)}); err != nil {
			return err
		}
	}
	return nil
}

func (p *httpPublisher) stop() error { return p.daemon.stop() }

// start starts the daemon again, on what it has left.
func (p *httpPublisher) start() (err error) {
	p.daemon, err = startDaemon(p.setting, p.w.host, p.dir)
	return err
}

func (p *httpPublisher) written() (uint64, error) {
	s, err := p.daemon.client.Status(context.Background())
	return s.Transactions, err
}

// memory is what the daemon has resident, in bytes; 0 when that can't be read.
func (p *httpPublisher) memory() uint64 {
	value := field(fmt.Sprintf("/proc/%d/status", p.daemon.cmd.Process.Pid), "VmRSS")
	kib, err := strconv.ParseUint(strings.TrimSuffix(value, " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// binarySize is that of the daemon's file, in bytes; 0 when there is none.
func (s *setting) binarySize() uint64 {
	info, err := os.Stat(s.daemon)
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

// dumpAll asks the kernel for what a start must know at the least, links, addresses and all elements of the packet program, and reads the
// answers without looking into them.
func (s *space) dumpAll() error {
	return s.visit(func() error {
		buffer := make([]byte, 1<<20)
		for _, d := range []struct {
			kind uint16
			body int
		}{{unix.RTM_GETLINK, unix.SizeofIfInfomsg}, {unix.RTM_GETADDR, unix.SizeofIfAddrmsg}} {
			if err := dumpRaw(unix.NETLINK_ROUTE, d.kind, make([]byte, d.body), buffer); err != nil {
				return err
			}
		}
		for _, t := range engine.Program() {
			for _, set := range t.Sets {
				body, err := setRequest(t.ID, set.Name)
				if err == nil {
					err = dumpRaw(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM, body, buffer)
				}
				if err != nil {
					return fmt.Errorf("cannot list set %s: %w", set.Name, err)
				}
			}
		}
		return nil
	})
}
