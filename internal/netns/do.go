package netns

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do runs f in the namespace and returns its error. f runs in a goroutine of its own that is locked to its thread: what it starts
// with go, and what it hands to other goroutines, runs elsewhere. Sockets that f opens stay in the namespace.
//
// A thread that can't be brought back is not used again.
func (n *NS) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the function that was to run in a network namespace ended its goroutine")
		defer func() { done <- err }()
		err = n.visit(f)
	}()
	return <-done
}

// visit moves the goroutine's thread to the namespace for f. Where it can't come back, the thread stays locked and so ends with
// the goroutine.
func (n *NS) visit(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.GetFromPath(thread)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot open the current network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(n.handle); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter the network namespace: %w", err)
	}
	defer func() {
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}
