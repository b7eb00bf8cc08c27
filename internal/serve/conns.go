package serve

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/caller"
)

// How many connections there can be at a time.
const (
	// maxConns: at most half of them wait. One that does costs a file descriptor and some 20 kB, and up to 200 kB for a header that
	// never ends.
	maxConns = 1024
	// connShare: connections are at most this part of the files that may be open; ports are what takes many.
	connShare = 8
	// workShare: this part, and at most maxWork, is left to the daemon's own work when everything else is taken: an operation
	// opens namespaces and sockets.
	workShare = 8
	maxWork   = 256
	// rootConns are there for root alone when all connections are at work for others.
	rootConns = 64
	// maxRefused is how many connections can wait for the answer that there are too many.
	maxRefused = 64
	// warnInterval is the least time between two lines in the log that say so.
	warnInterval = time.Minute
)

// activity is what a connection is doing, in the order in which they are given up.
type activity int

const (
	// waiting for its client: to send a request, or to take an answer.
	waiting activity = iota
	// lasting: it waits for what may never come, as the next event.
	lasting
	// working on a request: it is not given up.
	working
)

// conn is a connection with a client.
type conn struct {
	*net.UnixConn
	fd    int // the number of its descriptor
	peer  Peer
	table *conns
	// refusal, when not nil, is the answer to whatever is asked.
	refusal error

	// The rest is guarded by table.mu.
	doing activity
	since time.Time
	gone  bool
	idle  bool // a call was answered, and there is no other one yet
}

// conns are the connections of a server, in the order in which nobody may keep others out: when there are as many as can be, a
// new one takes the place of one that only waits, the oldest of the user who has most. Root's have a few places more.
type conns struct {
	log *slog.Logger

	mu      sync.Mutex
	all     map[*conn]struct{}
	users   map[uint32]int
	working int
	refused int
	warned  time.Time
	// emptied is closed when there are no connections any more, while the table is drained; else it is nil.
	emptied chan struct{}
}

func newConns(log *slog.Logger) *conns {
	return &conns{log: log, all: make(map[*conn]struct{}), users: make(map[uint32]int)}
}

// openFiles is how many files the process may have open now: an administrator can change it at any time.
func openFiles() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return connShare * maxConns
	}
	return int(min(l.Cur, 1<<30))
}

// descriptor is the number of the connection's file descriptor.
func descriptor(uc *net.UnixConn) (number int) {
	raw, err := uc.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { number = int(fd) }) // it fails when the connection is closed
	}
	return number
}

// newConn is a connection that is not in the table yet.
func (t *conns) newConn(uc *net.UnixConn) *conn {
	return &conn{UnixConn: uc, fd: descriptor(uc), peer: peerOf(uc), table: t, since: time.Now()}
}

// add takes a connection in, when that many files may be open. A descriptor with a high number tells that nearly all below are taken:
// the kernel gives out the lowest.
func (t *conns) add(c *conn, files int) {
	most := max(1, min(maxConns, files/connShare))
	crowded := c.fd >= files-min(maxWork, files/workShare)
	var old *conn
	defer func() { old.end() }()
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.all) - t.refused; crowded || n-t.working >= (most+1)/2 || n >= most {
		old = t.victim(func(o *conn) bool { return o.peer.UID == c.peer.UID || t.users[o.peer.UID] > t.users[c.peer.UID] })
		switch {
		case old != nil:
			t.warn("too many connections: closing the oldest that waits, of the user who has most", "connections", n, "user", old.peer.UID)
		case n < most && !crowded:
		case !c.peer.trusted() || n >= most+rootConns:
			c.refusal = bridged.Errorf(bridged.ErrUnavailable, "too many requests are under way on %d connections: try again, or raise "+
				"the daemon's limit of open files (LimitNOFILE), which is %d", n, files)
			old = t.oldestRefused()
			t.warn("too many connections: all are at work; a new one is refused", "connections", n, "user", c.peer.UID)
		}
	}
	t.forget(old)
	t.all[c] = struct{}{}
	t.count(c, 1)
	t.users[c.peer.UID]++
	if c.refusal != nil {
		t.refused++
	}
}

// victim is the connection to give up for another, of those that may be: nil when all are at work.
func (t *conns) victim(may func(*conn) bool) *conn {
	var best *conn
	for c := range t.all {
		if c.doing == working || c.refusal != nil || !may(c) {
			continue
		}
		if best == nil || cmp.Or(
			cmp.Compare(t.users[best.peer.UID], t.users[c.peer.UID]),
			cmp.Compare(c.doing, best.doing),
			c.since.Compare(best.since)) < 0 {
			best = c
		}
	}
	return best
}

// oldestRefused is the connection to give up for another that is refused: nil while there are few.
func (t *conns) oldestRefused() (best *conn) {
	if t.refused < maxRefused {
		return nil
	}
	for c := range t.all {
		if c.refusal != nil && (best == nil || c.since.Before(best.since)) {
			best = c
		}
	}
	return best
}

// giveUp closes the connection that is needed least and whose descriptor can be given out again, not c. It reports whether there was
// one.
func (t *conns) giveUp(c *conn) bool {
	files := openFiles()
	var old *conn
	defer func() { old.end() }()
	t.mu.Lock()
	defer t.mu.Unlock()
	old = t.victim(func(o *conn) bool { return o != c && o.fd < files })
	t.forget(old)
	return old != nil
}

// forget takes a connection out; nil is none. The caller holds t.mu, and ends the connection without it.
func (t *conns) forget(c *conn) {
	if c == nil || c.gone {
		return
	}
	c.gone = true
	if delete(t.all, c); len(t.all) == 0 && t.emptied != nil {
		close(t.emptied)
	}
	t.count(c, -1)
	if t.users[c.peer.UID]--; t.users[c.peer.UID] == 0 {
		delete(t.users, c.peer.UID)
	}
	if c.refusal != nil {
		t.refused--
	}
}

// drain ends each connection when what was asked there is answered, and waits for that, at most that long. No more may come. One that
// has not been used yet has the time to be. A client that asks once more is told before it has sent anything, and can go elsewhere: shutdown(2) of
// a unix socket keeps what is in its queue, and lets nothing more in.
func (t *conns) drain(atMost time.Duration) {
	emptied := make(chan struct{})
	t.mu.Lock()
	t.emptied = emptied
	if len(t.all) == 0 {
		close(emptied)
	}
	for c := range t.all {
		if c.idle {
			_ = c.CloseRead() // closed already, maybe
		}
	}
	t.mu.Unlock()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-emptied:
	case <-timer.C:
	}
}

// count adds to the number of connections at work, when c is one. The caller holds t.mu.
func (t *conns) count(c *conn, n int) {
	if c.doing == working && c.refusal == nil {
		t.working += n
	}
}

// warn says in the log, not too often, why somebody is not let in. The caller holds t.mu.
func (t *conns) warn(what string, attributes ...any) {
	if now := time.Now(); now.Sub(t.warned) > warnInterval {
		t.warned = now
		t.log.Warn(what, attributes...)
	}
}

// stuck says that nobody can be let in.
func (t *conns) stuck(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.warn("cannot accept connections now; raise the daemon's limit of open files (LimitNOFILE)", "error", err)
}

// Close ends the connection.
func (c *conn) Close() error {
	c.table.mu.Lock()
	c.table.forget(c)
	c.table.mu.Unlock()
	return c.UnixConn.Close()
}

// end closes a connection that was forgotten; nil is none.
func (c *conn) end() {
	if c != nil {
		_ = c.UnixConn.Close() // there is nothing to lose
	}
}

// does says what the connection does from now on. It is an error when it was given up before: its request must not begin then.
func (c *conn) does(what activity) error {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if c.gone {
		return errGivenUp
	}
	c.table.count(c, -1)
	c.doing, c.since = what, time.Now()
	c.table.count(c, 1)
	return nil
}

// calls says that a call begins: it is as does.
func (c *conn) calls() error {
	c.table.mu.Lock()
	c.idle = false
	c.table.mu.Unlock()
	return c.does(working)
}

// called says that it has been answered.
func (c *conn) called() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if c.idle = true; c.table.emptied != nil {
		_ = c.CloseRead() // see drain
	}
}

// errGivenUp ends a request whose connection was given up for another one. Nobody gets to see it.
var errGivenUp = errors.New("the connection was given up for another one")

type connKey struct{}

// withConn is the [net/http.Server]'s ConnContext: requests know their connection, and whether the client is still there.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return caller.With(context.WithValue(ctx, connKey{}, c), c.(*conn).hungUp)
}

// hungUp reports whether the client has closed its end, or was killed. One that only sends nothing any more has not. The kernel knows before
// net/http does.
func (c *conn) hungUp() bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := true // also when our end is closed
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP needs not be asked for
		_, err := unix.Poll(p, 0)
		gone = err == nil && p[0].Revents&unix.POLLHUP != 0
	})
	return gone
}

// connOf is the connection of a request.
func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }
