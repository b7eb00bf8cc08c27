package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/bridged/bridged"
)

// What bodies may take, all together: each connection can have one of smallBody bytes at any time, a few can have a longer one.
const (
	smallBody   = 16 << 10 // bytes; a request of a sensible size
	defaultBody = 1 << 20  // bytes; the longest, when nobody says otherwise
	largeBodies = 8
)

// bodies limits what the bodies of all requests take.
type bodies struct {
	most     int64         // how long one may be, in bytes
	large    chan struct{} // holds one for each large body
	decoding chan struct{} // holds one for each body that is being decoded, which takes several times as much
}

func newBodies(most int64) bodies {
	return bodies{most: cmp.Or(most, defaultBody), large: make(chan struct{}, largeBodies), decoding: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// Decode waits until one more body may be decoded. Nothing that holds a place waits for anybody.
func (c *Call) Decode() (done func()) {
	c.server.bodies.decoding <- struct{}{}
	return func() { <-c.server.bodies.decoding }
}

// ReadBody reads the whole body within its limits of size and time.
func (c *Call) ReadBody() ([]byte, error) {
	most := c.server.bodies.most
	if c.ContentLength > most {
		return nil, tooLarge(most)
	}
	if err := c.conn.does(waiting); err != nil {
		return nil, err
	}
	connection := http.NewResponseController(c.W)
	renew := func() error { return connection.SetReadDeadline(time.Now().Add(bodyTimeout)) }
	if err := renew(); err != nil {
		return nil, fmt.Errorf("cannot limit the time for the body: %w", err)
	}
	cancel := context.AfterFunc(c.server.stopping, func() {
		_ = connection.SetReadDeadline(time.Now()) // a stop does not wait for bodies
	})
	text, err := c.readAll(http.MaxBytesReader(c.W, c.Body, most), renew)
	cancel()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge(most)
	case err != nil && c.server.stopping.Err() != nil:
		return nil, errStopping()
	case errors.Is(err, bridged.ErrUnavailable):
		return nil, err
	case err != nil:
		return nil, bridged.Errorf(bridged.ErrInvalid, "cannot read the body: %w", err)
	}
	if err := c.conn.does(working); err != nil {
		return nil, err
	}
	// The connection is watched for the client's end from here on: without a deadline, or that would look like its end.
	if err := connection.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("cannot lift the time limit of the body: %w", err)
	}
	c.read = true
	return text, nil
}

func tooLarge(most int64) error {
	return bridged.Errorf(bridged.ErrInvalid, "the body is too large: at most %d bytes are possible", most)
}

// readAll reads a body to its end. What goes beyond a small one waits for its turn, and then has its time anew.
func (c *Call) readAll(body io.Reader, renew func() error) ([]byte, error) {
	if c.ContentLength >= 0 && c.ContentLength < smallBody {
		text := make([]byte, c.ContentLength)
		_, err := io.ReadFull(body, text)
		return text, err
	}
	text, err := io.ReadAll(io.LimitReader(body, smallBody))
	if err != nil || len(text) < smallBody {
		return text, err
	}
	timer := time.NewTimer(bodyTimeout)
	defer timer.Stop()
	select {
	case c.server.bodies.large <- struct{}{}:
		c.large = true
	case <-c.server.stopping.Done():
		return nil, errStopping()
	case <-timer.C:
		return nil, bridged.Errorf(bridged.ErrUnavailable, "%d other requests with a body of more than %d bytes are under way: try again, "+
			"or send less at a time", largeBodies, smallBody)
	}
	if err := renew(); err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(body)
	return append(text, rest...), err
}

// bodyUnread reports whether some of the body is still to come.
func (c *Call) bodyUnread() bool { return c.ContentLength != 0 && !c.read }

// skipTimeout is how long the rest of a body is waited for that nobody wants.
const skipTimeout = time.Second

// SkipBody takes what is still to come of a small body, if it comes soon. A client that is in the middle of sending when the connection ends does
// not get to see why it was refused.
func (c *Call) SkipBody() {
	if !c.bodyUnread() || c.ContentLength < 0 || c.ContentLength > smallBody || c.server.stopping.Err() != nil || c.conn.does(waiting) != nil {
		return
	}
	connection := http.NewResponseController(c.W)
	_ = connection.SetReadDeadline(time.Now().Add(skipTimeout))
	defer context.AfterFunc(c.server.stopping, func() { _ = connection.SetReadDeadline(time.Now()) })()
	_, err := io.Copy(io.Discard, c.Body)
	c.read = err == nil
}
