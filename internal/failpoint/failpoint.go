//go:build !failpoints

package failpoint

// Reached is a place at which a crash is tried.
func Reached(string) {}

// Each is one place for every type that what may have: its name is "NAME TYPE", without the type's package.
func Each(string, any) {}
