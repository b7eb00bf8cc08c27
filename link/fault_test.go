package link_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

// passing are faults that a connection gets over by itself.
var passing = map[string]fault.Fault{
	"answer lost":                {Receive: unix.ENOBUFS},
	"request and answer lost":    {Receive: unix.ENOBUFS, Undone: true},
	"no answer":                  {Receive: unix.EAGAIN},
	"no answer, not done":        {Receive: unix.EAGAIN, Undone: true},
	"dies before":                {Send: unix.ENOTCONN, Dead: true},
	"dies, closed underneath":    {Send: unix.EBADF, Dead: true},
	"dies before the answer":     {Receive: unix.ECONNRESET, Dead: true},
	"dies before it is done":     {Receive: unix.ENODEV, Dead: true, Undone: true},
	"interrupted by a signal":    {Send: unix.EINTR},
	"the list changed meanwhile": {Interrupted: true},
}

// TestPassingFaults: whatever happens to a request or its answer once, and to whichever of a call's requests, the call does what it does
// without, once.
func TestPassingFaults(t *testing.T) {
	for name, f := range passing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var plan fault.Plan
			host, inside := nstest.New(t), nstest.New(t)
			c := dialFaulty(t, host, &plan)
			anything := func(fault.Datagram) (fault.Fault, bool) { return f, true }
			bridge := link.Bridge{Name: "br0", MAC: addr.MAC{2, 0, 0, 0, 0, 1}, MTU: 1400}
			pair := link.Pair{Host: "bv000000000001", Inner: "eth0", Bridge: "br0", MAC: addr.MAC{2, 0, 0, 0, 0, 2}}
			for n, reached := 1, true; reached; n++ {
				plan.Arm(n, 1, anything)
				_, err := c.CreateBridge(bridge)
				check(t, err)
				l, err := c.ByName("br0")
				check(t, err)
				check(t, c.SetUp(l.Index))
				_, inner, err := c.CreatePair(pair, inside.FD())
				check(t, err)
				if inner == 0 {
					t.Error("no index of the inner end")
				}
				all, err := c.List()
				check(t, err)
				if len(all) != 3 {
					t.Errorf("%d links: %v", len(all), all)
				}
				p, err := c.ByName(pair.Host)
				check(t, err)
				check(t, c.SetIsolated(p.Index, true))
				if out := host.Run("bridge -d link"); !contains(out, "isolated on", "hairpin on", "master br0", "bv000000000001") {
					t.Errorf("fault at %d: the port is\n%s", n, out)
				}
				check(t, c.Delete(pair.Host, "br0"))
				reached = plan.Disarm() > 0
				if out := host.Run("ip -br link"); contains(out, "br0") || contains(out, "bv") {
					t.Errorf("fault at %d: left\n%s", n, out)
				}
			}
		})
	}
}

// TestLastingFaults: what goes on and on is an error that says so, and when it is over the connection works again.
func TestLastingFaults(t *testing.T) {
	host := nstest.New(t)
	var plan fault.Plan
	c := dialFaulty(t, host, &plan)
	bridge := link.Bridge{Name: "br0", MAC: addr.MAC{2, 0, 0, 0, 0, 1}}
	before := descriptors(t)
	for _, tt := range []struct {
		name string
		fault.Fault
		want []error
	}{
		{"no room", fault.Fault{Send: unix.ENOBUFS}, []error{unix.ENOBUFS}},
		{"no memory", fault.Fault{Send: unix.ENOMEM}, []error{unix.ENOMEM}},
		{"dead", fault.Fault{Send: unix.ENOTCONN, Dead: true}, []error{unix.ENOTCONN}},
		{"not permitted", fault.Fault{Refusals: []fault.Refusal{{Errno: unix.EPERM}}}, []error{unix.EPERM}},
		{"busy", fault.Fault{Refusals: []fault.Refusal{{Errno: unix.EBUSY}}}, []error{unix.EBUSY}},
		{"never an answer", fault.Fault{Receive: unix.ENOBUFS, Undone: true}, []error{unix.ENOBUFS, link.ErrUnknownOutcome}},
	} {
		plan.Arm(1, 1000, func(fault.Datagram) (fault.Fault, bool) { return tt.Fault, true })
		_, err := c.CreateBridge(bridge)
		_, listErr := c.List()
		plan.Disarm()
		for _, want := range tt.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", tt.name, err, want)
			}
		}
		if !errors.Is(listErr, tt.want[0]) {
			t.Errorf("%s: the list: %v", tt.name, listErr)
		}
		if out := host.Run("ip -br link"); contains(out, "br0") {
			t.Errorf("%s: left\n%s", tt.name, out)
		}
		_, err = c.CreateBridge(bridge)
		check(t, err)
		check(t, c.Delete("br0"))
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// descriptors is how many files and sockets are open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(all)
}

// TestTakenNameStaysRefused: a bridge of somebody else is not taken for one that we made before an answer was lost.
func TestTakenNameStaysRefused(t *testing.T) {
	host := nstest.New(t)
	var plan fault.Plan
	c := dialFaulty(t, host, &plan)
	host.Run("ip link add br0 type bridge")
	plan.Arm(1, 1, func(fault.Datagram) (fault.Fault, bool) { return fault.Fault{Receive: unix.ENOBUFS}, true })
	if _, err := c.CreateBridge(link.Bridge{Name: "br0", MAC: addr.MAC{2, 0, 0, 0, 0, 1}}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("error is %v", err)
	}
	if plan.Disarm() != 1 {
		t.Error("nothing went wrong")
	}
	host.Run("ip link show br0")
}

func dialFaulty(t *testing.T, n nstest.NS, plan *fault.Plan) *link.Conn {
	t.Helper()
	in := func(f func() error) (err error) { n.Do(func() { err = f() }); return err }
	var c *link.Conn
	check(t, in(func() (err error) { c, err = link.DialWith(link.Options{In: in, Fault: plan.Inject}); return err }))
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

// contains says whether text has all of the words.
func contains(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
