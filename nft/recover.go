package nft

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/fault"
)

// What goes wrong with sockets is mended below Commit and Observe, as far as it can be:
//
//	a socket died                      another takes its place, and the tables, which are nobody's by then
//	an answer was lost                 the tables are observed: the transaction happened, or it is sent again
//	the kernel wants the batch again   (ERESTART) it is sent again
//
// attempts is how often something is tried that fails so.
const attempts = 3

// deadSocket is in the place of one that died while there is no other.
type deadSocket struct{}

func (deadSocket) send([]byte) error           { return unix.ENOTCONN }
func (deadSocket) receive([]byte) (int, error) { return 0, unix.ENOTCONN }
func (deadSocket) port() uint32                { return 0 }
func (deadSocket) duplicate() (int, error)     { return -1, unix.ENOTCONN }
func (deadSocket) close() error                { return nil }

// tableIDs is a set of tables. It is safe for concurrent use.
type tableIDs struct {
	mu  sync.Mutex
	ids map[TableID]struct{}
}

// follow notes which tables are the writer's after transactions.
func (t *tableIDs) follow(rs []*request) {
	for _, r := range rs {
		if r.err != nil {
			continue // it is not in the batch
		}
		for i := range r.tx.ops {
			switch o := &r.tx.ops[i]; o.kind {
			case addTable, takeTable:
				t.add(o.table.ID)
			case deleteTable:
				t.remove(o.table.ID)
			}
		}
	}
}

// made notes the tables that transactions make or take.
func (t *tableIDs) made(rs []*request) {
	for _, r := range rs {
		for i := range r.tx.ops {
			if o := &r.tx.ops[i]; o.kind == addTable || o.kind == takeTable {
				t.add(o.table.ID)
			}
		}
	}
}

func (t *tableIDs) remove(id TableID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ids, id)
}

func (t *tableIDs) add(id TableID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ids == nil {
		t.ids = make(map[TableID]struct{})
	}
	t.ids[id] = struct{}{}
}

func (t *tableIDs) has(id TableID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.ids[id]
	return ok
}

// sendsAgain is nil when a batch that the socket did not take is to be sent again, else why not.
func (c *conn) sendsAgain(err error, try int) error {
	switch {
	case errors.Is(err, unix.EINTR) && try < restarts:
		return nil
	case fault.Dead(err) && c.replace != nil && try < attempts:
		if e := c.replace(err); e != nil && e != err {
			return fmt.Errorf("%w; cannot open another socket: %w", err, e)
		} else if e == nil {
			return nil
		}
	}
	return err
}

// unanswered is the error of a transaction that happened or did not.
type unanswered struct {
	error // wraps ErrUnknownOutcome and cause
	cause error
}

func (e *unanswered) Unwrap() error { return e.error }

func lostAnswer(cause error) error {
	return &unanswered{fmt.Errorf("%w: %w", ErrUnknownOutcome, cause), cause}
}

// find finds out what became of transactions whose answer was lost: all of them happened, or none, which then are committed again.
func (c *conn) find(rs []*request, err error, committed *atomic.Uint64) {
	var answer *unanswered
	errors.As(err, &answer)
	rs = slices.DeleteFunc(slices.Clone(rs), func(r *request) bool { return r.err != nil }) // they are not in the batch
	tables := c.batch.tables()
	happened, err := c.outcome(rs, answer)
	c.lost++
	switch {
	case err == nil && happened:
		c.lost = 0
		committed.Add(1)
		c.owned.follow(rs)
		return
	case err == nil && c.lost < attempts:
		c.again(rs, committed)
		return
	case err == nil:
		err = fmt.Errorf("the kernel did not do it, nor answer, %d times: %w", c.lost, answer.cause)
	}
	c.lost = 0
	for _, r := range rs {
		r.fail(fmt.Errorf("cannot change %s: %w", tables, err))
	}
}

// outcome observes.
func (c *conn) outcome(rs []*request, answer *unanswered) (happened bool, err error) {
	if c.happened == nil {
		return false, answer
	}
	if fault.Dead(answer.cause) && c.replace != nil {
		c.owned.made(rs)            // perhaps: then they are orphans now, too
		_ = c.replace(answer.cause) // the next use of the socket meets the error again
	}
	if happened, err = c.happened(rs); err != nil {
		return false, fmt.Errorf("%w; %w", answer, err)
	}
	return happened, nil
}

// replace opens another socket in the place of one that died of cause, and takes the tables over: they became nobody's with the old one.
// It is called by the leader.
func (w *Writer) replace(cause error) error {
	if !fault.Gone(cause) {
		w.conn.socket.close() // before, the tables are the old one's
	}
	w.conn.socket = deadSocket{}
	if w.opts.Died != nil {
		defer w.opts.Died()
	}
	if w.opts.In == nil {
		return cause
	}
	var s *netlinkSocket
	err := w.opts.In(func() (err error) { s, err = dialNetlink(); return err })
	if err != nil {
		return err
	}
	next := &conn{socket: w.opts.below(s), tableFlags: w.conn.tableFlags, seq: rand.Uint32()}
	w.portID.Store(s.port())
	if err := w.takeOrphans(next); err != nil {
		next.socket.close()
		return err
	}
	w.conn.socket = next.socket
	return nil
}

// takeOrphans makes the tables that were the writer's those of its next socket.
func (w *Writer) takeOrphans(next *conn) error {
	if w.protection != ProtectionOwner {
		return nil
	}
	listed, err := w.list(context.Background())
	if err != nil {
		return err
	}
	listed = slices.DeleteFunc(listed, func(l listedTable) bool { return !w.conn.owned.has(l.id) })
	tx, err := w.adoption(listed)
	if err != nil || tx.Empty() {
		return err
	}
	r := &request{tx: tx}
	next.commit([]*request{r}, &w.transactions)
	return r.err
}

// happened says whether the kernel holds what the transactions lead to, one after the other. The caller leads.
func (w *Writer) happened(rs []*request) (bool, error) {
	var ids []TableID
	for _, r := range rs {
		ids = r.tx.touched(ids)
	}
	var i *Inventory
	err := errChanged
	for try := 0; errors.Is(err, errChanged) && try < heldAttempts; try++ {
		i, err = w.observe(context.Background(), ids)
	}
	if err != nil {
		return false, err
	}
	now := i.Ruleset()
	return now.resultOf(rs), nil
}

// touched appends the tables that a transaction is about.
func (tx *Tx) touched(ids []TableID) []TableID {
	add := func(id TableID) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for i := range tx.del {
		add(tx.del[i].id.Table)
	}
	for i := range tx.ops {
		add(tx.ops[i].table.ID)
	}
	for i := range tx.add {
		add(tx.add[i].id.Table)
	}
	return ids
}

// resultOf says whether a ruleset is what the transactions lead to, as far as they say. Of transactions that say nothing (the taking of a table) it is
// false: they may be sent again.
func (r *Ruleset) resultOf(rs []*request) bool {
	tables := make(map[TableID]*Table)    // nil: it is gone
	elements := make(map[Element]Element) // by key; the zero Element: it is gone
	for _, q := range rs {
		for i := range q.tx.del {
			for _, e := range q.tx.del[i].elements {
				elements[e.key()] = Element{}
			}
		}
		for i := range q.tx.ops {
			switch o := &q.tx.ops[i]; o.kind {
			case deleteTable:
				tables[o.table.ID] = nil
			case addTable, deleteRules:
				tables[o.table.ID] = o.table
			}
		}
		for i := range q.tx.add {
			for _, e := range q.tx.add[i].elements {
				elements[e.key()] = e
			}
		}
	}
	for id, want := range tables {
		if have := findTable(r.Tables, id); (have == nil) != (want == nil) || want != nil && !have.equal(want) {
			return false
		}
	}
	have := make(map[Element]Element, len(elements))
	for e := range r.Elements {
		if _, ok := elements[e.key()]; ok {
			have[e.key()] = e
		}
	}
	for key, want := range elements {
		if have[key] != want {
			return false
		}
	}
	return len(tables)+len(elements) > 0
}

// brokenError is that of the reader's socket, not the kernel's answer to a question.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// reading locks the reader for f. When its socket fails, f is called again.
func (w *Writer) reading(f func() error) error {
	w.reader.mu.Lock()
	defer w.reader.mu.Unlock()
	for try := 1; ; try++ {
		err := f()
		var broken *brokenError
		if try == attempts || !errors.As(err, &broken) || !w.mendReader(broken.error) {
			return err
		}
	}
}

// mendReader empties the reader's socket, or opens another one. The caller has locked it.
func (w *Writer) mendReader(cause error) bool {
	if !fault.Dead(cause) {
		w.reader.drain()
		return true
	}
	if w.opts.In == nil {
		return false
	}
	if !fault.Gone(cause) {
		w.reader.socket.close()
	}
	w.reader.socket = deadSocket{}
	return w.opts.In(func() error {
		s, err := dialNetlink()
		if err == nil {
			w.reader.socket = w.opts.below(s)
		}
		return err
	}) == nil
}

// drain throws away what is left of answers: a list that nobody reads to its end keeps the kernel from sending another one.
func (r *reader) drain() {
	for lost := 0; lost < attempts; {
		if _, err := r.socket.receive(r.buf[:]); err != nil {
			lost++
		}
	}
}
