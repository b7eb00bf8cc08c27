package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

var testSet = SetID{TableID{Inet, "t"}, "s"}

// adding and deleting are transactions on testSet.
func adding(keys ...string) *Tx   { return changing((*Tx).Add, keys) }
func deleting(keys ...string) *Tx { return changing((*Tx).Delete, keys) }

func changing(change func(*Tx, Element), keys []string) *Tx {
	tx := NewTx()
	for _, k := range keys {
		change(tx, Element{Set: testSet, Key: Raw([]byte(k))})
	}
	return tx
}

func fakeWriter(k *fakeKernel) *Writer {
	return &Writer{conn: conn{socket: k, tableFlags: tableOwner | tablePersist}, reader: reader{socket: newFakeKernel()}, protection: ProtectionOwner}
}

// together commits transactions as one group and returns their answers.
func together(w *Writer, txs ...*Tx) []error {
	rs := make([]*request, len(txs))
	for i, tx := range txs {
		rs[i] = &request{tx: tx}
	}
	w.conn.commit(rs, &w.transactions)
	errs := make([]error, len(rs))
	for i, r := range rs {
		errs[i] = r.err
	}
	return errs
}

func mustHave(t *testing.T, k *fakeKernel, keys string) {
	t.Helper()
	if got := strings.Join(k.has("s"), " "); got != keys {
		t.Errorf("the set has %q, want %q", got, keys)
	}
}

func mustFail(t *testing.T, what string, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestCommitTogetherIsOneTransaction(t *testing.T) {
	k := newFakeKernel()
	w := fakeWriter(k)
	for i, err := range together(w, adding("a"), adding("b", "c"), adding("d")) {
		mustFail(t, fmt.Sprint(i), err, nil)
	}
	mustHave(t, k, "a b c d")
	if w.Transactions() != 1 || k.commits != 1 {
		t.Errorf("%d transactions, %d in the kernel", w.Transactions(), k.commits)
	}
}

func TestGuiltyOneOfThree(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EBUSY, unix.EPERM, unix.ENFILE, unix.EINVAL} {
		k := newFakeKernel()
		k.refuse = func(c fakeChange) unix.Errno {
			if c.element == "s/bad" {
				return errno
			}
			return 0
		}
		w := fakeWriter(k)
		errs := together(w, adding("a"), adding("b", "bad", "c"), adding("d"))
		mustFail(t, "first", errs[0], nil)
		mustFail(t, "guilty", errs[1], errno)
		mustFail(t, "third", errs[2], nil)
		mustHave(t, k, "a d")
		var e *Error
		if !errors.As(errs[1], &e) || e.Op != "add element" || e.Table != testSet.Table || e.Object != "s" {
			t.Errorf("%#v", errs[1])
		}
		if owned := errors.Is(errs[1], ErrOwned); owned != (errno == unix.EPERM) {
			t.Errorf("%v: owned by another: %v", errno, owned)
		}
	}
}

// A transaction that fails only because of what a guilty one would have done is good.
func TestVictimOfTheGuilty(t *testing.T) {
	k := newFakeKernel()
	w := fakeWriter(k)
	together(w, adding("here"))
	errs := together(w, adding("a", "here"), adding("a"), adding("b"), deleting("here"), adding("here"))
	mustFail(t, "guilty", errs[0], unix.EEXIST)
	mustFail(t, "victim", errs[1], nil)
	mustFail(t, "neighbour", errs[2], nil)
	mustFail(t, "delete", errs[3], nil)
	mustFail(t, "add what was deleted", errs[4], nil)
	mustHave(t, k, "a b here")
}

func TestSetFull(t *testing.T) {
	k := newFakeKernel()
	k.size = 2
	w := fakeWriter(k)
	errs := together(w, adding("a"), adding("b", "c"), adding("d"))
	mustFail(t, "first", errs[0], nil)
	mustFail(t, "too many", errs[1], unix.ENFILE)
	mustFail(t, "third", errs[2], nil)
	mustHave(t, k, "a d")
}

func TestWhatCannotBeWrittenFailsAlone(t *testing.T) {
	k := newFakeKernel()
	w := fakeWriter(k)
	interval := NewTx()
	interval.Add(Element{Set: testSet, Key: Raw([]byte("x")), End: Raw([]byte("y"))})
	errs := together(w, adding("a"), interval, adding("b"))
	mustFail(t, "first", errs[0], nil)
	mustFail(t, "interval", errs[1], errUnknownSet)
	mustFail(t, "third", errs[2], nil)
	mustHave(t, k, "a b")
}

func TestRestart(t *testing.T) {
	k := newFakeKernel()
	k.whole = []unix.Errno{unix.ERESTART, unix.ERESTART}
	w := fakeWriter(k)
	mustFail(t, "commit", w.Commit(t.Context(), adding("a")), nil)
	mustHave(t, k, "a")
	for range 2 * restarts {
		k.whole = append(k.whole, unix.ERESTART)
	}
	mustFail(t, "endless", w.Commit(t.Context(), adding("b")), unix.ERESTART)
}

func TestUnknownOutcome(t *testing.T) {
	for name, k := range map[string]*fakeKernel{
		"answer lost": {recvErrs: []error{unix.ENOBUFS, unix.EAGAIN}},
		"no answer":   {mute: true},
		"broken":      {recvErrs: []error{unix.EIO}},
	} {
		k.elements = make(map[string]bool)
		w := fakeWriter(k)
		for _, err := range together(w, adding("a"), adding("b")) {
			mustFail(t, name, err, ErrUnknownOutcome)
		}
		k.mute, k.elements = false, make(map[string]bool)
		mustFail(t, name+": the next one", w.Commit(t.Context(), adding("c")), nil)
	}
}

// When some errors were lost, it is still known that nothing happened.
func TestLostErrors(t *testing.T) {
	k := newFakeKernel()
	w := fakeWriter(k)
	together(w, adding("here"))
	k.recvErrs = []error{unix.ENOBUFS, unix.EINTR}
	errs := together(w, adding("here"), adding("b"))
	mustFail(t, "guilty", errs[0], unix.EEXIST)
	mustFail(t, "neighbour", errs[1], nil)
	mustHave(t, k, "b here")
}

func TestTooLongForTheSocket(t *testing.T) {
	k := newFakeKernel()
	k.sendErr = func(batch []byte) error {
		if len(batch) > 300 {
			return unix.EMSGSIZE
		}
		return nil
	}
	long := make([]string, 20)
	for i := range long {
		long[i] = fmt.Sprint("long", i)
	}
	w := fakeWriter(k)
	errs := together(w, adding("a"), adding(long...), adding("b"))
	mustFail(t, "first", errs[0], nil)
	mustFail(t, "long", errs[1], unix.EMSGSIZE)
	mustFail(t, "third", errs[2], nil)
	mustHave(t, k, "a b")
}

func TestDialErrors(t *testing.T) {
	for _, c := range []struct {
		errno unix.Errno
		want  error
		text  string
	}{
		{unix.EPERM, unix.EPERM, "cannot use nf_tables: operation not permitted: no CAP_NET_ADMIN in this network namespace"},
		{unix.EINVAL, ErrNoKernelSupport, "the kernel has no nf_tables (CONFIG_NF_TABLES)"},
		{unix.EOPNOTSUPP, ErrNoKernelSupport, "the kernel has no nf_tables (CONFIG_NF_TABLES)"},
		{unix.EPROTONOSUPPORT, ErrNoKernelSupport, "the kernel has no nf_tables (CONFIG_NF_TABLES)"},
	} {
		read := newFakeKernel()
		read.whole = []unix.Errno{c.errno}
		_, err := newWriter(Options{}, newFakeKernel(), read)
		mustFail(t, c.errno.Error(), err, c.want)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v", c.errno, err)
		}
	}
}

// protectionKernel answers the questions of Dial as a kernel that takes the flags owner and persist, or not.
func protectionKernel(takes bool) (write, read *fakeKernel) {
	write, read = newFakeKernel(), newFakeKernel()
	write.refuse = func(c fakeChange) unix.Errno {
		switch {
		case c.typ == unix.NFT_MSG_DELTABLE:
			return unix.ENOENT
		case !takes:
			return unix.EOPNOTSUPP
		}
		return 0
	}
	return write, read
}

func TestProtection(t *testing.T) {
	for _, c := range []struct {
		asked string
		takes bool
		got   string
		err   error
	}{
		{"", true, ProtectionOwner, nil},
		{"auto", true, ProtectionOwner, nil},
		{"auto", false, ProtectionMonitor, nil},
		{ProtectionOwner, true, ProtectionOwner, nil},
		{ProtectionOwner, false, "", ErrNoKernelSupport},
		{ProtectionMonitor, true, ProtectionMonitor, nil},
	} {
		write, read := protectionKernel(c.takes)
		w, err := newWriter(Options{Protection: c.asked}, write, read)
		mustFail(t, c.asked, err, c.err)
		if err == nil && w.Protection() != c.got {
			t.Errorf("%q: %q, want %q", c.asked, w.Protection(), c.got)
		}
		if write.commits != 0 {
			t.Errorf("%q: the probe changed something", c.asked)
		}
	}
	// A table that has the flag is proof enough, and one without is none.
	for _, c := range []struct {
		flags []uint32
		got   string
	}{{[]uint32{0, tablePersist}, ProtectionOwner}, {[]uint32{0, tableOwner}, ProtectionMonitor}} {
		write, read := protectionKernel(false)
		read.flags = c.flags
		w, err := newWriter(Options{}, write, read)
		mustFail(t, c.got, err, nil)
		if w.Protection() != c.got {
			t.Errorf("beside tables with the flags %v: %q, want %q", c.flags, w.Protection(), c.got)
		}
	}
	write, read := protectionKernel(true)
	if _, err := newWriter(Options{Protection: "owner"}, write, read); err == nil || !strings.Contains(err.Error(), `"owner"`) {
		t.Errorf("an unknown protection: %v", err)
	}
}

func TestCommitFromMany(t *testing.T) {
	k := newFakeKernel()
	w := fakeWriter(k)
	const callers, rounds = 16, 50
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			own, shared := fmt.Sprint("own", i), "shared"
			for range rounds {
				if err := w.Commit(t.Context(), adding(own)); err != nil {
					t.Error(err)
				}
				// Of those who add it at one time, one can.
				switch err := w.Commit(t.Context(), adding(own+"x", shared)); {
				case err == nil:
					mustFail(t, "delete", w.Commit(t.Context(), deleting(own+"x", shared)), nil)
				case !errors.Is(err, unix.EEXIST):
					t.Error(err)
				}
				if err := w.Commit(t.Context(), deleting(own)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	mustHave(t, k, "")
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	w := fakeWriter(newFakeKernel())
	leader, err := w.turn(t.Context(), nil)
	mustFail(t, "lead", err, nil)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- w.Commit(ctx, adding("a")) }()
	cancel()
	mustFail(t, "cancelled", <-answer, context.Canceled)
	w.endTurn(leader)
	mustFail(t, "the next", w.Commit(t.Context(), adding("b")), nil)
	mustHave(t, w.conn.socket.(*fakeKernel), "b")
}

func TestClosed(t *testing.T) {
	w := fakeWriter(newFakeKernel())
	mustFail(t, "close", w.Close(), nil)
	mustFail(t, "close again", w.Close(), nil)
	mustFail(t, "commit", w.Commit(t.Context(), adding("a")), ErrClosed)
	_, err := w.Observe(t.Context())
	mustFail(t, "observe", err, ErrClosed)
	mustFail(t, "adopt", w.Adopt(t.Context(), nil), ErrClosed)
}

func TestCommitOfElementsDoesNotAllocate(t *testing.T) {
	w := &Writer{conn: conn{socket: &acknowledging{}}}
	tx := NewTx()
	e := Element{Set: testSet, Key: Raw([]byte("a"))}
	allocs := testing.AllocsPerRun(100, func() {
		tx.Reset()
		tx.Add(e)
		tx.Delete(e)
		if err := w.Commit(context.Background(), tx); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
