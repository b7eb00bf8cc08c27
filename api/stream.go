package api

import "iter"

// stream is an answer that comes piece by piece, each a line of JSON, for as long as there are pieces and somebody who takes them. While
// it waits for one it costs the server nothing but the connection.
type stream iter.Seq[any]

// send sends a stream.
func (s *Server) send(c *call, status int, pieces stream) {
	kind := "application/x-ndjson"
	if c.docker {
		kind = "application/json" // as its events are sent, although they are lines
	}
	c.W.Header().Set("Content-Type", kind)
	c.Stream(status, func(yield func([]byte) bool) {
		for piece := range pieces {
			if text, err := encode(piece); err != nil || !yield(text) {
				return
			}
		}
	})
}
