package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// object describes a JSON object that is decoded into a T: its keys are data, so that each mistake is told by the key it was made at.
// Like the reference plugins' decoder it does not look at the case of keys.
type object[T any] struct {
	keys []key[T]
	// without are keys of the reference plugins that mean nothing here. They may be there as long as they switch nothing on.
	without []refusal
	// open: unknown keys are somebody else's.
	open bool
}

// key is one key of an object.
type key[T any] struct {
	name string
	// place is what the value is decoded into.
	place func(*T) any
}

// refusal is a key that means nothing here, and what to do instead.
type refusal struct {
	name, why string
}

// decode reads text, the value at path, "" for the outermost object.
func (o object[T]) decode(into *T, path string, text []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return decodeError(path, text, err)
	}
	for _, name := range sortedKeys(values) {
		if err := o.set(into, join(path, name), name, values[name]); err != nil {
			return err
		}
	}
	return nil
}

// set decodes one value.
func (o object[T]) set(into *T, path, name string, text json.RawMessage) error {
	if i := slices.IndexFunc(o.keys, func(k key[T]) bool { return strings.EqualFold(k.name, name) }); i >= 0 {
		return decodeValue(o.keys[i].place(into), path, text)
	}
	if i := slices.IndexFunc(o.without, func(r refusal) bool { return strings.EqualFold(r.name, name) }); i >= 0 {
		if isZero(text) {
			return nil
		}
		return &Error{CodeInvalid, path + ": " + shorten(text) + " has no meaning here", o.without[i].why}
	}
	if o.open || strings.ContainsAny(name, "/.") { // names with a domain are for others, the specification's "cni.dev/…" among them
		return nil
	}
	return &Error{CodeUnsupported, "unknown key " + path + ": " + shorten(text), "remove it; docs/cni.md has every key"}
}

// decoder is a place that knows more than encoding/json of its own value.
type decoder interface {
	decodeAt(path string, text []byte) error
}

// decodeValue decodes the value at path into a place.
func decodeValue(place any, path string, text []byte) error {
	if inner, ok := place.(decoder); ok {
		return inner.decodeAt(path, text)
	}
	if err := json.Unmarshal(text, place); err != nil {
		return decodeError(path, text, err)
	}
	return nil
}

// list is a JSON array of values that know more than encoding/json of themselves.
type list[T any, P interface {
	*T
	decoder
}] []T

func (l *list[T, P]) decodeAt(path string, text []byte) error {
	var items []json.RawMessage
	if err := json.Unmarshal(text, &items); err != nil {
		return decodeError(path, text, err)
	}
	*l = make([]T, len(items))
	for i, item := range items {
		if err := P(&(*l)[i]).decodeAt(fmt.Sprintf("%s[%d]", path, i), item); err != nil {
			return err
		}
	}
	return nil
}

// decodeError says what is wrong with the JSON value at path.
func decodeError(path string, text []byte, err error) error {
	if path == "" {
		path = "the configuration"
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return errorf(CodeDecode, "%s: cannot use %s: it is a JSON %s, want a value as in docs/cni.md", path, shorten(text), kind.Value)
	}
	if errors.Is(err, bridged.ErrInvalid) { // of the types in text.go
		return errorf(CodeInvalid, "%s: %v", path, err)
	}
	return errorf(CodeDecode, "%s: cannot be decoded: %v", path, err)
}

// isZero reports whether a JSON value switches nothing on.
func isZero(text []byte) bool {
	return slices.Contains([]string{"null", "false", "0", `""`, "[]", "{}"}, string(bytes.TrimSpace(text)))
}

// shorten is a JSON value as a message has it.
func shorten(text []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		b.Reset()
		b.Write(text)
	}
	const most = 100 // bytes
	if b.Len() > most {
		return strings.ToValidUTF8(b.String()[:most], "") + "…"
	}
	return b.String()
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
