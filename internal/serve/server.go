// Package serve answers HTTP requests on a unix socket within limits, whoever asks: of connections, of bodies, and of time. What is served is the
// caller's: a [Handler].
//
//	Listen ─► accept ─► connection ─► Call ─► Handler
//	          (conns: who is let in, and who is given up for whom)
//
// A request is a header, a body and an answer; each part has its time, so that a slow client holds one connection and nothing else. What is done
// in between has no limit.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/bridged/bridged"
)

// What a client may cost us. See conns for how many clients there can be, and body for what they may send at a time.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second
	lastTimeout   = time.Second // for an answer while the server stops
	idleTimeout   = 2 * time.Minute
	maxHeader     = 8 << 10 // bytes; it may take several times as much in memory
	// stopTimeout is how long a stop waits for the requests that are under way.
	stopTimeout = 10 * time.Second
	// endTimeout is how long it waits then for the ends of streams, which net/http writes when their handlers have returned.
	endTimeout = 100 * time.Millisecond
)

// Handler answers calls.
type Handler interface {
	// Serve answers a call, or returns why it can't be.
	Serve(*Call) error
	// Fail answers a call with an error: that of Serve, or why it was not let through to it.
	Fail(*Call, error)
}

// Options are what a Server can be told. The zero value is usable.
type Options struct {
	// Log gets the server's own failures; nil: nobody does.
	Log *slog.Logger
	// MaxBody is the length of the longest body, in bytes; 0: 1 MiB.
	MaxBody int64
	// Drain: a stop first answers what was asked before, for clients that can't ask again. What is asked then waits in the socket's queue, where
	// somebody holds the socket for the next server.
	Drain bool
}

// Server answers HTTP requests on a unix socket.
type Server struct {
	handler Handler
	log     *slog.Logger
	conns   *conns
	bodies  bodies
	drain   bool

	// stopping is done when Serve begins to stop.
	stopping  context.Context
	beginStop context.CancelFunc
	// active is held for reading by each request under way.
	active sync.RWMutex
}

// New makes a server whose calls h answers.
func New(h Handler, opts Options) *Server {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stopping, beginStop := context.WithCancel(context.Background())
	return &Server{
		handler: h, log: log, conns: newConns(log), bodies: newBodies(opts.MaxBody), drain: opts.Drain,
		stopping: stopping, beginStop: beginStop,
	}
}

// Serve answers requests that come in at l until ctx is done, then lets those under way finish, closes l and returns nil.
// Each connection of l must be a unix socket's. It can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// It would read bodies without a limit of time.
		DisableGeneralOptionsHandler: true,
	}
	stopped, closed := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		if s.drain {
			_ = l.Close()
			<-closed
			s.conns.drain(lastTimeout)
		}
		s.stop(server, l)
	})
	err := server.Serve(newAcceptor(l, s.conns))
	close(closed)
	if cancel() { // ctx is not done: the listener failed
		s.stop(server, l)
		return fmt.Errorf("cannot serve at %s: %w", l.Addr(), err)
	}
	<-stopped
	return nil
}

// Stopping is done when the server begins to stop.
func (s *Server) Stopping() context.Context { return s.stopping }

// stop lets nobody in any more, waits for the requests under way, and drops all connections. [http.Server.Shutdown] would
// wait for clients too that have sent half a request or nothing.
func (s *Server) stop(server *http.Server, l net.Listener) {
	s.beginStop()
	_ = l.Close() // closed already where it has failed
	done := make(chan struct{})
	go func() {
		s.active.Lock()
		defer s.active.Unlock()
		close(done)
	}()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.log.Warn("requests are cut off by the stop", "after", stopTimeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_ = server.Shutdown(ctx)
	_ = server.Close() // what it says is about the listener
}

// serveHTTP has a request answered.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	s.active.RLock()
	defer s.active.RUnlock()
	// The limit of the connection's last answer is not this one's.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	c := &Call{Request: r, W: w, conn: connOf(r.Context()), server: s}
	defer c.end()
	defer s.recoverPanic(c)
	err := c.begin()
	if err == nil {
		err = s.handler.Serve(c)
	}
	switch {
	case err == nil:
		return
	case errors.Is(err, errGivenUp):
		panic(http.ErrAbortHandler) // nobody is there to be told
	case c.conn.refusal == nil:
		c.SkipBody()
	}
	if noDescriptor(err) && bridged.Code(err) != "unavailable" {
		err = bridged.Errorf(bridged.ErrUnavailable, "%v: the daemon can open no more files now; raise its limit (LimitNOFILE)", err)
	}
	s.handler.Fail(c, err)
}

func errStopping() error { return bridged.Errorf(bridged.ErrUnavailable, "the daemon is stopping") }

// recoverPanic answers for a handler that panicked: one request's fault is not the others'.
func (s *Server) recoverPanic(c *Call) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	s.log.Error("a request's handler panicked", "method", c.Method, "path", c.URL.Path, "panic", cause, "stack", string(debug.Stack()))
	s.handler.Fail(c, errors.New("internal error: the daemon's log has the details"))
}
