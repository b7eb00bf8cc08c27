package engine

import (
	"context"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// Status is how the daemon is. It waits for nothing but the end of a start: the host's side of ports that a former daemon published is reserved
// behind the readiness, and what can't be is one of the warnings.
func (e *Engine) Status() bridged.Status {
	_ = e.holds.wait(context.Background(), every[bridged.Binding])
	protection, transactions := e.host.ownership()
	s := bridged.Status{Version: e.cfg.Version, Protection: protection, Transactions: transactions, Repairs: e.repaired.Load()}
	if e.cfg.NoFirewall {
		s.Protection = "none"
	}
	select {
	case <-e.ready:
		s.Ready = true
	default:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Since, s.ICCBy = e.since, e.iccBy()
	s.Networks, s.Sandboxes = len(e.index.Networks), len(e.index.sandboxNames)
	s.Endpoints, s.Ports = len(e.index.Endpoints), len(e.index.Ports)
	s.Warnings = slices.Concat(e.warnings, e.unmendedWarnings(), e.lackWarnings())
	return s
}

// Ruleset is our part of the packet filter in nft syntax: what should be there, what the kernel holds, or what must be changed
// to get from the one to the other. differs says that the last is not empty.
func (e *Engine) Ruleset(ctx context.Context, view bridged.RulesetView) (text string, differs bool, err error) {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return "", false, bridged.Errorf(bridged.ErrUnavailable, "the daemon is not ready yet: %w", ctx.Err())
	}
	e.world.Lock() // nothing is under way, so both sides show the same instant
	defer e.world.Unlock()
	e.mu.Lock()
	w := e.compiler().whole()
	e.mu.Unlock()
	want := nft.Ruleset{Tables: w.tables, Elements: w.elements}
	if view == bridged.RulesetDesired {
		return want.String(), false, nil
	}
	there, err := e.host.observeRules(ctx)
	if err != nil {
		return "", false, err
	}
	have := there.Ruleset()
	switch view {
	case bridged.RulesetKernel:
		return have.String(), false, nil
	case bridged.RulesetDiff:
		tx := nft.Diff(have, want)
		return tx.String(), !tx.Empty(), nil
	}
	return "", false, bridged.Errorf(bridged.ErrInvalid, "unknown view %q of the ruleset: use desired, kernel or diff", view)
}

// State is a copy of what was asked for.
func (e *Engine) State() bridged.State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.index.State.Clone()
}
