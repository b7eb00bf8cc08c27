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
	a := addr.Address{Link: index(n, "v1"), Prefix: prefix("10.0.0.1/24")}
	six := addr.Address{Link: a.Link, Prefix: prefix("fd00::1/64"), NoDAD: true}
	r := addr.Route{Dst: prefix("10.5.0.0/16"), Gateway: ip("10.0.0.5"), Link: a.Link, Table: 254, Type: 1, Protocol: 4, Priority: 9}
	check(t, c.Add(a))
	check(t, c.Add(six))
	check(t, c.AddRoute(r))
	check(t, c.DeleteRoute(r))
	check(t, c.Delete(six))
	check(t, c.Delete(a))

	type seen struct {
		what string
		gone bool
	}
	missing := map[seen]bool{
		{a.String(), false}: true, {a.String(), true}: true, {six.String(), false}: true, {six.String(), true}: true,
		{r.String(), false}: true, {r.String(), true}: true,
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	check(t, w.Run(ctx, func(e addr.Event) {
		switch {
		case e.Resync:
			t.Error("events were lost")
		case e.Address != nil:
			delete(missing, seen{e.Address.String(), e.Gone})
		case e.Route != nil:
			delete(missing, seen{e.Route.String(), e.Gone})
		}
		if len(missing) == 0 {
			cancel()
		}
	}))
	if len(missing) > 0 {
		t.Errorf("not seen: %v", missing)
	}
}

func TestWatchClose(t *testing.T) {
	n := twoEnds(t)
	n.Do(func() {
		w, err := addr.Watch()
		check(t, err)
		check(t, w.Close())
	})
}
