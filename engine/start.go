package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/ipam"
)

// start brings the state up to date with the configuration and with what became of the sandboxes, and makes the kernel equal
// to it. On an unchanged system it changes nothing.
func (e *Engine) start(ctx context.Context) error {
	if err := e.host.subscribe(); err != nil {
		return err
	}
	sight, err := e.read()
	if err != nil {
		return err
	}
	if err := e.fit(ctx); err != nil {
		return err
	}
	if e.ula, err = e.hostULA(); err != nil {
		return err
	}
	if err := e.dropFormer(); err != nil {
		return err
	}
	if err := e.rebuild(ctx); err != nil {
		return err
	}
	if err := e.collect(sight); err != nil {
		return err
	}
	failpoint.Reached("start: collected")
	if err := e.checkFirewallOff(); err != nil {
		return err
	}
	change, err := e.configured()
	if err != nil {
		return err
	}
	e.warnOverlaps()
	t, err := e.transitionTo(ctx, change)
	if err != nil {
		return err
	}
	if err := e.host.adopt(ctx); err != nil {
		return translate(err)
	}
	failpoint.Reached("start: adopted")
	e.mu.Lock()
	inverse := e.index.Inverse(change)
	e.index.apply(change)
	e.mu.Unlock()
	// What the last run had and this one has not is gone before the state forgets it: a start that is killed in between finds it again.
	listed, err := e.prepare(ctx, t)
	if err == nil {
		failpoint.Reached("start: prepared")
		err = e.record(change)
	}
	failpoint.Reached("start: recorded")
	portsTaken := e.takePorts()
	if err == nil {
		// What changed since the host was listed is told by the subscription, which is older.
		err = e.reconcile(ctx, listed)
	}
	if err != nil {
		return e.failedStart(ctx, t, inverse, err)
	}
	e.warnForwarding()
	failpoint.Reached("start: kernel as wanted")
	history, ended := e.purgeDeparted()
	portsTaken()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.lackWarnings() {
		e.log.Warn(w)
	}
	if !ended || !history && !e.store.Incomplete() && !e.store.Grown() {
		return nil
	}
	if err := e.store.Compact(e.index.whole()); err != nil {
		e.log.Warn("cannot compact the log", "error", err) // it says everything, if not briefly
	}
	return nil
}

// read reads the facts and, beside them, where the namespaces of sandboxes are.
func (e *Engine) read() (sight sighting, err error) {
	var group errgroup.Group
	group.Go(func() (err error) {
		e.facts, err = e.host.facts()
		return err
	})
	sight.places, err = e.host.identities(e.namespaces)
	sight.names = e.host.names()
	e.namespaces = nil
	return sight, cmp.Or(group.Wait(), err)
}

// failedStart forgets what this start wanted beyond what the last one had. Forwarding that it switched on stays on, and fenced.
func (e *Engine) failedStart(ctx context.Context, t transition, inverse bridged.Change, cause error) error {
	failpoint.Reached("failed start")
	e.goBack(ctx, t)
	e.mu.Lock()
	inverse.Forwarding = e.forwardingAfterFailure(inverse)
	e.index.apply(inverse)
	e.mu.Unlock()
	failpoint.Reached("failed start: gone back")
	if err := e.record(inverse); err != nil {
		e.log.Error("cannot record that the start failed", "error", err)
	}
	if err := e.reconcile(ctx, nil); err != nil {
		e.log.Error("cannot go back to the state before the start", "error", err)
	}
	return translate(cause)
}

// reconcile compares the whole state with the kernel and makes them equal. The caller is alone. listed is that of difference.
func (e *Engine) reconcile(ctx context.Context, listed *listing) error {
	plan, _, err := e.difference(ctx, listed)
	if err != nil {
		return err
	}
	for _, s := range plan {
		e.log.Debug("reconcile", "step", firstLine(s.String()))
	}
	_, err = e.carryOutAll(ctx, plan)
	return err
}

// difference is what must be done to make the kernel equal to the whole state. What can't be done is left out: the links of sandboxes whose
// namespace is not where it was. listed is for a caller that has just listed the host; nil: it is listed.
func (e *Engine) difference(ctx context.Context, listed *listing) (p Plan, lost []string, err error) {
	rules, err := e.host.observeRules(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot observe the kernel: %w", err)
	}
	e.mu.Lock()
	want, tables, elements := e.compiler().wholeBeside(rules)
	e.mu.Unlock()
	have, err := e.host.observe(want, listed)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot observe the kernel: %w", err)
	}
	have.tables, have.elements = tables, elements
	lost = e.dropLost(have, &want)
	return diff(have, want), lost, nil
}

// carryOutAll makes every step that can be made. What fails on one sandbox's link, whose namespace is not ours to rule, or on a bridge that was
// given, must not keep the rules from coming back: it is left unmended. Other failures end it. It returns the steps that were made and stay.
func (e *Engine) carryOutAll(ctx context.Context, plan Plan) (done Plan, err error) {
	missing := make(map[string]bool) // pairs, by their host ends
	for _, s := range plan {
		if p, ok := s.(join); ok && missing[p.Host] {
			continue
		}
		_, err := e.carryOut(ctx, Plan{s})
		if err == nil {
			done = append(done, s)
			continue
		}
		link, mayFail := ofOthers(s)
		if !mayFail {
			return done, e.inOldWords(s, err)
		}
		half, joining := s.(join)
		e.leaveUnmended(suspicion{link: link}, err, joining)
		if joining {
			e.pairs.add(half.pair) // one that is half there would be taken for a whole one
			done = slices.DeleteFunc(done, func(s step) bool { made, ok := s.(addPair); return ok && made.Host == link })
		} else if _, ok := s.(addPair); ok {
			missing[link] = true
		}
	}
	return done, nil
}

// ofOthers says whether the step concerns one sandbox, or a bridge that is not ours, and the link: the host end, or the bridge.
func ofOthers(s step) (link string, ok bool) {
	switch s := s.(type) {
	case addPair:
		return s.Host, true
	case join:
		return s.Host, true
	case enslave:
		return s.host, true
	case setAlias:
		return s.host, true
	case setShape:
		return s.Host, true
	case setSysctl:
		return s.bridge, s.given
	}
	return "", false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// hostULA is this host's IPv6 /48: from the machine id, else random and kept.
func (e *Engine) hostULA() (netip.Prefix, error) {
	if len(e.facts.machineID) > 0 {
		return ipam.ULA(e.facts.machineID), nil
	}
	seed, err := e.store.Value("ula-seed")
	if err != nil {
		return netip.Prefix{}, err
	}
	if len(seed) == 0 {
		seed = []byte(rand.Text())
		if err := e.store.SetValue("ula-seed", seed); err != nil {
			return netip.Prefix{}, err
		}
	}
	return ipam.ULA(seed), nil
}

// configured is the change that the configuration asks for.
func (e *Engine) configured() (bridged.Change, error) {
	x := e.index
	c := bridged.Change{Networks: make(map[string]*bridged.Network)}
	for _, p := range []struct {
		name   string
		driver bridged.Driver
	}{{bridged.NetworkHost, bridged.DriverHost}, {bridged.NetworkNone, bridged.DriverNull}} {
		if _, ok := x.networkNames[p.name]; !ok {
			n := bridged.Network{ID: bridged.NewID(), Name: p.name, Created: time.Now().UTC(), Driver: p.driver}
			c.Networks[n.ID] = &n
		}
	}
	old, had := x.Networks[x.networkNames[bridged.NetworkBridge]]
	if e.cfg.Bridge == "none" {
		if had {
			if members := x.memberNames(old.ID); len(members) > 0 {
				return c, bridged.Errorf(bridged.ErrConflict,
					"-b none would take the default network away from %s: remove these sandboxes first", strings.Join(members, ", "))
			}
			c.Networks[old.ID] = nil
		}
	} else {
		n, err := e.defaultNetwork(old)
		if err != nil {
			return c, err
		}
		if !n.Equal(old) {
			c.Networks[n.ID] = &n
		}
	}
	c.Forwarding = e.forwardingAtStart(c)
	return c, nil
}

// forwardingAtStart is what the networks need after the change c. What an earlier start switched on stays remembered.
func (e *Engine) forwardingAtStart(c bridged.Change) *bridged.Forwarding {
	all := bridged.State{Networks: maps.Clone(e.index.Networks)}
	all.Apply(bridged.Change{Networks: c.Networks})
	f := e.index.Forwarding
	if !e.mayForward() { // what somebody switched off meanwhile stays off
		f.IPv4, f.IPv6 = f.IPv4 && e.facts.forwarding.IPv4, f.IPv6 && e.facts.forwarding.IPv6
	}
	if e.mustCloseForwarding() {
		f = bridged.Forwarding{}
	}
	scratch := newIndex()
	scratch.Forwarding = f
	for _, n := range all.Networks {
		if more := e.forwardingFor(scratch, n); more != nil {
			scratch.Forwarding = *more
		}
	}
	if scratch.Forwarding == e.index.Forwarding {
		return nil
	}
	return &scratch.Forwarding
}

// prefixes are the subnets of all networks and reservations.
func (x *index) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, n := range x.Networks {
		for _, s := range n.Subnets() {
			all = append(all, s.Prefix)
		}
	}
	for prefix := range x.reservations {
		all = append(all, prefix)
	}
	return all
}

// takePorts takes the host's side of all published ports, so that nobody else is given them, and has them reserved on the host behind the readiness:
// while there was no daemon nobody held them either. It goes on beside what the caller does until done is called.
func (e *Engine) takePorts() (done func()) {
	e.mu.Lock()
	bindings := slices.AppendSeq(make([]bridged.Binding, 0, len(e.index.Ports)), maps.Keys(e.index.Ports))
	e.mu.Unlock()
	taken := newBookFor(len(bindings))
	e.book = taken // before anybody else asks it
	var group sync.WaitGroup
	group.Go(func() { taken.take(bindings) }) // no two of them are in each other's way
	return func() {
		group.Wait()
		e.holds.add(bindings...)
	}
}
