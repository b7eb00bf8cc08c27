package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// watchers are the subscriptions of a machine: to links, addresses, routes and forwarding, and to nf_tables where others may change our
// tables.
type watchers struct {
	links      *link.Watcher
	addrs      *addr.Watcher
	forwarding *sysctl.ForwardingWatcher
	rules      *nft.Watcher // nil: the tables are protected
}

func (m *machine) subscribe() error {
	var w watchers
	err := m.ns.Do(func() (err error) {
		if w.links, err = link.Watch(); err != nil {
			return err
		}
		if w.addrs, err = addr.Watch(); err != nil {
			return errors.Join(err, w.links.Close())
		}
		if w.forwarding, err = sysctl.WatchForwarding(); err != nil {
			return errors.Join(err, w.links.Close(), w.addrs.Close())
		}
		if m.rules.Protection() != nft.ProtectionMonitor {
			return nil
		}
		var ids []nft.TableID
		for _, t := range Program() {
			ids = append(ids, t.ID)
		}
		if w.rules, err = m.rules.Watch(ids...); err != nil {
			return errors.Join(err, w.links.Close(), w.addrs.Close(), w.forwarding.Close())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot watch for what others change: %w", err)
	}
	m.watchers = &w
	if m.less.subscribed != nil {
		m.less.subscribed(&w)
	}
	return nil
}

// close is for watchers that are not run.
func (w *watchers) close() error {
	errs := []error{w.links.Close(), w.addrs.Close(), w.forwarding.Close()}
	if w.rules != nil {
		errs = append(errs, w.rules.Close())
	}
	return errors.Join(errs...)
}

// A subscription that works for that long was not broken from the beginning. After one that was, the next one waits, each time twice as long.
const (
	lasting    = time.Second
	firstPause = 10 * time.Millisecond
)

func (m *machine) watch(ctx context.Context, suspect func(suspicion), changed func(moved)) error {
	pause := time.Duration(0)
	for {
		w, since := m.watchers, time.Now()
		m.watchers = nil // they close themselves
		err := m.run(ctx, w, suspect, changed)
		if ctx.Err() != nil {
			return err
		}
		m.log.Warn("a subscription to what others change has failed; subscribing again and looking at everything", "error", err)
		if time.Since(since) > lasting {
			pause = 0
		}
		for m.watchers == nil {
			if !wait(ctx, pause) {
				return nil
			}
			pause = min(max(2*pause, firstPause), lasting)
			if err := m.subscribe(); err != nil {
				m.log.Error("nobody tells what others change; trying again", "error", err)
			}
		}
		suspect(suspicion{})
	}
}

// wait is false when ctx ended before the time was over.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run runs subscriptions until one fails.
func (m *machine) run(ctx context.Context, w *watchers, suspect func(suspicion), changed func(moved)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return w.links.Run(ctx, func(e link.Event) {
			if e.Queue {
				if l, err := m.links.ByIndex(e.Link.Index); err == nil && l.Ours() {
					suspect(suspicion{link: l.Name})
				}
				return
			}
			if !e.Resync && !e.Port && !e.Link.Ours() {
				changed(moved{foreign: true}) // the kernel does not tell of all routes that go with a link
			}
			if e.Resync || e.Link.Ours() || e.Port && strings.HasPrefix(e.Link.Name, bridged.PortPrefix) {
				suspect(suspicion{link: e.Link.Name})
			}
		})
	})
	group.Go(func() error {
		return w.addrs.Run(ctx, func(e addr.Event) {
			if e.Resync {
				suspect(suspicion{})
			} else {
				changed(m.moved(e))
			}
		})
	})
	group.Go(func() error {
		return w.forwarding.Run(ctx, func() { suspect(suspicion{forwarding: true}) })
	})
	if w.rules != nil {
		group.Go(func() error { return w.rules.Run(ctx, func() { suspect(suspicion{rules: true}) }) })
	}
	group.Go(func() error {
		for {
			select {
			case <-m.doubts:
				m.handOn()
				suspect(suspicion{})
			case <-ctx.Done():
				return nil
			}
		}
	})
	return group.Wait()
}

// moved is what an event of package addr tells.
func (m *machine) moved(e addr.Event) (c moved) {
	c.gone = e.Gone
	if a := e.Address; a != nil {
		c.route = addr.Route{Dst: a.Prefix.Masked(), Link: a.Link}
		c.connected = true
	} else {
		c.route = *e.Route
		c.connected = c.route.Type == unix.RTN_UNICAST && c.route.Protocol == unix.RTPROT_KERNEL && !c.route.Gateway.IsValid()
	}
	if c.route.Link != 0 {
		if l, err := m.links.ByIndex(c.route.Link); err == nil {
			c.link, c.ours = l.Name, l.Ours()
		}
	}
	return c
}
