package main

import (
	"errors"

	"github.com/bridged/bridged/bench/report"
)

// noRulesPeer is the floor of the packet path: the client asks the container by its own address, and no rule is looked at.
func noRulesPeer() peer {
	return peer{
		name: report.NoRules, what: "a host without any rule: the client asks the container at its own address", find: known,
		publish: func(_ *setting, name string) (publisher, error) { return newNoRules(name) },
	}
}

// noRules publishes nothing, and so everything.
type noRules struct{ w *world }

func newNoRules(name string) (_ *noRules, err error) {
	p := new(noRules)
	if p.w, err = newWorld(name); err == nil {
		err = p.w.bridge()
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func nothing() error { return nil }

func (p *noRules) publish([]uint16) op             { return nothing }
func (p *noRules) unpublish([]uint16) op           { return nothing }
func (p *noRules) callers(n int) ([]caller, error) { return many(p, n), nil }
func (p *noRules) held() (translations, error)     { return nil, nil }
func (p *noRules) world() *world                   { return p.w }

func (p *noRules) close() error {
	if p.w == nil {
		return nil
	}
	return p.w.close()
}
