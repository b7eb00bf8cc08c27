package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// What a start does beside the reconcile: the reconcile sees what is wanted and what is marked as ours, and not addresses that were ours
// until now, bridges that are somebody's, and forwarding that we switched on.

// transition is the default network before and after a start, and what the host had.
type transition struct {
	from, to bridged.Network // the zero Network: none
	// forwarded are the families whose forwarding an earlier run switched on, and this one may not leave so.
	forwarded bridged.Forwarding
	// tables are ours that were there.
	tables []nft.TableID
	// found is the bridge that is taken over, as it was; zero when none is.
	found bridge
}

// transitionTo looks at what the change does to the default network. The state is still that of the last run.
func (e *Engine) transitionTo(ctx context.Context, c bridged.Change) (transition, error) {
	t := transition{from: e.index.Networks[e.index.networkNames[bridged.NetworkBridge]]}
	t.to = t.from
	var err error
	if t.tables, err = e.host.tables(ctx); err != nil {
		return t, fmt.Errorf("cannot observe the kernel: %w", err)
	}
	for id, n := range c.Networks {
		switch {
		case n != nil && n.Name == bridged.NetworkBridge:
			t.to = *n
		case n == nil && id == t.from.ID:
			t.to = bridged.Network{}
		}
	}
	if e.mustCloseForwarding() {
		was, on := e.index.Forwarding, e.facts.forwarding
		t.forwarded = bridged.Forwarding{IPv4: was.IPv4 && on.IPv4, IPv6: was.IPv6 && on.IPv6}
	}
	if e.takeOver == "" {
		return t, nil
	}
	want := newObjects()
	compiler{x: e.index, takeOver: e.takeOver}.network(&want, t.to)
	have, err := e.host.observe(want, nil)
	if err != nil {
		return t, fmt.Errorf("cannot observe the kernel: %w", err)
	}
	t.found = have.bridges[e.takeOver]
	return t, nil
}

// prepare is what comes before the reconcile. It returns the host as it was listed, unless that was changed.
func (e *Engine) prepare(ctx context.Context, t transition) (*listing, error) {
	var p Plan
	if l, ok := e.facts.link(t.to.Bridge); ok && t.to.Given {
		// Where the kernel chooses a bridge's MAC it is the lowest of its ports': that of a sandbox's link, where there are no others.
		// Set once, it stays.
		p = append(p, setBridge{link.Bridge{Name: l.Name, MAC: l.MAC, MTU: l.MTU, Promisc: l.Promisc}})
	}
	if !t.from.Given {
		p = append(p, e.leaving(t.from, t.to, e.hasAddress)...)
	}
	if t.forwarded.IPv4 {
		p = append(p, forward{off: true})
	}
	if t.forwarded.IPv6 {
		p = append(p, forward{off: true, ipv6: true})
	}
	if _, err := e.carryOut(ctx, p); err != nil {
		return nil, err
	}
	e.facts.forwarding.IPv4 = e.facts.forwarding.IPv4 && !t.forwarded.IPv4
	e.facts.forwarding.IPv6 = e.facts.forwarding.IPv6 && !t.forwarded.IPv6
	if len(p) > 0 {
		return nil, nil
	}
	return e.facts.listing(), nil
}

// leaving are the addresses that a bridge has as one network, and not as the other.
func (e *Engine) leaving(from, to bridged.Network, has func(delAddr) bool) Plan {
	var p Plan
	if from.Bridge != to.Bridge {
		return nil // it goes with its addresses
	}
	var stay []delAddr
	for _, s := range to.Subnets() {
		stay = append(stay, delAddr{to.Bridge, s.GatewayPrefix()})
	}
	for _, s := range from.Subnets() {
		if a := (delAddr{from.Bridge, s.GatewayPrefix()}); !slices.Contains(stay, a) && has(a) {
			p = append(p, a)
		}
	}
	return p
}

// hasAddress says whether the bridge had the address when the daemon looked.
func (e *Engine) hasAddress(a delAddr) bool {
	l, ok := e.facts.link(a.bridge)
	return ok && slices.Contains(e.facts.addressesOf(l.Index, a.prefix.Addr().Is6()), a.prefix)
}

// goBack undoes what a start that failed did to bridges beyond what the reconcile undoes. It goes on after an error: what was not done
// can't be undone.
func (e *Engine) goBack(ctx context.Context, t transition) {
	var p Plan
	if !t.to.Given {
		p = e.leaving(t.to, t.from, func(a delAddr) bool { return !e.hasAddress(a) })
	}
	if t.found.Name != "" {
		p = append(p, e.leaving(t.to, bridged.Network{Bridge: t.to.Bridge}, func(a delAddr) bool { return !e.hasAddress(a) })...)
		for _, s := range t.found.sysctls {
			p = append(p, setSysctl{bridge: t.found.Name, Sysctl: s})
		}
		p = append(p, leaveBridge{t.found.Bridge, t.found.up})
	}
	for _, s := range p {
		failpoint.Each("before", s)
		if err := e.host.do(ctx, s); err != nil {
			e.log.Debug("cannot go back", "step", s, "error", err)
		}
		failpoint.Each("after", s)
	}
	e.takeOver = ""
	e.program = slices.DeleteFunc(Program(), func(p nft.Table) bool { return !slices.Contains(t.tables, p.ID) })
}

// forwardingAfterFailure is what was remembered before the start, and what it switched on until it failed. The caller holds e.mu.
func (e *Engine) forwardingAfterFailure(inverse bridged.Change) *bridged.Forwarding {
	f := e.index.Forwarding
	if inverse.Forwarding != nil {
		f = *inverse.Forwarding
	}
	now, err := e.host.facts()
	if err != nil {
		return &f
	}
	f.IPv4 = f.IPv4 || now.forwarding.IPv4 && !e.facts.forwarding.IPv4
	f.IPv6 = f.IPv6 || now.forwarding.IPv6 && !e.facts.forwarding.IPv6
	return &f
}

// mustCloseForwarding: without a packet filter nothing keeps the host from being a router for others, so what we switched on goes off.
func (e *Engine) mustCloseForwarding() bool { return e.cfg.NoFirewall && !e.cfg.IPForwardNoDrop }

// leaveBridge gives a bridge that was taken over back.
type leaveBridge struct {
	link.Bridge
	up bool
}

func (s leaveBridge) String() string { return "give back bridge " + s.Name }
func (s leaveBridge) on(w *objects)  { delete(w.bridges, s.Name) }

func (m *machine) leaveBridge(s leaveBridge) error {
	return m.onLink(s.Name, func(l link.Link) error {
		errs := []error{m.links.SetMAC(l.Index, s.MAC), m.links.SetMTU(l.Index, s.MTU), m.links.LeaveBridge(l.Index)}
		if !s.up {
			errs = append(errs, m.links.SetDown(l.Index))
		}
		return errors.Join(errs...)
	})
}

// inOldWords is the error of a step on the default bridge in the words of the old daemon, which its users look for.
func (e *Engine) inOldWords(s step, err error) error {
	words, name := "", ""
	switch s := s.(type) {
	case addAddr:
		words, name = "Unable to add private network", s.bridge
	case upBridge:
		words, name = "Unable to start network bridge", s.name
	}
	if words == "" || name != e.cfg.BridgeName {
		return err
	}
	return fmt.Errorf("%s: %w", words, err)
}

// warnForwarding says how to switch forwarding on where we may not.
func (e *Engine) warnForwarding() {
	if e.mayForward() {
		return
	}
	off := bridged.Forwarding{}
	for _, n := range e.index.Networks {
		off.IPv4 = off.IPv4 || n.IPv4.Valid() && !e.facts.forwarding.IPv4
		off.IPv6 = off.IPv6 || n.IPv6.Valid() && !e.facts.forwarding.IPv6
	}
	if off == (bridged.Forwarding{}) {
		return
	}
	instead := "leave --ip-forward=false out"
	if e.cfg.IPForward {
		instead = "start with --ip-forward-no-drop"
	}
	e.warn("IP forwarding is off: containers reach only the host and each other; switch it on with " + byHand(off) +
		" once a firewall of yours keeps the host from being a router for others, or " + instead)
}

// byHand is the command that switches forwarding on.
func byHand(f bridged.Forwarding) string {
	command := "sysctl -w"
	for _, s := range forwarding.HostSysctls(f) {
		command += " " + strings.ReplaceAll(s.Path, "/", ".") + "=" + s.Value
	}
	return command
}
