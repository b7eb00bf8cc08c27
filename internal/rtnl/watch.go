package rtnl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer is the receive buffer of a subscription, in bytes: some thousand changes.
const watchBuffer = 4 << 20

// Watcher is a subscription.
type Watcher struct {
	conn *netlink.Conn
}

// Watch subscribes to groups (unix.RTNLGRP_…), in the calling thread's network namespace.
func Watch(groups ...uint32) (*Watcher, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open an rtnetlink socket: %w", err)
	}
	conn.SetReadBuffer(watchBuffer) // a smaller one only means more resyncs
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			conn.Close()
			return nil, fmt.Errorf("cannot subscribe to rtnetlink group %d: %w", g, err)
		}
	}
	return &Watcher{conn}, nil
}

// Close ends the subscription.
func (w *Watcher) Close() error { return w.conn.Close() }

// Run hands over each message until ctx is done (then it returns nil) or the socket fails, and closes the Watcher. lost is called
// where messages are missing.
func (w *Watcher) Run(ctx context.Context, each func(kind uint16, body []byte), lost func()) error {
	defer w.conn.Close()
	stop := context.AfterFunc(ctx, func() { w.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		messages, err := w.conn.Receive()
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
			return nil
		case errors.Is(err, unix.ENOBUFS):
			if err := w.drain(); err != nil {
				return err
			}
			lost()
			continue
		case err != nil:
			return fmt.Errorf("cannot receive from rtnetlink: %w", err)
		}
		for _, m := range messages {
			each(uint16(m.Header.Type), m.Data)
		}
	}
}

// drain throws away what is left in the queue. Until it is empty the kernel goes on losing messages, and says so only once
// (NETLINK_S_CONGESTED in net/netlink/af_netlink.c): what is listed before would miss them.
func (w *Watcher) drain() error {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return err
	}
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		var header [unix.SizeofNlMsghdr]byte // the rest of each is cut off
		for {
			_, readErr = unix.Read(int(fd), header[:])
			if readErr != nil && !errors.Is(readErr, unix.ENOBUFS) && !errors.Is(readErr, unix.EINTR) {
				return true
			}
		}
	})
	if err == nil && !errors.Is(readErr, unix.EAGAIN) {
		err = readErr
	}
	return err
}
