package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
)

// call is a request on its way through a handler.
type call struct {
	*http.Request
	w      http.ResponseWriter
	docker bool
	// stopping is done when the server stops.
	stopping context.Context
}

// decode reads the body, one JSON object, into the struct that out points to. What does not belong there is an error that
// names it: a field that out does not know (in Docker's calls only when it has a value), a wrong type, something behind.
func (c *call) decode(out any) error {
	text, err := c.readBody()
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	switch err := dec.Decode(&value); {
	case errors.Is(err, io.EOF):
		return bridged.Errorf(bridged.ErrInvalid, "the body is empty: want a JSON object")
	case err != nil:
		return bridged.Errorf(bridged.ErrInvalid, "the body is no JSON: %w (behind byte %d)", err, dec.InputOffset())
	}
	if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
		return bridged.Errorf(bridged.ErrInvalid, "the body has something behind its JSON object: %.20q", rest)
	}
	if _, ok := value.(map[string]any); !ok {
		return bridged.Errorf(bridged.ErrInvalid, "the body must be a JSON object, not %.20q", text)
	}
	if err := checkFields(value, reflect.TypeOf(out).Elem(), "", c.docker); err != nil {
		return err
	}
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, out); {
	case errors.As(err, &wrongType):
		return fieldError(wrongType.Field, "want %s, not %s", jsonType(wrongType.Type), wrongType.Value)
	case err != nil:
		return bridged.Errorf(bridged.ErrInvalid, "the body is no JSON: %w", err)
	}
	return nil
}

// readBody reads the whole body within its limits of type, size and time.
func (c *call) readBody() ([]byte, error) {
	if header := c.Header.Get("Content-Type"); header != "" {
		if t, _, err := mime.ParseMediaType(header); err != nil || t != "application/json" {
			return nil, bridged.Errorf(bridged.ErrInvalid, "the body's Content-Type is %q: want application/json", header)
		}
	}
	deadline := http.NewResponseController(c.w)
	if err := deadline.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, fmt.Errorf("cannot limit the time for the body: %w", err)
	}
	cancel := context.AfterFunc(c.stopping, func() {
		_ = deadline.SetReadDeadline(time.Now()) // a stop does not wait for bodies
	})
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxBody))
	cancel()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, bridged.Errorf(bridged.ErrInvalid, "the body is too large: at most %d bytes are possible", tooLarge.Limit)
	case err != nil && c.stopping.Err() != nil:
		return nil, errStopping()
	case err != nil:
		return nil, bridged.Errorf(bridged.ErrInvalid, "cannot read the body: %w", err)
	}
	// The connection is watched for the client's end from here on: without a deadline, or that would look like its end.
	if err := deadline.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("cannot lift the time limit of the body: %w", err)
	}
	return text, nil
}

// fieldError is an ErrInvalid about one field of the body, given by its path.
func fieldError(path, format string, args ...any) error {
	return bridged.Errorf(bridged.ErrInvalid, "field %q: %w", path, fmt.Errorf(format, args...))
}

// checkFields looks for the first field of a decoded JSON value, in the order of their names, that type t has not.
func checkFields(value any, t reflect.Type, path string, zeroAllowed bool) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct {
			return checkObject(v, t, path, zeroAllowed)
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return nil // a wrong type: decoding says so
		}
		for i, element := range v {
			if err := checkFields(element, t.Elem(), fmt.Sprintf("%s[%d]", path, i), zeroAllowed); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkObject(object map[string]any, t reflect.Type, path string, zeroAllowed bool) error {
	known := make(map[string]reflect.Type)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		known[name] = f.Type
	}
	for _, name := range sortedKeys(object) {
		inner := strings.TrimPrefix(path+"."+name, ".")
		ft, ok := known[name]
		switch {
		case ok:
			if err := checkFields(object[name], ft, inner, zeroAllowed); err != nil {
				return err
			}
		case zeroAllowed && isZero(object[name]):
		default:
			return unknownField(name, inner, sortedKeys(known))
		}
	}
	return nil
}

// unknownField says which fields there are.
func unknownField(name, path string, known []string) error {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return bridged.Errorf(bridged.ErrInvalid, "unknown field %q: did you mean %q?", path, k)
		}
	}
	return bridged.Errorf(bridged.ErrInvalid, "unknown or unsupported field %q: possible are %s", path, strings.Join(known, ", "))
}

// isZero reports whether a decoded JSON value says nothing: null, false, 0, "", or an array or object of such values.
func isZero(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case string:
		return v == ""
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !isZero(e) })
	case map[string]any:
		for _, e := range v {
			if !isZero(e) {
				return false
			}
		}
	}
	return true
}

// jsonType is what JSON calls a value for t.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a whole number"
}
