// Package ordered sorts in little code. [slices.SortFunc] is compiled anew for each type of element, to some 17 KB of the binary with its tables; here
// that is a loop for few elements, which is what package slices does with them, and package sort's one routine for more.
package ordered

import (
	"iter"
	"slices"
	"sort"
)

// few elements are sorted by insertion, as by packages slices and sort: no order is found faster, and nothing is allocated.
const few = 12

// Sort is [slices.SortFunc].
func Sort[T any](s []T, compare func(a, b T) int) {
	if len(s) <= few {
		insert(s, compare)
		return
	}
	sort.Slice(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
}

// SortStable is [slices.SortStableFunc].
func SortStable[T any](s []T, compare func(a, b T) int) {
	if len(s) <= few {
		insert(s, compare)
		return
	}
	sort.SliceStable(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
}

// Sorted is [slices.SortedFunc].
func Sorted[T any](seq iter.Seq[T], compare func(a, b T) int) []T {
	s := slices.Collect(seq)
	Sort(s, compare)
	return s
}

// insert moves each element before those in front of it that are greater.
func insert[T any](s []T, compare func(a, b T) int) {
	for i := range s {
		for j := i; j > 0 && compare(s[j], s[j-1]) < 0; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}
