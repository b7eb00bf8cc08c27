package sysctl

import (
	"context"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
)

// Attributes of RTM_NEWNETCONF and the index that means all interfaces, linux/netconf.h.
const (
	netconfIndex      = 1
	netconfForwarding = 2
	netconfAll        = -1
)

// ForwardingWatcher receives the changes of IP forwarding in one network namespace. Of other parameters the kernel says nothing.
type ForwardingWatcher struct {
	subscription *rtnl.Watcher
}

// WatchForwarding subscribes, in the calling thread's network namespace. No change after its return is missed.
func WatchForwarding() (*ForwardingWatcher, error) {
	w, err := rtnl.Watch(unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return nil, err
	}
	return &ForwardingWatcher{w}, nil
}

// Run calls changed when forwarding of all interfaces was switched on or off, or may have been, until ctx is done (then it returns nil) or the
// socket fails. It closes the watcher.
func (w *ForwardingWatcher) Run(ctx context.Context, changed func()) error {
	return w.subscription.Run(ctx, func(kind uint16, body []byte) {
		if kind == unix.RTM_NEWNETCONF && ofAll(body) {
			changed()
		}
	}, changed)
}

// Close is for a watcher that is not run.
func (w *ForwardingWatcher) Close() error { return w.subscription.Close() }

// ofAll reads the body of an RTM_NEWNETCONF: struct netconfmsg, which is the family, and attributes.
func ofAll(body []byte) bool {
	const header = 4 // one byte, aligned
	if len(body) < header {
		return false
	}
	all, forwarding := false, false
	for kind, v := range rtnl.Attributes(body[header:]) {
		if len(v) != 4 {
			continue
		}
		switch kind {
		case netconfIndex:
			all = int32(binary.NativeEndian.Uint32(v)) == netconfAll
		case netconfForwarding:
			forwarding = true
		}
	}
	return all && forwarding
}
