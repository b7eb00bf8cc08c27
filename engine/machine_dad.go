package engine

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
)

// detection is duplicate address detection of the IPv6 addresses that an interface gets, RFC 4862.
type detection struct {
	watcher *addr.Watcher
	waiting map[netip.Prefix]bool
}

// detectionTimeout is how long it may take: the kernel waits up to a second before it asks (rtr_solicit_delay), and one for an answer.
const detectionTimeout = 10 * time.Second

// detect subscribes to the addresses of the calling thread's namespace, before the inner end gets its own, the link-local one among them.
func detect(p pair) (*detection, error) {
	w, err := addr.Watch()
	if err != nil {
		return nil, err
	}
	d := &detection{w, make(map[netip.Prefix]bool)}
	if p.inner.IPv6 {
		d.waiting[netip.PrefixFrom(addr.LinkLocal(p.MAC), 64)] = true
	}
	for _, a := range p.inner.Addrs {
		if a.Addr().Is6() {
			d.waiting[a] = true
		}
	}
	return d, nil
}

// await returns when all addresses can be used. One that somebody else has is [bridged.ErrConflict]. It ends the subscription.
func (d *detection) await() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), detectionTimeout)
	defer cancel()
	if len(d.waiting) == 0 {
		return d.watcher.Close()
	}
	runErr := d.watcher.Run(ctx, func(event addr.Event) {
		a := event.Address
		switch {
		case event.Resync:
			err = errors.New("the kernel's word about an IPv6 address was lost")
		case a == nil || event.Gone || !d.waiting[a.Prefix]:
			return
		case a.Failed:
			err = bridged.Errorf(bridged.ErrConflict, "another node on the link has the address %s", a.Prefix.Addr())
		case !a.Tentative:
			delete(d.waiting, a.Prefix)
		}
		if err != nil || len(d.waiting) == 0 {
			cancel()
		}
	})
	switch {
	case err != nil || runErr != nil:
		return errors.Join(err, runErr)
	case len(d.waiting) > 0:
		return bridged.Errorf(bridged.ErrUnavailable,
			"it is not known after %v whether another node on the link has the IPv6 address: does the bridge forward?", detectionTimeout)
	}
	return nil
}
