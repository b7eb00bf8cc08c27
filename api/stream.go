package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"
)

// stream is an answer that comes piece by piece, each a line of JSON, for as long as there are pieces and somebody who takes them. While
// it waits for one it costs the server nothing but the connection.
type stream iter.Seq[any]

// send sends a stream.
func (s *Server) send(c *call, status int, pieces stream) {
	if c.conn.does(lasting) != nil {
		return
	}
	connection := http.NewResponseController(c.w)
	limit := func(d time.Duration) { _ = connection.SetWriteDeadline(time.Now().Add(d)) }
	defer context.AfterFunc(s.stopping, func() { limit(lastTimeout) })()
	kind := "application/x-ndjson"
	if c.docker {
		kind = "application/json" // as its events are sent, although they are lines
	}
	c.w.Header().Set("Content-Type", kind)
	c.w.WriteHeader(status)
	limit(answerTimeout)
	if connection.Flush() != nil || c.Method == http.MethodHead {
		return
	}
	enc := json.NewEncoder(c.w)
	enc.SetEscapeHTML(false)
	for piece := range pieces {
		if s.stopping.Err() != nil {
			break
		}
		limit(answerTimeout)
		if err := enc.Encode(piece); err != nil || connection.Flush() != nil {
			return // nobody listens any more
		}
	}
	limit(lastTimeout) // for the end, which may come long after the last piece
}
