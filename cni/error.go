package cni

import (
	"context"
	"errors"
	"fmt"

	"github.com/bridged/bridged"
)

// Code is the kind of an [Error]: below 100 those of the specification, from there on ours.
type Code uint

// The codes.
const (
	// CodeVersion: the configuration's version, or the command in that version, is not one that the plugin speaks.
	CodeVersion Code = 1
	// CodeUnsupported: the configuration has a key that nobody here knows.
	CodeUnsupported Code = 2
	// CodeUnknownContainer: there is no such attachment, so there is nothing to clean up either.
	CodeUnknownContainer Code = 3
	// CodeEnvironment: a CNI_ variable is missing or can't be.
	CodeEnvironment Code = 4
	// CodeIO: something could not be read, or the daemon's socket not be used.
	CodeIO Code = 5
	// CodeDecode: the configuration is no JSON, or a key has a value of the wrong type.
	CodeDecode Code = 6
	// CodeInvalid: the configuration asks for what can't be.
	CodeInvalid Code = 7
	// CodeNamespace: CNI_NETNS is no network namespace of a container.
	CodeNamespace Code = 8
	// CodeTryAgain: the daemon is not there now.
	CodeTryAgain Code = 11
	// CodeUnavailable: the plugin can't do an ADD now.
	CodeUnavailable Code = 50
	// CodeDegraded: nor do the containers that are there have their network in full.
	CodeDegraded Code = 51
	// CodeConflict: a name, an address, a port or the attachment itself is taken.
	CodeConflict Code = 100
	// CodeInternal: none of the above.
	CodeInternal Code = 999
)

// Error is what could not be done, as the runtime reads it.
type Error struct {
	Code Code
	// Msg says what could not be done and why.
	Msg string
	// Details say what to do about it, where that is not in Msg.
	Details string
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + "; " + e.Details
}

// errorf is an Error without details.
func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// kinds are the codes of the daemon's answers.
var kinds = []struct {
	kind error
	code Code
}{
	{bridged.ErrInvalid, CodeInvalid},
	{bridged.ErrNotFound, CodeUnknownContainer},
	{bridged.ErrConflict, CodeConflict},
	{bridged.ErrDenied, CodeIO},
	{bridged.ErrUnavailable, CodeTryAgain},
	{context.DeadlineExceeded, CodeTryAgain},
}

// asError is err as an Error: itself, or the code of its kind.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	for _, k := range kinds {
		if errors.Is(err, k.kind) {
			return errorf(k.code, "%v", err)
		}
	}
	return errorf(CodeInternal, "%v", err)
}
