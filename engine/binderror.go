package engine

import "github.com/bridged/bridged"

// bindError is why a host port could not be reserved. Its text is made when it is read, as that of err is, which may have to look for who has the port.
type bindError struct {
	binding bridged.Binding
	err     error
}

func (e *bindError) Error() string { return bindFailed(e.binding) + ": " + e.err.Error() }
func (e *bindError) Unwrap() error { return e.err }
