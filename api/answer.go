package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// plainText is an answer that is no JSON.
type plainText string

// answer sends a handler's result.
func (s *Server) answer(c *call, status int, body any) {
	w := c.w
	var text []byte
	switch b := body.(type) {
	case nil:
	case stream:
		s.send(c, status, b)
		return
	case plainText:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text = []byte(b)
	default:
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			s.log.Error("cannot encode an answer", "method", c.Method, "path", c.URL.Path, "error", err)
			status, text = http.StatusInternalServerError, []byte(`{"message":"cannot encode the answer","code":"internal"}`+"\n")
			break
		}
		text = buf.Bytes()
	}
	if body != nil {
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "application/json")
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	if c.bodyUnread() {
		w.Header().Set("Connection", "close") // or the body would have to come before the answer can go
	}
	// An error from here on means that nobody listens any more. The answer is out when the request counts as done.
	if c.conn.does(waiting) != nil {
		return
	}
	connection := http.NewResponseController(w)
	_ = connection.SetWriteDeadline(time.Now().Add(answerTimeout))
	defer context.AfterFunc(s.stopping, func() {
		_ = connection.SetWriteDeadline(time.Now().Add(lastTimeout)) // a stop does not wait long for slow readers
	})()
	w.WriteHeader(status)
	_, _ = w.Write(text)
	_ = connection.Flush()
}

// fail sends an error.
func (s *Server) fail(c *call, err error) {
	if noDescriptor(err) && bridged.Code(err) != "unavailable" {
		err = bridged.Errorf(bridged.ErrUnavailable, "%v: the daemon can open no more files now; raise its limit (LimitNOFILE)", err)
	}
	status := httpStatus(err)
	if status == http.StatusInternalServerError {
		s.log.Error("a request failed", "method", c.Method, "path", c.URL.Path, "error", err)
	}
	var special *httpError
	if errors.As(err, &special) && special.allow != "" {
		c.w.Header().Set("Allow", special.allow)
	}
	s.answer(c, status, client.Error{Message: err.Error(), Code: bridged.Code(err)})
}

// httpStatus is Docker's status for an error's kind.
func httpStatus(err error) int {
	var special *httpError
	switch {
	case errors.As(err, &special):
		return special.status
	case errors.Is(err, bridged.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, bridged.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, bridged.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, bridged.ErrDenied):
		return http.StatusForbidden
	case errors.Is(err, bridged.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// notNil is s, and for a nil s an empty slice: arrays on the wire are never null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// notNilMap is m, and for a nil m an empty map.
func notNilMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
