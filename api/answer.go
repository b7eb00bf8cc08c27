package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/serve"
)

// plainText is an answer that is no JSON.
type plainText string

// answer sends a handler's result.
func (s *Server) answer(c *call, status int, body any) {
	header := c.W.Header()
	var text []byte
	switch b := body.(type) {
	case nil:
		c.Answer(status, nil)
		return
	case stream:
		s.send(c, status, b)
		return
	case plainText:
		header.Set("Content-Type", "text/plain; charset=utf-8")
		text = []byte(b)
	default:
		var err error
		header.Set("Content-Type", contentType)
		if text, err = encode(body); err != nil {
			s.log.Error("cannot encode an answer", "method", c.Method, "path", c.URL.Path, "error", err)
			status, text = http.StatusInternalServerError, []byte(`{"message":"cannot encode the answer","code":"internal"}`+"\n")
		}
	}
	c.Answer(status, text)
}

// encode is a value as a line of JSON.
func encode(value any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return buf.Bytes(), err
}

// Fail sends an error.
func (s handler) Fail(sc *serve.Call, err error) {
	c := &call{Call: sc, server: s.Server}
	status := httpStatus(err)
	if status == http.StatusInternalServerError {
		s.log.Error("a request failed", "method", c.Method, "path", c.URL.Path, "error", err)
	}
	var special *httpError
	if errors.As(err, &special) && special.allow != "" {
		c.W.Header().Set("Allow", special.allow)
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
