package engine

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/conntrack"
)

// departed are ports and addresses that were there, by the log, and went. Their connections are ended behind the answer, and a daemon that
// was killed may not have come to that: the next one does it again. The log remembers them until it is compacted.
type departed struct {
	flows map[conntrack.Flow]struct{}
	addrs map[netip.Addr]struct{}
	// stacks are those that an endpoint left: their default route may not have come to its new place.
	stacks map[string]struct{}
}

func newDeparted() *departed {
	return &departed{flows: make(map[conntrack.Flow]struct{}), addrs: make(map[netip.Addr]struct{}), stacks: make(map[string]struct{})}
}

// note looks at a change that x is about to make.
func (d *departed) note(x *index, c bridged.Change) {
	for b, p := range c.Ports {
		old, was := x.Ports[b]
		if !was {
			continue
		}
		if _, leaves := c.Endpoints[old.Endpoint]; p != nil && (p.Endpoint == old.Endpoint || !leaves) {
			continue // a port that moves away from an endpoint that stays: its connections go on there
		}
		// Translated ones only: another process may have the port by now.
		if f := flowOf(b); x.Endpoints[old.Endpoint].Addr(b.HostIP).IsValid() {
			f.Target = x.Endpoints[old.Endpoint].Addr(b.HostIP)
			d.flows[f] = struct{}{}
		}
	}
	for id, e := range c.Endpoints {
		if e == nil {
			d.stacks[x.Endpoints[id].Sandbox] = struct{}{}
			for _, a := range x.Endpoints[id].Addrs() {
				d.addrs[a] = struct{}{}
			}
		}
	}
}

// left says whether an endpoint left the stack.
func (d *departed) left(stack string) bool {
	if d == nil {
		return false
	}
	_, left := d.stacks[stack]
	return left
}

// purges are those that are still gone.
func (d *departed) purges(x *index) []purge {
	if len(d.flows)+len(d.addrs) == 0 {
		return nil
	}
	now := newDeparted()
	for b, p := range x.Ports {
		f := flowOf(b)
		f.Target = x.Endpoints[p.Endpoint].Addr(b.HostIP)
		now.flows[f] = struct{}{}
	}
	for key := range x.addrs {
		now.addrs[key.addr] = struct{}{}
	}
	var all []purge
	for f := range d.flows {
		if _, there := now.flows[f]; !there {
			all = append(all, purge{flow: f})
		}
	}
	for a := range d.addrs {
		if _, there := now.addrs[a]; !there {
			all = append(all, purge{addr: a})
		}
	}
	return all
}

// purgeDeparted ends the connections of what went under an earlier daemon, and says whether the log told of anything that went, and need not any more.
func (e *Engine) purgeDeparted() (told, ended bool) {
	e.mu.Lock()
	told = len(e.index.departed.flows)+len(e.index.departed.addrs) > 0
	all := e.index.departed.purges(e.index)
	e.index.departed = nil
	e.mu.Unlock()
	if len(all) > 0 && e.purge(all) != nil {
		e.purges.add(all...) // they are tried again
		return told, false
	}
	return told, true
}
