package engine

import (
	"testing"
	"time"
)

// TestLoaded: each batch is told of every load, also of one that another batch was told of meanwhile.
func TestLoaded(t *testing.T) {
	var e Engine
	one, other := e.loaded(), e.loaded()
	for range 2 {
		if one() || other() {
			t.Error("there is a load, and nobody asked for anything")
		}
		e.asked.Add(1)
		if !one() || !other() {
			t.Error("a request was no load")
		}
	}
}

// TestBatchRestsFirst: what had better begin when a load is over does not begin before, unless somebody waits for it.
func TestBatchRestsFirst(t *testing.T) {
	for name, hurry := range map[string]func(b *batch[int]){
		"waited for":      func(b *batch[int]) { _ = b.wait(t.Context(), every[int]) },
		"hurried":         (*batch[int]).hurry,
		"hurried already": nil,
	} {
		t.Run(name, func(t *testing.T) {
			began := make(chan []int, 1)
			b := newRestingBatch(func(items []int) { began <- items }, nil)
			b.first = time.Hour
			if hurry == nil {
				b.hurry()
			}
			b.add(1)
			b.add(2)
			if hurry != nil {
				if len(began) > 0 || b.done() {
					t.Error("it began before somebody waited")
				}
				hurry(b)
			}
			if items := <-began; items[0] != 1 {
				t.Errorf("it began with %v", items)
			}
			_ = b.wait(t.Context(), every[int])
		})
	}
}
