package addr

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// Event is a change of an address or a route. Exactly one of Address, Route and Resync is set.
type Event struct {
	// Gone: the object was deleted; else it was added or changed. The kernel does not report the routes that go with a link
	// or an address.
	Gone    bool
	Address *Address
	Route   *Route
	// Resync: events were lost. What is known must be listed anew.
	Resync bool
}

// Watcher receives the changes of addresses and routes in one network namespace.
type Watcher struct {
	subscription *rtnl.Watcher
}

// Watch subscribes, in the calling thread's network namespace. No change after its return is missed, so: watch, then list.
func Watch() (*Watcher, error) {
	w, err := rtnl.Watch(unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, err
	}
	return &Watcher{w}, nil
}

// Run hands each change to handle, one after the other, until ctx is done (then it returns nil) or the socket fails. It closes
// the Watcher.
func (w *Watcher) Run(ctx context.Context, handle func(Event)) error {
	return w.subscription.Run(ctx, func(kind uint16, body []byte) {
		switch kind {
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			if a, ok := decodeAddress(body); ok {
				handle(Event{Gone: kind == unix.RTM_DELADDR, Address: &a})
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			for _, r := range decodeRoutes(body) {
				handle(Event{Gone: kind == unix.RTM_DELROUTE, Route: &r})
			}
		}
	}, func() { handle(Event{Resync: true}) })
}

// Close is for a Watcher that is not run.
func (w *Watcher) Close() error { return w.subscription.Close() }
