package cni

import "fmt"

// placed is a value, and where in the configuration it is.
type placed[T any] struct {
	path  string
	value T
}

// at are the values of the array at path.
func at[T any](path string, values []T) []placed[T] {
	all := make([]placed[T], len(values))
	for i, v := range values {
		all[i] = placed[T]{fmt.Sprintf("%s[%d]", path, i), v}
	}
	return all
}
