package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/internal/netns"
)

// faultyWriter is a writer in the test's namespace whose faults come from the plan, and a count of the sockets that died.
func faultyWriter(t *testing.T, plan *fault.Plan) (w *Writer, deaths *atomic.Int32) {
	t.Helper()
	ns, err := netns.Current()
	mustFail(t, "the namespace", err, nil)
	t.Cleanup(func() { ns.Close() })
	deaths = new(atomic.Int32)
	w = dial(t, Options{Fault: plan.Inject, In: ns.Do, Died: func() { deaths.Add(1) }})
	return w, deaths
}

// passing are faults that a writer gets over by itself.
var passing = map[string]fault.Fault{
	"answer lost":               {Receive: unix.ENOBUFS},
	"transaction lost":          {Receive: unix.ENOBUFS, Undone: true},
	"no answer":                 {Receive: unix.EAGAIN},
	"no answer, not done":       {Receive: unix.EAGAIN, Undone: true},
	"again":                     {Refusals: []fault.Refusal{{Errno: unix.ERESTART}}},
	"signal":                    {Send: unix.EINTR},
	"dies":                      {Send: unix.ENOTCONN, Dead: true},
	"closed underneath":         {Send: unix.EBADF, Dead: true},
	"dies before the answer":    {Receive: unix.ECONNRESET, Dead: true},
	"dies before it is done":    {Receive: unix.ENODEV, Dead: true, Undone: true},
	"answer lost, closed":       {Receive: unix.EBADF, Dead: true},
	"changed by others":         {Interrupted: true},
	"a list is not read to end": {Refusals: []fault.Refusal{{Errno: unix.EBUSY}}},
}

// fits says whether the fault can be one of the datagram: a batch is not interrupted, nor refused because of a list, and nothing else is
// restarted.
func fits(f fault.Fault, d fault.Datagram) bool {
	list, batch := d.Messages[0].Dump(), d.Messages[0].Kind == batchBegin
	if len(f.Refusals) > 0 && f.Refusals[0].Errno == unix.ERESTART {
		return batch
	}
	return list || !f.Interrupted && len(f.Refusals) == 0
}

// TestPassingFaults: whatever happens once, to whichever datagram of Dial, Adopt, Observe and Commit, they do what they do without it,
// once. The tables stay the writer's. One after the other: a process that another one just starts has the dying socket open, too, until it runs.
func TestPassingFaults(t *testing.T) {
	for name, f := range passing {
		t.Run(name, func(t *testing.T) {
			newNamespace(t)
			var plan fault.Plan
			ctx := t.Context()
			for n, reached := 1, true; reached; n++ {
				when := fmt.Sprintf("at datagram %d", n)
				plan.Arm(n, 1, func(d fault.Datagram) (fault.Fault, bool) { return f, fits(f, d) })
				w, deaths := faultyWriter(t, &plan)
				mustFail(t, when, w.Adopt(ctx, smallIDs), nil)
				mustCommit(t, w, Diff(mustObserve(t, w, smallIDs...), small()))
				mustCommit(t, w, Diff(small(), Ruleset{Tables: small().Tables}))
				mustCommit(t, w, Diff(Ruleset{Tables: small().Tables}, small()))
				reached = plan.Disarm() > 0
				mustBe(t, when, mustObserve(t, w, smallIDs...), small())
				mustBeOwned(t, when)
				if deaths.Load() > 1 || deaths.Load() > 0 && !f.Dead {
					t.Errorf("%s: %d sockets died", when, deaths.Load())
				}
				if transactions := w.Transactions(); transactions < 3 || transactions > 4 {
					t.Errorf("%s: %d transactions", when, transactions)
				}
				mustCommit(t, w, Diff(small(), Ruleset{}))
				mustFail(t, when, w.Close(), nil)
			}
		})
	}
}

// TestLastingFaults: what goes on and on is an error that says so, nothing has happened, and when it is over the writer works again, with
// its tables.
func TestLastingFaults(t *testing.T) {
	newNamespace(t)
	var plan fault.Plan
	w, _ := faultyWriter(t, &plan)
	tables := Ruleset{Tables: small().Tables}
	mustCommit(t, w, Diff(Ruleset{}, tables))
	before := descriptors(t)
	for _, c := range []struct {
		name string
		fault.Fault
		want error
		says string
	}{
		{"no memory", fault.Fault{Send: unix.ENOMEM}, unix.ENOMEM, "cannot send a transaction of"},
		{"no room", fault.Fault{Send: unix.ENOBUFS}, unix.ENOBUFS, "cannot send a transaction of"},
		{"too long", fault.Fault{Send: unix.EMSGSIZE}, unix.EMSGSIZE, "raise net.core.wmem_max"},
		{"dead", fault.Fault{Send: unix.ENOTCONN, Dead: true}, unix.ENOTCONN, "cannot open another socket"},
		{"dead, closed", fault.Fault{Send: unix.EBADF, Dead: true}, unix.EBADF, "cannot open another socket"},
		{"never done", fault.Fault{Receive: unix.ENOBUFS, Undone: true}, unix.ENOBUFS, "the kernel did not do it"},
		{"always again", fault.Fault{Refusals: []fault.Refusal{{Errno: unix.ERESTART}}}, unix.ERESTART, "cannot change table"},
		{"no memory for the batch", fault.Fault{Refusals: []fault.Refusal{{Errno: unix.ENOMEM}}}, unix.ENOMEM, "cannot change table"},
		{"not permitted at all", fault.Fault{Refusals: []fault.Refusal{{Errno: unix.EPERM}}}, unix.EPERM, "no CAP_NET_ADMIN"},
		{"not permitted", fault.Fault{Refusals: []fault.Refusal{{Message: 1, Errno: unix.EPERM}}}, ErrOwned, "another daemon is running"},
		{"busy", fault.Fault{Refusals: []fault.Refusal{{Message: 2, Errno: unix.EBUSY}}}, unix.EBUSY, "cannot add element"},
		{"full", fault.Fault{Refusals: []fault.Refusal{{Message: 3, Errno: unix.ENFILE}}}, unix.ENFILE, "the set is full"},
	} {
		plan.Arm(1, 1000, func(d fault.Datagram) (fault.Fault, bool) { return c.Fault, d.Messages[0].Kind == batchBegin })
		err := w.Commit(t.Context(), Diff(tables, small()))
		plan.Disarm()
		mustFail(t, c.name, err, c.want)
		if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		mustBe(t, c.name, mustObserve(t, w, smallIDs...), tables)
		mustCommit(t, w, Diff(tables, small()))
		mustBeOwned(t, c.name)
		mustCommit(t, w, Diff(small(), tables))
	}
	// Nothing can be observed either: then nobody knows.
	for _, undone := range []bool{true, false} {
		plan.Arm(1, 1000, func(d fault.Datagram) (fault.Fault, bool) {
			return fault.Fault{Receive: unix.ENOBUFS, Undone: undone}, true
		})
		err := w.Commit(t.Context(), Diff(tables, small()))
		plan.Disarm()
		mustFail(t, "nothing answers", err, ErrUnknownOutcome)
		want := small()
		if undone {
			want = tables
		}
		mustBe(t, "nothing answers", mustObserve(t, w, smallIDs...), want)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// TestLostBesideUnwritten: a transaction that can't be written has no part in what is looked for when the answer to its group is lost.
func TestLostBesideUnwritten(t *testing.T) {
	newNamespace(t)
	var plan fault.Plan
	w, _ := faultyWriter(t, &plan)
	base := Ruleset{Tables: []Table{benchTable()}}
	mustCommit(t, w, Diff(Ruleset{}, base))
	adding := func(es ...Element) *Tx {
		tx := NewTx(base.Tables...)
		for _, e := range es {
			tx.Add(e)
		}
		return tx
	}
	first, second := publication(1), publication(2)
	interval := first[0]
	interval.End = interval.Key
	plan.Arm(1, 1, func(d fault.Datagram) (fault.Fault, bool) {
		return fault.Fault{Receive: unix.ENOBUFS}, d.Messages[0].Kind == batchBegin
	})
	errs := together(w, adding(first[:]...), adding(interval), adding(second[:]...))
	mustFail(t, "first", errs[0], nil)
	mustFail(t, "what can't be written", errs[1], errNoInterval)
	mustFail(t, "third", errs[2], nil)
	if plan.Disarm() != 1 || w.Transactions() != 2 {
		t.Errorf("%d transactions", w.Transactions())
	}
	base.Elements = Elements{first[0]: {}, first[1]: {}, second[0]: {}, second[1]: {}}
	mustBe(t, "the kernel", mustObserve(t, w, benchTable().ID), base)
}

// descriptors is how many files and sockets are open.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	mustFail(t, "descriptors", err, nil)
	return len(all)
}

// TestRefusedProbe: a kernel that just now can't make a table is not one that can't protect it.
func TestRefusedProbe(t *testing.T) {
	newNamespace(t)
	for _, errno := range []unix.Errno{unix.ENFILE, unix.ENOMEM, unix.EBUSY, unix.EPERM} {
		var plan fault.Plan
		plan.Arm(1, 1, func(d fault.Datagram) (fault.Fault, bool) {
			return fault.Fault{Refusals: []fault.Refusal{{Message: 1, Errno: errno}}}, d.Messages[0].Kind == batchBegin
		})
		_, err := Dial(Options{Fault: plan.Inject})
		mustFail(t, "dial", err, errno)
	}
	if w := dial(t, Options{}); w.Protection() != ProtectionOwner {
		t.Skip("this kernel has no table flags owner and persist")
	}
}

// TestTakenMeanwhile: who takes the tables while the writer's socket is dead has them, and the writer says so.
func TestTakenMeanwhile(t *testing.T) {
	newNamespace(t)
	var plan fault.Plan
	ns, err := netns.Current()
	mustFail(t, "the namespace", err, nil)
	defer ns.Close()
	var thief *Writer
	w := dial(t, Options{Fault: plan.Inject, In: func(f func() error) error {
		if thief == nil {
			thief = dial(t, Options{})
			mustFail(t, "the thief", thief.Adopt(t.Context(), smallIDs), nil)
		}
		return ns.Do(f)
	}})
	mustCommit(t, w, Diff(Ruleset{}, small()))
	plan.Arm(1, 1, func(fault.Datagram) (fault.Fault, bool) { return fault.Fault{Send: unix.ENOTCONN, Dead: true}, true })
	less := Diff(small(), Ruleset{Tables: small().Tables})
	for range 2 {
		mustFail(t, "while somebody has them", w.Commit(t.Context(), less), ErrOwned)
	}
	mustFail(t, "the thief goes", thief.Close(), nil)
	mustCommit(t, w, less)
	mustBe(t, "afterwards", mustObserve(t, w, smallIDs...), Ruleset{Tables: small().Tables})
	mustBeOwned(t, "afterwards")
}

// TestAnswerReallyLost: the queue of the writer's socket is full of answers, so that the kernel has no room for the one that counts.
func TestAnswerReallyLost(t *testing.T) {
	newNamespace(t)
	var plan fault.Plan
	w, _ := faultyWriter(t, &plan)
	mustCommit(t, w, Diff(Ruleset{}, Ruleset{Tables: small().Tables}))
	s := w.conn.socket.(*faulty).socket.(*netlinkSocket)
	mustFail(t, "the buffer", unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1), nil)
	for range 100 {
		request := batch{seq: 1}
		request.header(subsystem|unix.NFT_MSG_GETGEN, 0, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 0)
		request.end()
		mustFail(t, "ask", s.send(request.buf), nil)
	}
	lost := 0
	w.conn.happened = func(rs []*request) (bool, error) { lost++; return w.happened(rs) }
	mustCommit(t, w, Diff(Ruleset{Tables: small().Tables}, small()))
	if lost != 1 {
		t.Errorf("the answer was looked for %d times: was it lost?", lost)
	}
	mustBe(t, "what was committed", mustObserve(t, w, smallIDs...), small())
}

// TestOneGuiltyOfMany: of 32 callers at a time one is refused, for whatever reason, and the others are not, in however many transactions
// they end up.
func TestOneGuiltyOfMany(t *testing.T) {
	newNamespace(t)
	var plan fault.Plan
	w, _ := faultyWriter(t, &plan)
	table := benchTable()
	table.Sets = append(table.Sets, Set{Name: "few", Key: []Type{TypePort}, Size: 1})
	few := func(port uint16) Element { return Element{Set: SetID{table.ID, "few"}, Key: Port(port)} }
	base := Ruleset{Tables: []Table{table}, Elements: Elements{few(1): {}}}
	mustCommit(t, w, Diff(Ruleset{}, base))
	const callers, guilty, rounds = 32, 7, 3
	kernel := func(errno unix.Errno) func(fault.Datagram) (fault.Fault, bool) {
		port := publication(guilty)[0].Key
		return func(d fault.Datagram) (f fault.Fault, ok bool) {
			for i, m := range d.Messages {
				if m.Kind == subsystem|unix.NFT_MSG_NEWSETELEM && bytes.Contains(m.Body, port.Bytes()) {
					f.Refusals = append(f.Refusals, fault.Refusal{Message: i, Errno: errno})
				}
			}
			return f, len(f.Refusals) > 0
		}
	}
	for name, c := range map[string]struct {
		inject func(fault.Datagram) (fault.Fault, bool)
		more   []Element // that the guilty one adds
		want   unix.Errno
	}{
		"busy":          {kernel(unix.EBUSY), nil, unix.EBUSY},
		"not permitted": {kernel(unix.EPERM), nil, unix.EPERM},
		"no memory":     {kernel(unix.ENOMEM), nil, unix.ENOMEM},
		"full":          {kernel(unix.ENFILE), nil, unix.ENFILE},
		"really full":   {nil, []Element{few(2)}, unix.ENFILE},
		"really there":  {nil, []Element{few(1)}, unix.EEXIST},
	} {
		for range rounds {
			plan.Arm(1, 1000, func(d fault.Datagram) (fault.Fault, bool) {
				if c.inject == nil {
					return fault.Fault{}, false
				}
				return c.inject(d)
			})
			leader, err := w.turn(t.Context(), nil) // until all wait
			mustFail(t, name, err, nil)
			want := Ruleset{Tables: base.Tables, Elements: Elements{few(1): {}}}
			errs := make([]error, callers)
			var callersDone sync.WaitGroup
			for i := range callers {
				tx := NewTx(table)
				for _, e := range publication(i) {
					tx.Add(e)
					if i != guilty {
						want.Elements[e] = struct{}{}
					}
				}
				if i == guilty {
					for _, e := range c.more {
						tx.Add(e)
					}
				}
				callersDone.Go(func() { errs[i] = w.Commit(context.Background(), tx) })
			}
			for waiting := 0; waiting < callers; {
				w.mu.Lock()
				waiting = len(w.queue)
				w.mu.Unlock()
				runtime.Gosched()
			}
			w.endTurn(leader)
			callersDone.Wait()
			plan.Disarm()
			for i, err := range errs {
				if i == guilty {
					mustFail(t, name+": the guilty one", err, c.want)
				} else if err != nil {
					t.Errorf("%s: caller %d: %v", name, i, err)
				}
			}
			mustBe(t, name, mustObserve(t, w, table.ID), want)
			mustCommit(t, w, Diff(want, base))
		}
	}
}
