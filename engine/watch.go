package engine

import (
	"context"
	"net/netip"

	"github.com/bridged/bridged"
)

// What others take away comes back; what they add is left alone. The kernel says what changed (watchers of links, addresses, and where our
// tables are not protected, of nf_tables); what it says is a reason to look, and what is seen then is compared with
// what is wanted by the same path that a start goes.

// suspicion is what the kernel said: that a link of that name changed or went, or an address went, or, when both are zero, that
// something unknown did.
type suspicion struct {
	link    string
	address netip.Prefix
}

// suspect looks whether the suspicion concerns anything that is wanted, and asks for a repair. Our own operations make the kernel
// speak, too: what they change is no longer wanted, or is as wanted.
func (e *Engine) suspect(s suspicion) {
	if s.link != "" || s.address.IsValid() {
		e.mu.Lock()
		want, ok := e.concerned(s)
		e.mu.Unlock()
		if !ok || e.host.intact(want) {
			return
		}
	}
	e.repairs.add(struct{}{})
}

// concerned is what the object wants that a suspicion is about. The caller holds e.mu.
func (e *Engine) concerned(s suspicion) (objects, bool) {
	if id, ok := e.index.hostEnds[s.link]; ok {
		endpoint := e.index.Endpoints[id]
		if !e.index.Sandboxes[endpoint.Sandbox].Settled {
			return objects{}, false // it is just being made or removed
		}
		w := newObjects()
		e.compiler().endpoint(&w, endpoint)
		return w, true
	}
	for _, n := range e.index.Networks {
		if n.Driver == bridged.DriverBridge && !n.Given && (n.Bridge == s.link || hasGateway(n, s.address)) {
			w := newObjects()
			e.compiler().network(&w, n)
			return w, true
		}
	}
	return objects{}, false
}

func hasGateway(n bridged.Network, p netip.Prefix) bool {
	return p.IsValid() && (n.IPv4.GatewayPrefix() == p || n.IPv6.GatewayPrefix() == p)
}

// repair makes the kernel equal to the state when what it holds is in doubt. It waits for the requests under way.
func (e *Engine) repair([]struct{}) {
	e.world.Lock()
	defer e.world.Unlock()
	if e.closed {
		return
	}
	steps, err := e.reconcile(context.Background())
	if err != nil {
		e.log.Error("cannot make the kernel equal to the state", "error", err)
	}
	if steps > 0 {
		e.repaired.Add(1)
		e.log.Warn("repaired what others had changed", "steps", steps)
	}
}
