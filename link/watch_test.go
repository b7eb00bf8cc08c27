package link_test

import (
	"context"
	"testing"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

type event = link.Event

// watching is a Watcher that runs for the length of a test.
type watching struct {
	events chan event
}

func watch(t *testing.T, n nstest.NS) watching {
	t.Helper()
	var w *link.Watcher
	n.Do(func() {
		var err error
		w, err = link.Watch()
		check(t, err)
	})
	ctx, cancel := context.WithCancel(t.Context())
	events, done := make(chan event), make(chan error)
	go func() {
		done <- w.Run(ctx, func(e event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return watching{events}
}

// await receives events up to the first that holds.
func (w watching) await(t *testing.T, holds func(event) bool) event {
	t.Helper()
	for e := range w.events {
		if holds(e) {
			return e
		}
	}
	panic("the channel is never closed")
}

func TestWatch(t *testing.T) {
	n, c := host(t)
	w := watch(t, n)
	s := nstest.New(t)
	index, _, err := c.CreatePair(pairOf("bv1", netipAddr("10.0.0.2")), s.FD())
	check(t, err)
	e := w.await(t, func(e event) bool { return e.Link.Name == "bv1" && e.Link.Master != 0 })
	if e.Gone || e.Resync || e.Link.Index != index || e.Link.Kind != "veth" || !e.Link.Ours() {
		t.Errorf("event is %+v", e)
	}
	check(t, c.SetMTU(index, 1300))
	w.await(t, func(e event) bool { return e.Link.Index == index && e.Link.MTU == 1300 && !e.Gone })

	// To leave the bridge is a change; only to be deleted is to be gone.
	check(t, c.SetMaster(index, 0, link.Port{}))
	if e := w.await(t, func(e event) bool { return e.Link.Index == index && (e.Link.Master == 0 || e.Gone) }); e.Gone {
		t.Errorf("event is %+v", e)
	}
	check(t, c.Delete("bv1"))
	w.await(t, func(e event) bool { return e.Link.Index == index && e.Gone })
}

// A watcher that did not keep up is told so.
func TestWatchResync(t *testing.T) {
	n := nstest.New(t)
	c := dial(t, n)
	l, err := c.CreateBridge(br0)
	check(t, err)
	var w *link.Watcher
	n.Do(func() {
		w, err = link.Watch()
		check(t, err)
	})
	for i := range 6000 { // more than its buffer holds, before it runs
		check(t, c.SetMTU(l.Index, 1400+i%2))
	}
	ctx, cancel := context.WithCancel(t.Context())
	resync, after := false, false
	check(t, w.Run(ctx, func(e event) {
		switch {
		case e.Resync:
			resync = true
			check(t, c.SetMTU(l.Index, 1300))
		case e.Link.MTU == 1300: // it goes on
			after = true
			cancel()
		}
	}))
	cancel()
	if !resync || !after {
		t.Errorf("resync %v, an event behind it %v", resync, after)
	}
}
