package engine

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// What others take away comes back; what they add is left alone. The kernel says what changed (watchers of links, addresses, routes and
// forwarding, and where our tables are not protected, of nf_tables), and of what it does not tell, a sweep finds out (sweep.go). What they say is
// a reason to look, and what is seen then is compared with what is wanted by the same path that a start goes.
//
// Our tables are another matter: they are a program, which does what it says or something else. What others put into them, a rule, an element,
// a chain, is damage like what they take out; their own rules belong into tables of their own.

// suspicion is a reason to look: something about the link of that name changed, or about forwarding, or about our tables, or, when it is zero,
// about something unknown.
type suspicion struct {
	link       string
	forwarding bool
	rules      bool
}

// suspect asks for a repair: of one object, or where nothing is known, of everything. Our own operations make the kernel speak, too: what
// they change is as wanted when they let go of it.
func (e *Engine) suspect(s suspicion) {
	switch s {
	case suspicion{}:
		e.hostMoved.Store(true)
		e.repairs.add(struct{}{})
		return
	case suspicion{rules: true}:
		e.rules.add(struct{}{})
		return
	}
	e.mu.Lock()
	_, ok := e.concerned(s)
	_, waits := e.mending[s]
	if ok {
		e.mending[s] = struct{}{}
	}
	e.mu.Unlock()
	if ok && !waits {
		e.mends.add(s)
	}
}

// concern is the object that a suspicion is about.
type concern struct {
	bridged.Change          // names it
	locks          []string // that an operation on it holds
	subject        bridged.Event
}

// concerned finds the object that a suspicion is about. The caller holds e.mu.
func (e *Engine) concerned(s suspicion) (concern, bool) {
	x := e.index
	if s.forwarding {
		f := x.Forwarding
		return concern{Change: bridged.Change{Forwarding: &f}, subject: bridged.Event{Type: bridged.EventDaemon}}, true
	}
	name := s.link
	if digits, ok := strings.CutPrefix(name, bridged.ShaperPrefix); ok {
		name = bridged.PortPrefix + digits
	}
	if id, ok := x.hostEnds[name]; ok {
		endpoint := x.Endpoints[id]
		if endpoint.Leased() {
			return concern{
				Change:  bridged.Change{Endpoints: map[string]*bridged.Endpoint{id: &endpoint}},
				locks:   []string{"sandbox " + endpoint.Sandbox},
				subject: bridged.Event{Type: bridged.EventLease, ID: id, Name: endpoint.Called()},
			}, true
		}
		sandbox := x.Sandboxes[endpoint.Sandbox]
		if !sandbox.Settled {
			return concern{}, false // it is just being made or removed
		}
		return concern{
			Change:  bridged.Change{Endpoints: map[string]*bridged.Endpoint{id: &endpoint}},
			locks:   stackLocks(sandbox),
			subject: bridged.Event{Type: bridged.EventSandbox, ID: sandbox.ID, Name: x.stackName(sandbox.ID)},
		}, true
	}
	if id, ok := x.bridges[s.link]; ok {
		n := x.Networks[id]
		return concern{
			Change:  bridged.Change{Networks: map[string]*bridged.Network{id: &n}},
			locks:   []string{"network " + n.Name},
			subject: bridged.Event{Type: bridged.EventNetwork, ID: id, Name: n.Name},
		}, true
	}
	return concern{}, false
}

// stackLocks are the locks that a change of a sandbox's own stack holds.
func stackLocks(s bridged.Sandbox) []string {
	if s.Gone {
		return []string{"stack " + s.ID}
	}
	return []string{"sandbox " + s.Name, "stack " + s.ID}
}

// mendAtOnce is how many objects are looked at at a time: one that is locked for long keeps few others waiting.
const mendAtOnce = 8

// mend looks at the objects that suspicions are about, and makes them as wanted. Sandboxes that turn out to be lost are looked for.
func (e *Engine) mend(suspicions []suspicion) {
	var group errgroup.Group
	group.SetLimit(mendAtOnce)
	for _, s := range suspicions {
		group.Go(func() error {
			e.mu.Lock()
			delete(e.mending, s) // what comes from now on is to be looked at again
			left := e.unmended[s]
			waits := left != nil && left.waits
			e.mu.Unlock()
			if !waits {
				e.lost.add(e.mendOne(s)...)
			}
			return nil
		})
	}
	_ = group.Wait() // it has no errors
}

func (e *Engine) mendOne(s suspicion) (lost []string) {
	e.world.RLock()
	defer e.world.RUnlock()
	if e.closed {
		return nil
	}
	e.mu.Lock()
	c, _ := e.concerned(s)
	e.mu.Unlock()
	for _, name := range c.locks {
		defer e.locks.lock(name)()
	}
	e.mu.Lock()
	c, ok := e.concerned(s) // what it is now that nobody else is at it
	before := map[suspicion]*unmended{s: e.unmended[s]}
	var want objects
	if ok {
		want = e.compiler().want(c.Change, e.index.touch(c.Change, c.Change))
	}
	e.mu.Unlock()
	if !ok {
		e.mended(before)
		return nil
	}
	if len(c.Networks) > 0 {
		want.withoutPairs() // they are their sandboxes', whose locks are not held: see suspectMembers
	}
	have, err := e.host.look(want)
	if err != nil {
		e.log.Error("cannot look at what was changed", "link", s.link, "error", err)
		e.doubtful.Store(true)
		return nil
	}
	lost = e.dropLost(have, &want)
	plan := diff(have, want)
	e.repairWith(context.Background(), plan, c.subject, before)
	e.suspectMembers(c.Change, plan)
	return lost
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

// repairWith carries the plan of a repair out, counts it, and tells of it as an event of the subject. What was unmended before and was to be mended
// by it is, unless it is left again.
func (e *Engine) repairWith(ctx context.Context, p Plan, subject bridged.Event, before map[suspicion]*unmended) {
	done, err := e.carryOutAll(ctx, p)
	if err != nil {
		e.log.Error("cannot make the kernel equal to the state", "error", err)
		e.doubtful.Store(true)
	} else {
		e.mended(before)
	}
	if len(done) == 0 {
		return
	}
	e.repaired.Add(1)
	subject.Action = "repair"
	subject.Attributes = map[string]string{"did": done.brief(), "steps": strconv.Itoa(len(done))}
	e.log.Warn("repaired what others had changed", subject.Type, subject.Name, "steps", len(done), "did", done.brief())
	e.events.add(subject)
}

// briefly is how many steps a brief names.
const briefly = 5

// brief names the first steps of a plan in one line.
func (p Plan) brief() string {
	var names []string
	for i, s := range p {
		if i == briefly {
			names = append(names, fmt.Sprintf("and %d more", len(p)-i))
			break
		}
		if _, ok := s.(commit); ok {
			names = append(names, "put packet filter rules back")
		} else {
			names = append(names, s.String())
		}
	}
	return strings.Join(names, "; ")
}

// repairRules brings the rules and elements back that others took from our tables. It looks at nothing else: until it is done packets go where they
// must not, and do not go where they must. Like repair it waits for the requests under way.
func (e *Engine) repairRules([]struct{}) {
	e.world.Lock()
	defer e.world.Unlock()
	if e.closed {
		return
	}
	ctx := context.Background()
	e.mu.Lock()
	want := e.compiler().whole()
	e.mu.Unlock()
	have, err := e.host.observeRules(ctx)
	if err != nil {
		e.log.Error("cannot tell whether our tables are as wanted", "error", err)
		e.doubtful.Store(true)
		return
	}
	if tx := nft.Diff(have.Ruleset(), nft.Ruleset{Tables: want.tables, Elements: want.elements}); !tx.Empty() {
		e.repairWith(ctx, Plan{commit{tx}}, bridged.Event{Type: bridged.EventDaemon}, nil)
	}
}

// repair makes the kernel equal to the state when what it holds is in doubt. It waits for the requests under way.
func (e *Engine) repair([]struct{}) { e.lost.add(e.repairAll()...) }

func (e *Engine) repairAll() (lost []string) {
	e.world.Lock()
	defer e.world.Unlock()
	if e.closed {
		return nil
	}
	ctx := context.Background()
	e.mu.Lock()
	before := maps.Clone(e.unmended)
	e.mu.Unlock()
	// The tables are ours, unless the socket that they belonged to died.
	err := e.host.adopt(ctx)
	var plan Plan
	if err == nil {
		plan, lost, err = e.difference(ctx, nil)
	}
	if err != nil {
		e.log.Error("cannot tell whether the kernel is as wanted", "error", err)
		e.doubtful.Store(true)
		return nil
	}
	e.repairWith(ctx, plan, bridged.Event{Type: bridged.EventDaemon}, before)
	return lost
}

// dropLost leaves out the pairs of which nothing is there, neither the host's end nor the namespace at its path, and says which sandboxes these
// are. Of leases nothing but the pair is known.
func (e *Engine) dropLost(have objects, want *objects) (lost []string) {
	for name, p := range want.pairs {
		if _, ok := have.pairs[name]; ok {
			continue
		}
		delete(want.pairs, name)
		if p.netns != "" {
			now, err := e.host.namespace(p.netns, 0)
			if err == nil && now == p.nsid {
				want.pairs[name] = p
				continue
			}
			if scarce(err) { // who is there is not known
				e.doubtful.Store(true)
				continue
			}
		}
		lost = append(lost, p.sandbox)
	}
	maps.DeleteFunc(want.routes, func(id routeID, _ route) bool { _, ok := want.pairs[id.host]; return !ok })
	return lost
}
