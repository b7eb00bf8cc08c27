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

	mu      sync.Mutex
	idle    *sync.Cond
	waiting []T
	working []T
}

// newBatch returns a batch that calls work with everything that waits; work is never called twice at a time.
func newBatch[T any](work func([]T)) *batch[T] {
	b := &batch[T]{work: work}
	b.idle = sync.NewCond(&b.mu)
	return b
}

// mostRest is how long resting work rests at most, so that nobody waits much longer for what it gives back.
const mostRest = 100 * time.Millisecond

// resting is work that rests each time three times as long as it took: under a load without any pause it leaves most of a processor to those
// who wait for an answer.
func resting[T any](work func([]T)) func([]T) {
	return func(items []T) {
		start := time.Now()
		work(items)
		time.Sleep(min(3*time.Since(start), mostRest))
	}
}

// add hands items over and returns at once.
func (b *batch[T]) add(items ...T) {
	if len(items) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, items...)
	if b.working == nil {
		b.next()
		go b.run()
	}
}

// next takes what waits. The caller holds b.mu.
func (b *batch[T]) next() { b.working, b.waiting = b.waiting, nil }

func (b *batch[T]) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.working != nil {
		items := b.working
		b.mu.Unlock()
		b.work(items)
		b.mu.Lock()
		b.next()
		b.idle.Broadcast()
	}
}

// done says whether nothing is waiting or being worked off.
func (b *batch[T]) done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.working == nil
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
		b.idle.Wait()
	}
	return nil
}
