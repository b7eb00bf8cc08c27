package apitest

import (
	"context"
	"iter"
	"time"

	"github.com/bridged/bridged"
)

// Happen makes an event, a second after the last one. Networks and sandboxes that come and go make theirs.
func (e *Engine) Happen(event bridged.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.happen(event)
}

func (e *Engine) happen(event bridged.Event) {
	event.Time = start.Add(time.Duration(len(e.events)) * time.Second)
	e.events = append(e.events, event)
	close(e.more)
	e.more = make(chan struct{})
}

// Events are all of them, however many.
func (e *Engine) Events(ctx context.Context, since time.Time) iter.Seq[bridged.Event] {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.events)
	for !since.IsZero() && n > 0 && !e.events[n-1].Time.Before(since) {
		n--
	}
	return func(yield func(bridged.Event) bool) {
		for {
			e.mu.Lock()
			news, more := e.events[n:], e.more
			e.mu.Unlock()
			for _, event := range news {
				if !yield(event) {
					return
				}
			}
			n += len(news)
			if len(news) > 0 {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}
