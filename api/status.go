package api

import (
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/hostcheck"
)

// status, with what of the host gets in the way of packets, answers at once, or with the parameter wait as soon as the engine is ready, at most that much later.
func (s *Server) status(c *call) (any, error) {
	if query := c.URL.Query(); query.Has("wait") {
		text := query.Get("wait")
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "wait": %q is no duration, as in 10s`, text)
		}
		if err := c.Wait(); err != nil {
			return nil, err
		}
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-s.engine.Ready():
		case <-timer.C:
		case <-c.Stopping().Done():
		case <-c.Context().Done():
		}
	}
	status := s.engine.Status()
	for _, f := range s.engine.Findings() {
		if f.Severity != hostcheck.Note {
			status.Warnings = append(status.Warnings, f.String())
		}
	}
	return wireStatus(status), nil
}

func wireStatus(s bridged.Status) client.Status {
	return client.Status{
		Ready:        s.Ready,
		Since:        s.Since,
		Version:      s.Version,
		Protection:   s.Protection,
		ICCBy:        s.ICCBy,
		Networks:     s.Networks,
		Sandboxes:    s.Sandboxes,
		Endpoints:    s.Endpoints,
		Ports:        s.Ports,
		Transactions: s.Transactions,
		Repairs:      s.Repairs,
		Warnings:     notNil(s.Warnings),
	}
}

// ruleset shows a view of the packet filter: the kernel's without the parameter view.
func (s *Server) ruleset(c *call) (any, error) {
	view := bridged.RulesetKernel
	if query := c.URL.Query(); query.Has("view") {
		view = bridged.RulesetView(query.Get("view"))
	}
	switch view {
	case bridged.RulesetDesired, bridged.RulesetKernel, bridged.RulesetDiff:
	default:
		return nil, bridged.Errorf(bridged.ErrInvalid, `query parameter "view": want desired, kernel or diff, not %q`, view)
	}
	text, differs, err := s.engine.Ruleset(c.Context(), view)
	if err != nil {
		return nil, err
	}
	return client.Ruleset{View: string(view), Text: text, Differs: differs}, nil
}
