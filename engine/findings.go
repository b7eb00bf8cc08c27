package engine

import (
	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
)

// Findings are what of the host gets in the way of packets that our own rules let pass, the worst first: firewalls of others, and settings. It
// reads the rules of everybody: for people who ask, not for programs that ask all the time.
func (e *Engine) Findings() []hostcheck.Finding {
	h, err := e.host.settings(e.own())
	if err != nil {
		e.log.Debug("cannot read all that may get in the way of packets", "error", err)
	}
	return hostcheck.Findings(h)
}

// warnFindings says at the start what packets will not pass.
func (e *Engine) warnFindings() {
	for _, f := range e.Findings() {
		if f.Severity != hostcheck.Note {
			e.log.Warn(f.Title, "detail", f.Detail, "fix", f.Fix)
		}
	}
}

// own are our bridges. That nobody switches forwarding on is one of the warnings already.
func (e *Engine) own() hostcheck.Own {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := hostcheck.Own{PortPrefix: bridged.PortPrefix, Owned: true} // or there would be no engine
	for _, id := range sortedKeys(e.index.Networks) {
		n := e.index.Networks[id]
		if n.Bridge == "" {
			continue
		}
		b := hostcheck.OwnBridge{Name: n.Bridge}
		for _, s := range []bridged.Subnet{n.IPv4, n.IPv6} {
			if s.Valid() {
				b.Subnets = append(b.Subnets, s.Prefix)
			}
		}
		own.Bridges = append(own.Bridges, b)
	}
	return own
}
