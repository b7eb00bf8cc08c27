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

	// rests: after each go it rests so many times as long as that took, so that under a load without any pause most of a processor is left to
	// those who wait for an answer. It does not rest while somebody waits for it.
	rests int

	mu      sync.Mutex
	rest    *time.Timer // nil: it does not rest
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
func newRestingBatch[T any](rests int, work func([]T)) *batch[T] {
	b := newBatch(work)
	b.rests = rests
	return b
}

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
	if !b.busy {
		b.busy = true
		go b.run()
	}
}

// run works off what waits, until there is nothing more or it is time to rest.
func (b *batch[T]) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = nil
	for len(b.waiting) > 0 {
		b.working, b.waiting = b.waiting, nil
		items, start := b.working, time.Now()
		b.mu.Unlock()
		b.work(items)
		b.mu.Lock()
		b.working = nil
		b.idle.Broadcast()
		if b.rests > 0 {
			b.rest = time.AfterFunc(min(time.Duration(b.rests)*time.Since(start), mostRest), b.run)
			return
		}
	}
	b.busy = false
}

// hurry ends the rest: somebody waits.
func (b *batch[T]) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endRest()
}

// endRest is hurry with b.mu locked.
func (b *batch[T]) endRest() {
	if b.rest != nil && b.rest.Stop() {
		b.rest = nil
		go b.run()
	}
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
