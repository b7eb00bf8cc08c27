package engine

import (
	"context"
	"slices"
	"sync"
	"time"
)

// batch does behind the answer what costs the same for one as for many: it takes everything that waits and works it off in one go.
// The zero batch is not usable, see newBatch.
type batch[T any] struct {
	work func([]T)

	// rests: after each go it rests three times as long as that took, so that under a load without any pause most of a processor is left to
	// those who wait for an answer. It does not rest while somebody waits for it.
	rests bool
	// first is how long it rests before it begins, when something comes after a pause and nobody waits for it.
	first time.Duration
	// loaded says whether there was something to do for others since it was called last: the rest goes on then, for as long as it may. nil: there never is.
	loaded func() bool

	mu      sync.Mutex
	rest    *time.Timer // nil: it does not rest
	hasty   bool        // somebody waits
	idle    *sync.Cond
	waiting []T
	working []T
	busy    bool // somebody works, or will when the rest is over
}

// newBatch returns a batch that calls work with everything that waits; work is never called twice at a time.
func newBatch[T any](work func([]T)) *batch[T] {
	b := &batch[T]{work: work}
	b.idle = sync.NewCond(&b.mu)
	return b
}

// newRestingBatch is newBatch for work that nobody waits for, as a rule.
func newRestingBatch[T any](work func([]T), loaded func() bool) *batch[T] {
	b := newBatch(work)
	b.rests, b.loaded = true, loaded
	return b
}

// afterLoad is how long a batch rests at first that had better begin when a load is over: a request that comes alone has its answer by then.
const afterLoad = 2 * time.Millisecond

// mostRest is how long a batch rests at most, so that nobody waits much longer for what it gives back.
const mostRest = 100 * time.Millisecond

// add hands items over and returns at once.
func (b *batch[T]) add(items ...T) {
	if len(items) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, items...)
	if b.busy {
		return
	}
	b.busy = true
	if b.first > 0 && !b.hasty {
		b.lie(b.first, time.Now().Add(mostRest))
		return
	}
	go b.run()
}

// run works off what waits, until there is nothing more or it is time to rest.
func (b *batch[T]) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest, b.hasty = nil, false
	for len(b.waiting) > 0 {
		b.working, b.waiting = b.waiting, nil
		items, start := b.working, time.Now()
		b.mu.Unlock()
		b.work(items)
		b.mu.Lock()
		b.working = nil
		b.idle.Broadcast()
		if b.rests && !b.hasty {
			b.lie(min(3*time.Since(start), mostRest), time.Now().Add(mostRest))
			return
		}
		b.hasty = false
	}
	b.busy = false
}

// lie rests for some time, and again and again while others have a load, at most until then. The caller holds b.mu.
func (b *batch[T]) lie(some time.Duration, then time.Time) {
	b.rest = time.AfterFunc(some, func() {
		b.mu.Lock()
		goesOn := !b.hasty && b.loaded != nil && time.Now().Add(some).Before(then) && b.loaded()
		if goesOn {
			b.lie(some, then)
		}
		b.mu.Unlock()
		if !goesOn {
			b.run()
		}
	})
}

// hurry ends the rest: somebody waits.
func (b *batch[T]) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endRest()
}

// endRest is hurry with b.mu locked.
func (b *batch[T]) endRest() {
	b.hasty = true
	if b.rest != nil && b.rest.Stop() {
		b.rest = nil
		go b.run()
	}
}

// full says whether that many wait.
func (b *batch[T]) full(most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting) >= most
}

// done says whether nothing is waiting or being worked off.
func (b *batch[T]) done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.working) == 0 && len(b.waiting) == 0
}

// wait returns when nothing that match selects is waiting or being worked off.
func (b *batch[T]) wait(ctx context.Context, match func(T) bool) error {
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.idle.Broadcast()
	})
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for slices.ContainsFunc(b.working, match) || slices.ContainsFunc(b.waiting, match) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b.endRest()
		b.idle.Wait()
	}
	return nil
}
