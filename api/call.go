package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// call is a request on its way through a handler.
type call struct {
	*serve.Call
	server *Server
	docker bool
}

// contentType is that of bodies.
const contentType = "application/json"

// readBody reads the whole body, of JSON.
func (c *call) readBody() ([]byte, error) {
	if header := c.Header.Get("Content-Type"); header != "" && header != contentType {
		if t, _, err := mime.ParseMediaType(header); err != nil || t != contentType {
			return nil, bridged.Errorf(bridged.ErrInvalid, "the body's Content-Type is %q: want %s", header, contentType)
		}
	}
	return c.ReadBody()
}

// decode reads the body, one JSON object, into the struct that out points to. What does not belong there is an error that
// names it: a field that out does not know (in Docker's calls only when it has a value), a wrong type, something behind.
func (c *call) decode(out any) error {
	text, err := c.readBody()
	if err != nil {
		return err
	}
	defer c.Decode()()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return noObject(text)
	}
	if err := checkObject(object, reflect.TypeOf(out).Elem(), "", c.docker); err != nil {
		return err
	}
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(text, out); {
	case errors.As(err, &wrongType):
		return fieldError(wrongType.Field, "want %s, not %s", jsonType(wrongType.Type), wrongType.Value)
	case err != nil:
		return bridged.Errorf(bridged.ErrInvalid, "the body has a value that can't be read: %w", err)
	}
	return nil
}

// noObject says why a body is not just one JSON object.
func noObject(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	var value json.RawMessage
	switch err := dec.Decode(&value); {
	case errors.Is(err, io.EOF):
		return bridged.Errorf(bridged.ErrInvalid, "the body is empty: want a JSON object")
	case err != nil:
		return bridged.Errorf(bridged.ErrInvalid, "the body is no JSON: %w (behind byte %d)", err, dec.InputOffset())
	}
	if rest := bytes.TrimSpace(text[dec.InputOffset():]); len(rest) > 0 {
		return bridged.Errorf(bridged.ErrInvalid, "the body has something behind its JSON object: %.20q", rest)
	}
	return bridged.Errorf(bridged.ErrInvalid, "the body must be a JSON object, not %.20q", text)
}

// fieldError is an ErrInvalid about one field of the body, given by its path.
func fieldError(path, format string, args ...any) error {
	return bridged.Errorf(bridged.ErrInvalid, "field %q: %w", path, fmt.Errorf(format, args...))
}

// checkFields looks for the first field of a JSON value, in the order of their names, that type t has not. What can't be a t is left
// to decoding, which says so. Values stay texts: decoded into any they would take some sixty times as much memory as the body.
func checkFields(value json.RawMessage, t reflect.Type, path string, zeroAllowed bool) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		var object map[string]json.RawMessage
		if json.Unmarshal(value, &object) != nil {
			return nil
		}
		return checkObject(object, t, path, zeroAllowed)
	case reflect.Slice:
		var elements []json.RawMessage
		if t.Elem().Kind() != reflect.Struct || json.Unmarshal(value, &elements) != nil {
			return nil
		}
		for i, element := range elements {
			if err := checkFields(element, t.Elem(), fmt.Sprintf("%s[%d]", path, i), zeroAllowed); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkObject(object map[string]json.RawMessage, t reflect.Type, path string, zeroAllowed bool) error {
	known := fieldsOf(t)
	for _, name := range sortedKeys(object) {
		inner := strings.TrimPrefix(path+"."+name, ".")
		ft, ok := known[name]
		switch {
		case ok:
			if err := checkFields(object[name], ft, inner, zeroAllowed); err != nil {
				return err
			}
		case zeroAllowed && isZeroText(object[name]):
		default:
			return unknownField(name, inner, sortedKeys(known))
		}
	}
	return nil
}

// fieldsByType are the answers of fieldsOf, by [reflect.Type]: there are as many as kinds of bodies.
var fieldsByType sync.Map

// fieldsOf are the fields of a struct, by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := fieldsByType.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	known := make(map[string]reflect.Type)
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		known[name] = f.Type
	}
	fieldsByType.Store(t, known)
	return known
}

// maxZeroText is the longest text in bytes that is looked at for saying nothing.
const maxZeroText = 1 << 10

// isZeroText is isZero for a value that is no longer than it takes to say nothing.
func isZeroText(text json.RawMessage) bool {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var value any
	return len(text) <= maxZeroText && dec.Decode(&value) == nil && isZero(value)
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
