package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// watchers are the subscriptions of a machine: to links and addresses, and to nf_tables where others may change our tables.
type watchers struct {
	links *link.Watcher
	addrs *addr.Watcher
	rules *nft.Watcher // nil: the tables are protected
}

// subscribe opens the subscriptions. What changes from then on is not missed.
func (m *machine) subscribe() (w watchers, err error) {
	err = m.ns.Do(func() (err error) {
		if w.links, err = link.Watch(); err != nil {
			return err
		}
		if w.addrs, err = addr.Watch(); err != nil {
			return errors.Join(err, w.links.Close())
		}
		if m.rules.Protection() != nft.ProtectionMonitor {
			return nil
		}
		var ids []nft.TableID
		for _, t := range Program() {
			ids = append(ids, t.ID)
		}
		if w.rules, err = m.rules.Watch(ids...); err != nil {
			return errors.Join(err, w.links.Close(), w.addrs.Close())
		}
		return nil
	})
	return w, err
}

// watch runs the subscriptions. The first thing that it says is a suspicion of everything: what changed between the first reconcile
// and the subscription is found so.
func (m *machine) watch(ctx context.Context, suspect func(suspicion)) error {
	w, err := m.subscribe()
	if err != nil {
		return fmt.Errorf("cannot watch for what others change: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return w.links.Run(ctx, func(e link.Event) {
			if e.Resync || e.Link.Ours() || e.Port && strings.HasPrefix(e.Link.Name, bridged.PortPrefix) {
				suspect(suspicion{link: e.Link.Name})
			}
		})
	})
	group.Go(func() error {
		return w.addrs.Run(ctx, func(e addr.Event) {
			if e.Resync {
				suspect(suspicion{})
			} else if e.Gone && e.Address != nil {
				suspect(suspicion{address: e.Address.Prefix})
			}
		})
	})
	if w.rules != nil {
		group.Go(func() error { return w.rules.Run(ctx, func() { suspect(suspicion{}) }) })
	}
	return group.Wait()
}
