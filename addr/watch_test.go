package addr_test

import (
	"context"
	"testing"

	"github.com/bridged/bridged/addr"
)

func TestWatch(t *testing.T) {
	n := twoEnds(t)
	c := dial(t, n)
	var w *addr.Watcher
	n.Do(func() {
		var err error
		w, err = addr.Watch()
		check(t, err)
	})
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan addr.Event), make(chan error)
	go func() {
		done <- w.Run(ctx, func(e addr.Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()

	a := addr.Address{Link: index(n, "v1"), Prefix: prefix("10.0.0.1/24")}
	six := addr.Address{Link: a.Link, Prefix: prefix("fd00::1/64"), NoDAD: true}
	r := addr.Route{Dst: prefix("10.5.0.0/16"), Gateway: ip("10.0.0.5"), Link: a.Link, Table: 254, Type: 1, Protocol: 4, Priority: 9}
	for _, step := range []struct {
		do   func() error
		is   func(addr.Event) bool
		gone bool
	}{
		{func() error { return c.Add(a) }, isAddress(a), false},
		{func() error { return c.Add(six) }, isAddress(six), false},
		{func() error { return c.AddRoute(r) }, isRoute(r), false},
		{func() error { return c.DeleteRoute(r) }, isRoute(r), true},
		{func() error { return c.Delete(six) }, isAddress(six), true},
		{func() error { return c.Delete(a) }, isAddress(a), true},
	} {
		check(t, step.do())
		for e := range events { // others of the kernel's come between
			if step.is(e) {
				if e.Gone != step.gone || e.Resync {
					t.Errorf("event is %+v", e)
				}
				break
			}
		}
	}
	cancel()
	check(t, <-done)
}

func isAddress(a addr.Address) func(addr.Event) bool {
	return func(e addr.Event) bool { return e.Address != nil && *e.Address == a }
}

func isRoute(r addr.Route) func(addr.Event) bool {
	return func(e addr.Event) bool { return e.Route != nil && *e.Route == r }
}

func TestWatchClose(t *testing.T) {
	n := twoEnds(t)
	n.Do(func() {
		w, err := addr.Watch()
		check(t, err)
		check(t, w.Close())
	})
}
