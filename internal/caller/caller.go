// Package caller tells an operation whether whoever asked for it is still there.
//
// A change that has begun is carried out whether somebody waits for it or not. But one whose caller has gone before it began must not begin where
// another one that follows from the caller's end could have come first: a runtime that kills its plugin takes back what that one had asked for, and
// what it had asked for may still wait in a socket. Who looks while it holds what the other one needs, too, knows which of the two is first.
package caller

import "context"

type key struct{}

// With is a context whose caller is gone when the function says so. What is derived from it has the same one, also without its end.
func With(ctx context.Context, gone func() bool) context.Context {
	return context.WithValue(ctx, key{}, gone)
}

// Gone reports whether the caller is gone. A context that has none, as that of a program that uses the library, says no.
func Gone(ctx context.Context) bool {
	gone, ok := ctx.Value(key{}).(func() bool)
	return ok && gone()
}
