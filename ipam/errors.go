package ipam

import (
	"errors"
	"fmt"
)

// The kinds of failure. The messages name the address or the subnet and what is wrong with it; test for the kind with
// [errors.Is].
var (
	// ErrExhausted: nothing is free.
	ErrExhausted = errors.New("nothing is free")
	// ErrInUse: the address was given out, or is the gateway's or an auxiliary one.
	ErrInUse = errors.New("address in use")
	// ErrUnusable: the address can't be given out by this pool at all: outside the subnet, the network's own, the broadcast
	// address.
	ErrUnusable = errors.New("unusable address")
	// ErrConfig: the parts of a [Config] or a [Block] do not fit together.
	ErrConfig = errors.New("unusable subnet")
)

// kindError prints as its message alone and is one of the kinds above.
type kindError struct {
	kind    error
	message string
}

func (e *kindError) Error() string { return e.message }
func (e *kindError) Unwrap() error { return e.kind }

func errorf(kind error, format string, args ...any) error {
	return &kindError{kind: kind, message: fmt.Sprintf(format, args...)}
}
