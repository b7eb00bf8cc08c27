package ordered_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/ordered"
)

// Example sorts what is longer behind what is shorter, and leaves what is as long in its order.
func Example() {
	words := []string{"masquerade", "veth", "bridge", "port"}
	ordered.SortStable(words, func(a, b string) int { return len(a) - len(b) })
	fmt.Println(words)
	// Output: [veth port bridge masquerade]
}

// The order is that of package slices.
func TestOrder(t *testing.T) {
	type item struct {
		key   string
		place int
	}
	byKey := func(a, b item) int { return strings.Compare(a.key, b.key) }
	byAll := func(a, b item) int { return cmp.Or(byKey(a, b), a.place-b.place) }
	for _, n := range []int{0, 1, 2, 3, 12, 13, 500} {
		s := make([]item, n)
		for i := range s {
			s[i] = item{fmt.Sprint(rand.IntN(n)), i}
		}
		again := ordered.Sorted(slices.Values(s), byAll)
		stable, want := slices.Clone(s), slices.Clone(s)
		slices.SortStableFunc(want, byKey)
		ordered.Sort(s, byAll)
		ordered.SortStable(stable, byKey)
		if !slices.Equal(s, want) || !slices.Equal(again, want) || !slices.Equal(stable, want) {
			t.Errorf("%d: sorted %v and %v, in a stable way %v, want %v", n, s, again, stable, want)
		}
	}
}

// Few elements are sorted without memory.
func TestFew(t *testing.T) {
	s := make([]string, 12)
	allocs := testing.AllocsPerRun(10, func() {
		for i := range s {
			s[i] = "veth"[i%4:]
		}
		ordered.Sort(s, strings.Compare)
		ordered.SortStable(s, strings.Compare)
	})
	if allocs != 0 || !slices.IsSorted(s) {
		t.Errorf("%v allocations for %q", allocs, s)
	}
}
