package api

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

// What a client may cost us. A request is a header, then at most maxBody bytes, then an answer; each part has its time,
// so that a slow client holds one connection and nothing else. What the daemon does in between has no limit. See conns for
// how many clients there can be, and body for what they may send at a time.
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

// Options are what a Server can be told. The zero value is usable.
type Options struct {
	// Log gets the server's own failures; nil: nobody does.
	Log *slog.Logger
}

// Server answers HTTP requests by asking an engine.
type Server struct {
	engine Engine
	routes []route
	log    *slog.Logger
	conns  *conns
	bodies bodies

	// stopping is done when Serve begins to stop.
	stopping  context.Context
	beginStop context.CancelFunc
	// active is held for reading by each request under way.
	active sync.RWMutex
}

// New makes a server of the engine.
func New(engine Engine, opts Options) *Server {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	stopping, beginStop := context.WithCancel(context.Background())
	return &Server{
		engine: engine, routes: routes(), log: log, conns: newConns(log), bodies: newBodies(),
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
	stopped := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop(server, l)
	})
	err := server.Serve(newAcceptor(l, s.conns))
	if cancel() { // ctx is not done: the listener failed
		s.stop(server, l)
		return fmt.Errorf("cannot serve at %s: %w", l.Addr(), err)
	}
	<-stopped
	return nil
}

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

// serveHTTP finds the route and answers as it says.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	s.active.RLock()
	defer s.active.RUnlock()
	// The limit of the connection's last answer is not this one's.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	c := &call{Request: r, w: w, conn: connOf(r.Context()), server: s}
	defer c.end()
	defer s.recoverPanic(c)
	rt, params, err := findRoute(s.routes, r)
	if err == nil {
		if c.docker = rt.docker; c.docker {
			setDockerHeaders(w.Header())
		}
		for name, value := range params {
			r.SetPathValue(name, value)
		}
		err = s.admit(rt, c)
	}
	var body any
	switch {
	case err == nil:
		body, err = rt.serve(s, c)
		if rt.conflict != 0 && errors.Is(err, bridged.ErrConflict) {
			err = &httpError{error: err, status: rt.conflict}
		}
	case c.conn.refusal == nil:
		c.skipBody()
	}
	switch {
	case errors.Is(err, errGivenUp):
		panic(http.ErrAbortHandler) // nobody is there to be told
	case err != nil:
		s.fail(c, err)
	default:
		s.answer(c, rt.status, body)
	}
}

// admit lets a request through to its handler, when it is allowed to and can be done. From then on a change is made whether its client
// waits for it or not.
func (s *Server) admit(rt *route, c *call) error {
	if err := c.conn.does(working); err != nil {
		return err
	}
	switch {
	case c.conn.refusal != nil:
		return c.conn.refusal
	case s.stopping.Err() != nil:
		return errStopping()
	}
	if rt.docker {
		if err := checkVersion(c.URL.EscapedPath()); err != nil {
			return err
		}
	}
	if err := rt.checkQuery(c.Request); err != nil {
		return err
	}
	if !rt.change {
		return nil
	}
	if err := c.conn.peer.mayChange(); err != nil {
		return err
	}
	if err := s.awaitReady(c); err != nil {
		return err
	}
	c.Request = c.WithContext(context.WithoutCancel(c.Context()))
	return nil
}

// awaitReady waits for the engine's first reconcile.
func (s *Server) awaitReady(c *call) error {
	select {
	case <-s.engine.Ready():
		return nil
	default:
	}
	if err := c.conn.does(lasting); err != nil {
		return err
	}
	select {
	case <-s.engine.Ready():
		return c.conn.does(working)
	case <-s.stopping.Done():
		return errStopping()
	case <-c.Context().Done():
		return bridged.Errorf(bridged.ErrUnavailable, "the daemon was not ready before the request ended: %w", c.Context().Err())
	}
}

func errStopping() error { return bridged.Errorf(bridged.ErrUnavailable, "the daemon is stopping") }

// recoverPanic answers 500 for a handler that panicked: one request's fault is not the others'.
func (s *Server) recoverPanic(c *call) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	s.log.Error("a request's handler panicked", "method", c.Method, "path", c.URL.Path, "panic", cause, "stack", string(debug.Stack()))
	s.fail(c, errors.New("internal error: the daemon's log has the details"))
}
