package rtnl_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/rtnl"
)

// getLo asks for the loopback.
func getLo(s *rtnl.Socket) (answers int, err error) {
	var b rtnl.Batch
	getLink(&b, "lo")
	failed, err := s.Do(&b, func(int, uint16, []byte) { answers++ })
	if len(failed) > 0 {
		err = failed[0].Err
	}
	return answers, err
}

// list counts the links.
func list(s *rtnl.Socket) (n int, err error) {
	var b rtnl.Batch
	b.Begin(unix.RTM_GETLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	err = s.Dump(&b, func() { n = 0 }, func(uint16, []byte) { n++ })
	return n, err
}

// TestClosedUnderneath: the descriptor is another file all of a sudden. That one stays open, and another socket takes its place.
func TestClosedUnderneath(t *testing.T) {
	n := nstest.New(t)
	in := func(f func() error) (err error) { n.Do(func() { err = f() }); return err }
	var s *rtnl.Socket
	if err := in(func() (err error) { s, err = rtnl.Options{In: in}.Dial(); return err }); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	unconnected, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unconnected)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	for name, other := range map[string]int{"a socket": unconnected, "a file": null} {
		for use, f := range map[string]func() error{
			"request": func() error {
				lo, err := getLo(s)
				if err == nil && lo != 1 {
					t.Errorf("%d answers", lo)
				}
				return err
			},
			"list":  func() error { _, err := list(s); return err },
			"index": func() error { _, err := s.Index("lo"); return err },
		} {
			if name == "a file" && use == "index" {
				continue // an ioctl of a file has errors of its own
			}
			fd := s.FD()
			if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			if err := f(); err != nil {
				t.Errorf("%s is %s: %v", use, name, err)
			}
			if use != "index" && s.FD() == fd && name == "a file" {
				t.Errorf("%s is %s: it was not opened again", use, name)
			}
			if name == "a file" {
				if err := unix.Close(fd); err != nil {
					t.Errorf("%s is %s: it was closed: %v", use, name, err)
				}
			}
		}
	}
}

// TestNotReplaced: without a way to its namespace, a socket that died stays dead; so does one that was closed.
func TestNotReplaced(t *testing.T) {
	nstest.New(t).Do(func() {
		var plan fault.Plan
		s, err := rtnl.Options{Fault: plan.Inject}.Dial()
		if err != nil {
			t.Fatal(err)
		}
		plan.Arm(1, 1, func(fault.Datagram) (fault.Fault, bool) { return fault.Fault{Send: unix.ECONNRESET, Dead: true}, true })
		for range 2 {
			if _, err := getLo(s); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("error is %v", err)
			}
		}
		s.Close()
		if _, err := getLo(s); !errors.Is(err, unix.EBADF) {
			t.Errorf("error is %v", err)
		}
	})
}

// TestBusyList: a list that was not read to its end keeps the socket busy, which is no reason not to get the next one.
func TestBusyList(t *testing.T) {
	nstest.New(t).Do(func() {
		var plan fault.Plan
		s, err := rtnl.Options{Fault: plan.Inject}.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		plan.Arm(1, 1, func(fault.Datagram) (fault.Fault, bool) {
			return fault.Fault{Refusals: []fault.Refusal{{Errno: unix.EBUSY}}}, true
		})
		if n, err := list(s); n != 1 || err != nil || plan.Disarm() != 1 {
			t.Errorf("%d links, %v", n, err)
		}
	})
}

// TestRefusedInTheMiddle: of a batch, the kernel does what is not refused, and failures are in the order of the messages.
func TestRefusedInTheMiddle(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		var plan fault.Plan
		s, err := rtnl.Options{Fault: plan.Inject}.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, last := range []bool{false, true} {
			var b rtnl.Batch
			setUp(&b, 4711)
			refused := setUp(&b, 1)
			if !last {
				setUp(&b, 4712)
			}
			plan.Arm(1, 1, func(fault.Datagram) (fault.Fault, bool) {
				return fault.Fault{Refusals: []fault.Refusal{{Message: refused, Errno: unix.EPERM}}}, true
			})
			failed, err := s.Do(&b, nil)
			if err != nil || len(failed) != b.Len() || failed[1].Message != refused || !errors.Is(failed[1].Err, unix.EPERM) ||
				!errors.Is(failed[0].Err, unix.ENODEV) || !last && !errors.Is(failed[2].Err, unix.ENODEV) {
				t.Errorf("last %v: failures are %v, %v", last, failed, err)
			}
		}
	})
	if out := n.Run("ip -br link show lo"); strings.Contains(out, "UP") {
		t.Errorf("what was refused was done: %s", out)
	}
}
