package link

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// Event is a change of a link.
type Event struct {
	// Link is the link as it is now, or as it was when it went.
	Link Link
	// Gone: the link was deleted, or moved to another namespace; else it was added or changed.
	Gone bool
	// Port: the link's settings as a port of a bridge changed. Of Link, only Index, Name, Up, Running, Master and these settings are set.
	Port bool
	// Queue: a queueing discipline or a filter of the link was taken away, see [Conn.Shape]. Of Link, only Index is set.
	Queue bool
	// Resync: events were lost, and Link is empty. What is known must be listed anew.
	Resync bool
}

// Watcher receives the changes of links in one network namespace.
type Watcher struct {
	subscription *rtnl.Watcher
}

// Watch subscribes, in the calling thread's network namespace. No change after its return is missed, so: watch, then list.
func Watch() (*Watcher, error) {
	w, err := rtnl.Watch(unix.RTNLGRP_LINK, unix.RTNLGRP_TC)
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
		case unix.RTM_DELQDISC, unix.RTM_DELTFILTER:
			if len(body) >= sizeofTcMsg {
				handle(Event{Link: Link{Index: int(int32(order.Uint32(body[4:]))), PeerNetNS: -1}, Queue: true})
			}
			return
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		default:
			return
		}
		if l, ok := decode(body); ok {
			handle(Event{Link: l, Gone: kind == unix.RTM_DELLINK})
		} else if l, ok := decodePort(body); ok && kind == unix.RTM_NEWLINK {
			handle(Event{Link: l, Port: true})
		}
	}, func() { handle(Event{Resync: true}) })
}

// Close is for a Watcher that is not run.
func (w *Watcher) Close() error { return w.subscription.Close() }
