package engine

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bridged/bridged"
)

// keptEvents is how many past events can be asked for.
const keptEvents = 1000

// events are the last events, in a ring that writers never wait for: each reader goes through it at its own pace.
type events struct {
	mu   sync.Mutex
	ring [keptEvents]bridged.Event
	next uint64        // the number of the next event; the one with number n is at n modulo keptEvents
	more chan struct{} // closed when another comes; nil while nobody waits
}

// add stamps events and keeps them.
func (v *events) add(es ...bridged.Event) {
	if len(es) == 0 {
		return
	}
	now := time.Now().UTC()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range es {
		e.Time = now
		v.ring[v.next%keptEvents] = e
		v.next++
	}
	if v.more != nil {
		close(v.more)
		v.more = nil
	}
}

// oldest is the number of the oldest event that is kept. The caller holds v.mu.
func (v *events) oldest() uint64 { return v.next - min(v.next, keptEvents) }

// since is the number of the first event not before that time; the zero time is now.
func (v *events) since(t time.Time) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.next
	for !t.IsZero() && n > v.oldest() && !v.ring[(n-1)%keptEvents].Time.Before(t) {
		n--
	}
	return n
}

// from are the events with number n and after, and how many were lost before them because others came. When there are none yet, more
// is closed as soon as there are.
func (v *events) from(n uint64) (es []bridged.Event, lost uint64, more <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if first := v.oldest(); n < first {
		n, lost = first, first-n
	}
	for ; n < v.next; n++ {
		es = append(es, v.ring[n%keptEvents])
	}
	if len(es) == 0 && v.more == nil {
		v.more = make(chan struct{})
	}
	return es, lost, v.more
}

// Events are what happened since that time, as far as it is kept, and then what happens until ctx is done or the engine is closed; the
// zero time is now. A reader that is too slow loses the oldest ones, and gets an event of the type "daemon" with the action "lost" instead.
// A ctx that is done gives what is kept and ends.
func (e *Engine) Events(ctx context.Context, since time.Time) iter.Seq[bridged.Event] {
	n := e.events.since(since)
	return func(yield func(bridged.Event) bool) {
		for {
			es, lost, more := e.events.from(n)
			n += lost + uint64(len(es))
			if lost > 0 {
				es = slices.Insert(es, 0, bridged.Event{
					Time: es[0].Time, Type: bridged.EventDaemon, Action: "lost",
					Attributes: map[string]string{"count": strconv.FormatUint(lost, 10)},
				})
			}
			for _, event := range es {
				if !yield(event) {
					return
				}
			}
			if len(es) > 0 {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			case <-e.ended:
				return
			}
		}
	}
}
