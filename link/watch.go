package link

import (
	"context"
	"errors"
)

// Event is a change of a link.
type Event struct {
	// Link is the link as it is now, or was when it went. Details of a bridge's port may be missing when it goes.
	Link Link
	// Gone: the link was deleted, or moved to another namespace; else it was added or changed.
	Gone bool
	// Resync: events were lost, Link is empty. What is known must be listed anew.
	Resync bool
}

// Watcher receives the changes of links in one network namespace.
type Watcher struct{}

// Watch subscribes, in the calling thread's network namespace. No change after its return is missed, so: watch, then list.
func Watch() (*Watcher, error) { return nil, errors.ErrUnsupported }

// Run hands each change to handle, one after the other, until ctx is done (then it returns nil) or the socket fails. It closes
// the Watcher.
func (w *Watcher) Run(ctx context.Context, handle func(Event)) error { return errors.ErrUnsupported }

// Close is for a Watcher that is not run.
func (w *Watcher) Close() error { return errors.ErrUnsupported }
