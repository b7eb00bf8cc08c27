package nft

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
)

// Options are what Dial can be told. The zero value is good.
type Options struct {
	// Protection is "owner+persist", "monitor", or "auto" and "": owner+persist where the kernel has it (Linux 6.9 and later).
	Protection string
	// Socket is that of an earlier Writer, from [Writer.Socket], also of another process: tables that it owns stay owned. Dial makes a
	// descriptor of its own of it, and fails with [ErrUnfitSocket] when it is not an nf_tables socket of this network namespace. nil: a new
	// socket.
	Socket *os.File
	// Refuse makes a kernel with less out of the one that is there, for tests: it is asked about each message before the kernel sees it, and
	// what it gives an error for is refused with that error, as the kernel would: the whole transaction with it. Package nfttest has some to
	// choose from. nil: nothing is refused.
	Refuse func(Message) unix.Errno
	// Fault makes anything go wrong, for tests.
	Fault fault.Inject
	// In runs a function in the network namespace of the sockets: there another one is opened in the place of a socket that died. nil: it
	// stays dead.
	In func(func() error) error
	// Died is called when the writer's socket died, whether or not another one has its place and its tables by now. For a moment at least these
	// were nobody's: Adopt and Observe them. It must not wait for the Writer. nil: nobody wants to know.
	Died func()
}

// The kinds of protection of our tables.
const (
	// ProtectionOwner: nobody else can change the tables. They stay when the writer is closed, and anybody can take them over.
	ProtectionOwner = "owner+persist"
	// ProtectionMonitor: the tables are like everybody's.
	ProtectionMonitor = "monitor"
)

// Writer is the only way to change tables: one netlink socket in one network namespace, open from Dial to Close because the
// tables belong to it, and because closing such a socket waits for a grace period. Its methods are safe for concurrent use. What goes
// wrong with the socket is mended (recover.go).
//
// Transactions that are committed at the same time share one kernel transaction (group commit). There is no goroutine behind
// it: the first caller commits for itself, those who come meanwhile wait, and one of them commits for all that wait.
type Writer struct {
	opts         Options
	protection   string
	transactions atomic.Uint64
	portID       atomic.Uint32 // of the socket that changes are made with
	led          atomic.Uint64 // requests that were committed, or tried
	adopted      atomic.Pointer[generations]

	mu     sync.Mutex // guards what follows, never held during a system call
	busy   bool       // somebody leads
	closed bool
	queue  []*request // in order of arrival
	// first is the request of a leader that did not have to wait, from its turn to the end of that: there is one leader at a time.
	first request

	requests sync.Pool // *request

	// The leader's alone.
	conn  conn
	taken []*request

	reader reader
}

// request is a caller that waits for its turn.
type request struct {
	tx  *Tx // nil: it wants to lead and to commit nothing
	err error
	// wake is sent to once: either with lead set, and the caller leads, or err is its answer.
	wake chan struct{}
	lead bool
}

// Dial opens the sockets in the calling thread's network namespace: a caller that is in another one than its process locks its
// goroutine to the thread. It finds out what the kernel can do, and fails with EPERM without CAP_NET_ADMIN and with
// [ErrNoKernelSupport] without nf_tables, or without the protection that was asked for.
func Dial(opts Options) (*Writer, error) {
	write, err := opts.dialWriter()
	if err != nil {
		return nil, err
	}
	read, err := dialNetlink()
	if err != nil {
		write.close()
		return nil, err
	}
	return newWriter(opts, write, read)
}

// dialWriter opens the socket that the tables belong to.
func (o Options) dialWriter() (*netlinkSocket, error) {
	if o.Socket != nil {
		return inheritNetlink(o.Socket)
	}
	return dialNetlink()
}

// newWriter probes what the sockets can do, and closes them when it is not enough.
func newWriter(opts Options, write, read socket) (*Writer, error) {
	opts.Socket = nil // it is the caller's
	w := &Writer{opts: opts, conn: conn{socket: opts.below(write), seq: rand.Uint32()}, reader: reader{socket: opts.below(read)}}
	w.conn.replace, w.conn.happened = w.replace, w.happened
	w.portID.Store(write.port())
	if err := w.probe(opts.Protection); err != nil {
		w.conn.socket.close()
		w.reader.socket.close()
		return nil, err
	}
	return w, nil
}

// canPersist says whether the kernel has owners and tables that outlive them. A table that does, an earlier writer's most likely, shows it; else it
// is tried, which takes longer than all the rest of a start on an unchanged system.
func (w *Writer) canPersist() (bool, error) {
	listed, err := w.list(context.Background())
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(listed, func(l listedTable) bool { return l.flags&tablePersist != 0 }) {
		return true, nil
	}
	return w.conn.takes(tableOwner | tablePersist)
}

// probe finds out what the kernel can do.
func (w *Writer) probe(protection string) error {
	if _, err := w.generation(context.Background()); err != nil {
		return probeError(err)
	}
	w.protection = ProtectionMonitor
	switch protection {
	case ProtectionMonitor:
		return nil
	case "", "auto", ProtectionOwner:
	default:
		return fmt.Errorf("unknown protection %q: use auto, %s or %s", protection, ProtectionOwner, ProtectionMonitor)
	}
	can, err := w.canPersist()
	switch {
	case err != nil:
		return fmt.Errorf("cannot find out how tables can be protected: %w", err)
	case can:
		w.protection, w.conn.tableFlags = ProtectionOwner, tableOwner|tablePersist
	case protection == ProtectionOwner:
		return w.noProtection()
	}
	return nil
}

// noProtection says what the kernel lacks. The flag owner came first, in Linux 5.12.
func (w *Writer) noProtection() error {
	can, err := w.conn.takes(tableOwner)
	if err != nil {
		return err
	}
	missing := "flags owner and persist"
	if can {
		missing = "flag persist"
	}
	return fmt.Errorf("protection %s: %w: it lacks the nf_tables table %s, which Linux 6.9 has", ProtectionOwner, ErrNoKernelSupport, missing)
}

// Commit changes the kernel: all of tx, or nothing. It returns when the kernel has answered. Errors are of type [*Error], or
// [ErrUnknownOutcome], [ErrClosed], or say what in tx can't be written. When ctx ends while others commit, Commit returns its error and
// nothing has happened; once tx is with the kernel its answer counts.
//
// A commit of elements allocates nothing once a few were made. One that fails takes 8 to 25 ms: the kernel takes a transaction back
// behind a grace period. So callers check what they can before, and don't use failures to find out.
func (w *Writer) Commit(ctx context.Context, tx *Tx) error {
	if tx.Empty() {
		return nil
	}
	r, err := w.turn(ctx, tx)
	if err != nil {
		return err
	}
	if r.lead {
		return w.lead(r)
	}
	return w.release(r)
}

// turn waits until the request leads or has been answered.
func (w *Writer) turn(ctx context.Context, tx *Tx) (*request, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrClosed
	}
	if !w.busy {
		w.busy = true
		w.mu.Unlock()
		w.first.tx, w.first.lead = tx, true
		return &w.first, nil
	}
	r := w.request(tx)
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	select {
	case <-r.wake:
	case <-ctx.Done():
		if w.withdraw(r) {
			w.release(r)
			return nil, ctx.Err()
		}
		<-r.wake
	}
	return r, nil
}

// maxTaken bounds how many requests are committed together.
const maxTaken = 512

// lead commits for the leader r and for all that wait, answers, and ends its turn. It returns r's own answer.
func (w *Writer) lead(r *request) error {
	if r == &w.first { // nobody waited just now
		w.taken = append(w.taken[:0], r)
	} else {
		w.take(r)
	}
	w.led.Add(uint64(len(w.taken)))
	w.conn.commit(w.taken, &w.transactions)
	for _, r := range w.taken {
		if !r.lead {
			r.wake <- struct{}{}
		}
	}
	return w.endTurn(r)
}

// endTurn lets go of the leader's request, and lets the next one lead.
func (w *Writer) endTurn(r *request) error {
	defer w.handOver()
	return w.release(r)
}

// take moves the leader r and those that wait to w.taken, up to one that wants to lead.
func (w *Writer) take(r *request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.queue) && n < maxTaken-1 && w.queue[n].tx != nil {
		n++
	}
	w.taken = append(append(w.taken[:0], r), w.queue[:n]...)
	w.drop(n)
}

// drop removes the first n that wait. It is called with w.mu locked.
func (w *Writer) drop(n int) {
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
}

// handOver ends a leader's turn: the first that waits leads next.
func (w *Writer) handOver() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.busy = false
		return
	}
	next := w.queue[0]
	w.drop(1)
	next.lead = true
	next.wake <- struct{}{}
}

// withdraw takes r out of the queue; false when somebody took it already.
func (w *Writer) withdraw(r *request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range w.queue {
		if q == r {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return true
		}
	}
	return false
}

// request and release keep requests to use them again.
func (w *Writer) request(tx *Tx) *request {
	r, ok := w.requests.Get().(*request)
	if !ok {
		r = &request{wake: make(chan struct{}, 1)}
	}
	r.tx = tx
	return r
}

func (w *Writer) release(r *request) error {
	err := r.err
	r.tx, r.err, r.lead = nil, nil, false
	if r != &w.first {
		w.requests.Put(r)
	}
	return err
}

// Protection is what the tables are protected by: [ProtectionOwner] or [ProtectionMonitor].
func (w *Writer) Protection() string { return w.protection }

// Transactions is the number of kernel transactions that were committed. It is lower than the number of Commit calls when callers
// shared some.
func (w *Writer) Transactions() uint64 { return w.transactions.Load() }

// Close closes the sockets: the tables become orphans that anybody can take over. It waits for the commits that were called before
// it; later ones fail with [ErrClosed]. It can take a grace period, tens of milliseconds.
func (w *Writer) Close() error {
	r, err := w.turn(context.Background(), nil)
	if err != nil {
		return nil
	}
	w.mu.Lock()
	w.closed = true
	waiting := w.queue
	w.queue = nil
	w.mu.Unlock()
	for _, q := range waiting {
		q.err = ErrClosed
		q.wake <- struct{}{}
	}
	err = w.conn.socket.close()
	if e := w.reader.close(); err == nil {
		err = e
	}
	w.endTurn(r)
	return err
}
