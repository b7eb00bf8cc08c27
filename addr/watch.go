package addr

import (
	"context"
	"errors"
)

// Event is a change of an address or a route. Exactly one of Address, Route and Resync is set.
type Event struct {
	// Gone: the object was deleted; else it was added or changed.
	Gone    bool
	Address *Address
	Route   *Route
	// Resync: events were lost. What is known must be listed anew.
	Resync bool
}

// Watcher receives the changes of addresses and routes in one network namespace.
type Watcher struct{}

// Watch subscribes, in the calling thread's network namespace. No change after its return is missed, so: watch, then list.
func Watch() (*Watcher, error) { return nil, errors.ErrUnsupported }

// Run hands each change to handle, one after the other, until ctx is done (then it returns nil) or the socket fails. It closes
// the Watcher.
func (w *Watcher) Run(ctx context.Context, handle func(Event)) error { return errors.ErrUnsupported }

// Close is for a Watcher that is not run.
func (w *Watcher) Close() error { return errors.ErrUnsupported }
