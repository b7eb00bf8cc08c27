package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// tryStart runs an engine on the scene until it is ready or fails.
func (s *scene) tryStart(cfg Config, less less) (stop func(), err error) {
	s.t.Helper()
	e, err := openIn(s.t, s.host, cfg, less)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	select {
	case <-e.Ready():
	case err := <-done:
		cancel()
		return nil, errors.Join(err)
	}
	s.e = e
	return func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the engine ended with %v", err)
		}
	}, nil
}

// TestFaultsAtStart: a start that meets something gets over it, or fails and leaves the host as it was, so that the next one works: the first
// one on a host, and one on an unchanged system.
func TestFaultsAtStart(t *testing.T) {
	needRoot(t)
	for which, tt := range []struct {
		name  string
		again bool
	}{{"the first", false}, {"on an unchanged system", true}} {
		host, inside := giveNamespace(t), giveNamespace(t)
		shell := startShell(t, host)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, host: host, shell: shell}
			cfg := testConfig(t)
			must := func(what string, stop func(), err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				s.equal(what)
				stop()
			}
			if tt.again {
				stop, err := s.tryStart(cfg, less{})
				if err == nil {
					_, err = s.e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "web", NetNS: inside, Ports: specs(t, "8080:80")})
				}
				must("the start before", stop, err)
			}
			before := s.sees()
			forget := func() { // as if there had been no daemon
				if !tt.again {
					shell.lines(t, "nft flush ruleset; ip link delete docker0; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
					cfg = testConfig(t)
				}
			}
			s.record(func() {
				stop, err := s.tryStart(cfg, less{fault: s.plan.Inject})
				must("dry run", stop, err)
			})
			forget()
			runs := 0
			for i, f := range faults {
				s.each(f, 5*which+3*i, func(n int) (reached bool) {
					runs++
					when := fmt.Sprintf("%s, opportunity %d", f.name, n)
					s.plan.Arm(1, f.times, f.at(n))
					stop, err := s.tryStart(cfg, less{fault: s.plan.Inject})
					reached = s.plan.Disarm() > 0
					switch {
					case err != nil && (f.passes || !reached):
						t.Fatalf("%s: the start failed: %v", when, err)
					case err == nil:
						must(when, stop, nil)
					default:
						if !strings.Contains(err.Error(), "cannot ") {
							t.Errorf("%s: the error does not say what could not be done: %v", when, err)
						}
						if f.times == 1 {
							s.is(when, before)
						}
						stop, err := s.tryStart(cfg, less{})
						must(when+": the next start", stop, err)
					}
					forget()
					s.is(when+", afterwards", before)
					return reached
				})
			}
			t.Logf("%d runs", runs)
		})
	}
}
