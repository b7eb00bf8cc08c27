package engine

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/internal/failpoint"
)

// purge is what a port or an endpoint leaves in conntrack. When it is gone, the binding is given back, if there is one, and then is called.
type purge struct {
	flow    conntrack.Flow
	addr    netip.Addr
	binding bridged.Binding
	then    func()
}

// loaded returns a batch's own function that says whether somebody asked for something since it was called last. A purge goes through the kernel's whole
// table, which keeps a processor busy for milliseconds also where it is empty: it has a quarter of a million buckets on a host with some memory.
func (e *Engine) loaded() func() bool {
	var seen uint64
	return func() bool {
		before := seen
		seen = e.asked.Load()
		return seen != before
	}
}

// purge ends connections, and gives back what waits for that. An error says that it can be tried again later; all else is in the log.
func (e *Engine) purge(purges []purge) error {
	var flows []conntrack.Flow
	var addrs []netip.Addr
	for _, p := range purges {
		if p.addr.IsValid() {
			addrs = append(addrs, p.addr)
		}
		if p.flow.HostPort != 0 {
			flows = append(flows, p.flow)
		}
	}
	failpoint.Reached("before purging connections")
	err := e.host.purge(flows, addrs)
	failpoint.Reached("after purging connections")
	if scarce(err) {
		return err
	}
	if err != nil {
		e.log.Warn("cannot purge conntrack entries; old flows go on until they time out", "error", err)
	}
	// What is still being reserved must not be given back before, or it would be held for nobody.
	_ = e.holds.wait(context.Background(), every[bridged.Binding])
	var free []bridged.Binding
	for _, p := range purges {
		if p.binding != (bridged.Binding{}) {
			free = append(free, p.binding)
		}
		if p.then != nil {
			p.then()
		}
	}
	e.book.free(free)
	return nil
}

// scarcePause is how long a purge waits that lacked something, before it tries again.
const scarcePause = 100 * time.Millisecond

// purgeAll purges as soon as it can: what waits for it is not given out before. When the engine ends before that, the log remembers it.
func (e *Engine) purgeAll(purges []purge) {
	told := false
	for {
		err := e.purge(purges)
		if err == nil {
			return
		}
		if !told {
			told = true
			e.log.Warn("cannot purge conntrack entries yet; what waits for it is not given out before", "error", err)
		}
		select {
		case <-time.After(scarcePause):
		case <-e.ending:
			e.giveUp()
			return
		}
	}
}

// giveUp lets those go who wait for a purge. Only the batch's own goroutine calls it.
func (e *Engine) giveUp() {
	if !e.gaveUp() {
		close(e.unpurged)
	}
}

// gaveUp says whether somebody may have waited in vain.
func (e *Engine) gaveUp() bool {
	select {
	case <-e.unpurged:
		return true
	default:
		return false
	}
}

// purged says whether the connections of all that went were ended, but for what this request takes away.
func (e *Engine) purged() bool { return e.underWay.Load() <= 1 && e.purges.done() && !e.gaveUp() }

// scarce says whether an error is one of those that end when somebody gives something back.
func scarce(err error) bool {
	return slices.ContainsFunc([]error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN}, func(e error) bool { return errors.Is(err, e) })
}
