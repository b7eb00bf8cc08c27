package engine

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Sets by key are what maps by key would be, whatever enters and leaves.
func TestSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got, want := newSets[string, int](0), make(map[string]map[int]struct{})
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			key, v := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), rapid.IntRange(0, 3).Draw(t, "member")
			if rapid.Bool().Draw(t, "enters") {
				got.enter(key, v)
				enter(want, key, v)
			} else {
				got.leave(key, v)
				leave(want, key, v)
			}
			for _, key := range []string{"a", "b"} {
				if is, should := slices.Sorted(got.of(key)), slices.Sorted(maps.Keys(want[key])); !slices.Equal(is, should) {
					t.Fatalf("%s has %v, not %v", key, is, should)
				}
			}
		}
		if n := len(got.one) + len(got.more); n != len(want) {
			t.Errorf("%d sets are kept for %d", n, len(want))
		}
	})
}
