package netns

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Do runs f in the namespace and returns its error. f runs in a goroutine that is locked to its thread: what it starts with go, and
// what it hands to other goroutines, runs elsewhere. That is a goroutine of its own, unless n is from [Current] and the calling thread is
// still there: then nobody travels. Sockets that f opens stay in the namespace.
func (n *NS) Do(f func() error) error {
	if n.current {
		if here, err := n.doHere(f); here {
			return err
		}
	}
	return visit(n.enter, f)
}

// enter takes the calling thread to the namespace.
func (n *NS) enter() error { return netns.Set(n.handle) }

// doHere runs f where the calling thread is, when that is the namespace.
func (n *NS) doHere(f func() error) (here bool, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var st unix.Stat_t
	if !n.handle.IsOpen() || unix.Stat(thread, &st) != nil || st.Dev != n.dev || st.Ino != n.ino {
		return false, nil
	}
	return true, f()
}

// visit runs enter, which takes its thread to a namespace, and there f, in a goroutine of its own. The thread is brought back;
// one for which that fails is not used again.
//
// It is not simply thrown away each time: when it happens to be the process's first thread it can't end, and /proc/PID/ns/net
// would be the wrong namespace from then on.
func visit(enter, f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the function that was to run in a network namespace ended its goroutine")
		defer func() { done <- err }()
		err = excursion(enter, f)
	}()
	return <-done
}

// excursion does visit's work in the goroutine.
func excursion(enter, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.GetFromPath(thread)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot open the current network namespace: %w", err)
	}
	defer home.Close()
	if err := enter(); err != nil {
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
