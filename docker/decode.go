package docker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/bridged/bridged"
)

// decode reads the body of a call: a JSON object. None is one without fields, when in has none.
func decode(text []byte, in any) error {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0 && reflect.TypeOf(in).Elem().NumField() == 0:
		return nil
	case len(text) == 0:
		return bridged.Errorf(bridged.ErrInvalid, "the body is empty: want a JSON object")
	case text[0] != '{':
		return bridged.Errorf(bridged.ErrInvalid, "the body must be a JSON object, not %.20q", text)
	}
	return unmarshal(text, in)
}

// unmarshal is [json.Unmarshal] with errors for people.
func unmarshal(text []byte, in any) error {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(text, in); {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		// Go names the embedded struct, too, which Docker does not know.
		return fieldError(strings.TrimPrefix(wrongType.Field, "endpointRef."), "%s does not fit there", wrongType.Value)
	case errors.As(err, &wrongType):
		return bridged.Errorf(bridged.ErrInvalid, "%s does not fit", wrongType.Value)
	case errors.As(err, &syntax):
		return bridged.Errorf(bridged.ErrInvalid, "the body is no JSON: %w (behind byte %d)", err, syntax.Offset)
	case err != nil:
		return bridged.Errorf(bridged.ErrInvalid, "%w", err)
	}
	return nil
}

// fieldError is an ErrInvalid about one field of the body, given by its path.
func fieldError(path, format string, args ...any) error {
	return bridged.Errorf(bridged.ErrInvalid, "field %q: %w", path, fmt.Errorf(format, args...))
}

// option reads one option; false: it is not there.
func (o options) option(key string, value any) (bool, error) {
	text, ok := o[key]
	if !ok {
		return false, nil
	}
	if err := unmarshal(text, value); err != nil {
		return true, bridged.Errorf(bridged.ErrInvalid, "option %s: %w", key, err)
	}
	return true, nil
}
