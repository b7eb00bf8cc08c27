package serve

import (
	"context"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/bridged/bridged"
)

// Call is a request on its way through a handler.
type Call struct {
	*http.Request
	// W takes the headers of the answer.
	W http.ResponseWriter

	conn   *conn
	server *Server
	// read: the body was, and is complete. large: it takes one of the places for large ones.
	read, large bool
	// ends are called when the call has been answered.
	ends []func()
}

// Peer is who asks.
func (c *Call) Peer() Peer { return c.conn.peer }

// Stopping is done when the server begins to stop.
func (c *Call) Stopping() context.Context { return c.server.stopping }

// begin lets a call through to the handler, unless there are too many.
func (c *Call) begin() error {
	if err := c.conn.calls(); err != nil {
		return err
	}
	if c.conn.refusal == nil && c.server.stopping.Err() != nil {
		return errStopping()
	}
	return c.conn.refusal
}

// Wait says that the call waits for what may never come: others may be let in at its cost. After an error, which is not for its client, nothing
// must be done any more.
func (c *Call) Wait() error { return c.conn.does(lasting) }

// Await waits until the channel is closed, and what it says is so.
func (c *Call) Await(ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	default:
	}
	if err := c.Wait(); err != nil {
		return err
	}
	select {
	case <-ready:
		return c.conn.does(working)
	case <-c.server.stopping.Done():
		return errStopping()
	case <-c.Context().Done():
		return bridged.Errorf(bridged.ErrUnavailable, "the daemon was not ready before the request ended: %w", c.Context().Err())
	}
}

// Detach goes on with the call whether its client waits for the answer or not.
func (c *Call) Detach() { c.Request = c.WithContext(context.WithoutCancel(c.Context())) }

// AtEnd has f called when the call has been answered.
func (c *Call) AtEnd(f func()) { c.ends = append(c.ends, f) }

// Answer sends the whole answer; a nil text is none.
func (c *Call) Answer(status int, text []byte) {
	if text != nil {
		c.W.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	if c.bodyUnread() {
		c.W.Header().Set("Connection", "close") // or the body would have to come before the answer can go
	}
	// An error from here on means that nobody listens any more. The answer is out when the request counts as done.
	if c.conn.does(waiting) != nil {
		return
	}
	connection := http.NewResponseController(c.W)
	_ = connection.SetWriteDeadline(time.Now().Add(answerTimeout))
	defer context.AfterFunc(c.server.stopping, func() {
		_ = connection.SetWriteDeadline(time.Now().Add(lastTimeout)) // a stop does not wait long for slow readers
	})()
	c.W.WriteHeader(status)
	_, _ = c.W.Write(text)
	_ = connection.Flush()
}

// Stream sends an answer piece by piece, for as long as there are pieces and somebody who takes them. While it waits for one it costs the
// server nothing but the connection.
func (c *Call) Stream(status int, pieces iter.Seq[[]byte]) {
	if c.Wait() != nil {
		return
	}
	connection := http.NewResponseController(c.W)
	limit := func(d time.Duration) { _ = connection.SetWriteDeadline(time.Now().Add(d)) }
	defer context.AfterFunc(c.server.stopping, func() { limit(lastTimeout) })()
	c.W.WriteHeader(status)
	limit(answerTimeout)
	if connection.Flush() != nil || c.Method == http.MethodHead {
		return
	}
	for piece := range pieces {
		if c.server.stopping.Err() != nil {
			break
		}
		limit(answerTimeout)
		if _, err := c.W.Write(piece); err != nil || connection.Flush() != nil {
			return // nobody listens any more
		}
	}
	limit(lastTimeout) // for the end, which may come long after the last piece
}

// end gives back what the call has taken.
func (c *Call) end() {
	for _, f := range c.ends {
		f()
	}
	if c.large {
		<-c.server.bodies.large
	}
	if c.bodyUnread() {
		// net/http waits for the rest, to use the connection again. It is told that the time is over.
		_ = http.NewResponseController(c.W).SetReadDeadline(time.Now())
	}
	c.conn.called()
}
