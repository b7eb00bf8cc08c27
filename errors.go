package bridged

import (
	"errors"
	"fmt"
)

// The kinds of failure that a user can act on. Test for them with [errors.Is]; everything else is an internal error.
var (
	// ErrInvalid: the request is malformed or asks for what can't be.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the object named in the request does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the name, address or port is taken, or the object is in use.
	ErrConflict = errors.New("conflict")
	// ErrDenied: the caller, or the daemon itself, lacks the privilege.
	ErrDenied = errors.New("denied")
	// ErrUnavailable: the daemon, or something it needs from the kernel, is not there (now).
	ErrUnavailable = errors.New("unavailable")
)

// kindError is a message with one of the kinds above: it prints as the message alone.
type kindError struct {
	kind error
	err  error
}

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// Errorf makes an error of one kind (ErrInvalid, …) that prints as the formatted message alone. Like [fmt.Errorf] it
// wraps what %w names.
func Errorf(kind error, format string, args ...any) error {
	return &kindError{kind: kind, err: fmt.Errorf(format, args...)}
}

// Code is the word for an error's kind on the wire: "invalid", "not-found", "conflict", "denied", "unavailable" or
// "internal".
func Code(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.code
		}
	}
	return "internal"
}

// FromCode is the inverse of [Code]: an error with that message and kind.
func FromCode(code, message string) error {
	for _, k := range kinds {
		if k.code == code {
			return Errorf(k.err, "%s", message)
		}
	}
	return errors.New(message)
}

var kinds = []struct {
	code string
	err  error
}{
	{"invalid", ErrInvalid},
	{"not-found", ErrNotFound},
	{"conflict", ErrConflict},
	{"denied", ErrDenied},
	{"unavailable", ErrUnavailable},
}
