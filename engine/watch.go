package engine

import (
	"context"
	"maps"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
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

// suspect asks for a repair: of one object, or where nothing is known, of everything. Our own operations make the kernel speak, too: what
// they change is as wanted when they let go of it.
func (e *Engine) suspect(s suspicion) {
	if s == (suspicion{}) {
		e.repairs.add(struct{}{})
		return
	}
	e.mu.Lock()
	_, _, ok := e.concerned(s)
	e.mu.Unlock()
	if ok {
		e.mends.add(s)
	}
}

// concerned is the change that names the object which a suspicion is about, and the locks that an operation on it holds. The caller
// holds e.mu.
func (e *Engine) concerned(s suspicion) (c bridged.Change, locks []string, ok bool) {
	if id, ok := e.index.hostEnds[s.link]; ok {
		endpoint := e.index.Endpoints[id]
		sandbox := e.index.Sandboxes[endpoint.Sandbox]
		if !sandbox.Settled {
			return c, nil, false // it is just being made or removed
		}
		locks = []string{"stack " + sandbox.ID}
		if !sandbox.Gone {
			locks = []string{"sandbox " + sandbox.Name, "stack " + sandbox.ID}
		}
		return bridged.Change{Endpoints: map[string]*bridged.Endpoint{id: &endpoint}}, locks, true
	}
	for id, n := range e.index.Networks {
		if n.Driver == bridged.DriverBridge && !n.Given && (n.Bridge == s.link || hasGateway(n, s.address)) {
			return bridged.Change{Networks: map[string]*bridged.Network{id: &n}}, []string{"network " + n.Name}, true
		}
	}
	return c, nil, false
}

func hasGateway(n bridged.Network, p netip.Prefix) bool {
	return p.IsValid() && (n.IPv4.GatewayPrefix() == p || n.IPv6.GatewayPrefix() == p)
}

// mend looks at the objects that suspicions are about, and makes them as wanted.
func (e *Engine) mend(suspicions []suspicion) {
	seen := make(map[suspicion]bool, len(suspicions))
	for _, s := range suspicions {
		if !seen[s] {
			seen[s] = true
			e.mendOne(s)
		}
	}
}

func (e *Engine) mendOne(s suspicion) {
	e.world.RLock()
	defer e.world.RUnlock()
	if e.closed {
		return
	}
	e.mu.Lock()
	_, locks, _ := e.concerned(s)
	e.mu.Unlock()
	for _, name := range locks {
		defer e.locks.lock(name)()
	}
	e.mu.Lock()
	c, _, ok := e.concerned(s) // what it is now that nobody else is at it
	var want objects
	if ok {
		want = e.compiler().want(c, e.index.touch(c, c))
	}
	e.mu.Unlock()
	if !ok {
		return
	}
	have, err := e.host.look(want)
	if err != nil {
		e.log.Error("cannot look at what was changed", "link", s.link, "error", err)
		return
	}
	e.dropDead(have, &want)
	maps.DeleteFunc(want.routes, func(id routeID, _ route) bool { _, ok := want.pairs[id.host]; return !ok })
	plan := diff(have, want)
	e.repairWith(context.Background(), plan)
	e.suspectMembers(c, plan)
}

// suspectMembers asks for the ports of bridges that a repair made anew: the kernel spoke of them when there was no bridge to put them back into.
func (e *Engine) suspectMembers(c bridged.Change, p Plan) {
	if len(p.madeBridges()) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for network := range c.Networks {
		for id := range e.index.members[network] {
			if host := e.index.Endpoints[id].HostInterface; host != "" {
				e.mends.add(suspicion{link: host})
			}
		}
	}
}

// repairWith carries the plan of a repair out, and counts it.
func (e *Engine) repairWith(ctx context.Context, p Plan) {
	failpoint.Reached("before a repair")
	steps, err := e.carryOutAll(ctx, p)
	if err != nil {
		e.log.Error("cannot make the kernel equal to the state", "error", err)
	}
	if steps > 0 {
		e.repaired.Add(1)
		e.log.Warn("repaired what others had changed", "steps", steps)
	}
}

// repair makes the kernel equal to the state when what it holds is in doubt. It waits for the requests under way.
func (e *Engine) repair([]struct{}) {
	e.world.Lock()
	defer e.world.Unlock()
	if e.closed {
		return
	}
	ctx := context.Background()
	plan, err := e.difference(ctx)
	if err != nil {
		e.log.Error("cannot tell whether the kernel is as wanted", "error", err)
		return
	}
	e.repairWith(ctx, plan)
}
