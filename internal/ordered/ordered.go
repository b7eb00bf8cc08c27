// Package ordered sorts what is sorted for people: lists, texts, findings, programs. [slices.SortFunc] is compiled anew for each type of
// element, to some 17 KB of the binary with its tables; these call the one routine of package sort, and take a tenth of a microsecond more. Where requests
// wait for the order, as in publishing and attaching, package slices stays.
package ordered

import "sort"

// Sort is [slices.SortFunc].
func Sort[T any](s []T, compare func(a, b T) int) {
	if len(s) > 1 { // package sort allocates even for one
		sort.Slice(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
	}
}

// SortStable is [slices.SortStableFunc].
func SortStable[T any](s []T, compare func(a, b T) int) {
	if len(s) > 1 {
		sort.SliceStable(s, func(i, j int) bool { return compare(s[i], s[j]) < 0 })
	}
}
