// Package benchtest measures things side by side. The machines that benchmarks run on are shared, and slow down and speed up by half within
// seconds: what is compared is measured in turn, within one run, and the result is the ratio.
package benchtest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Watch is a stop watch with a column for each thing that is measured. It is not safe for concurrent use.
type Watch struct {
	names []string
	took  map[string][]time.Duration
}

// NewWatch makes a watch with these columns.
func NewWatch(names ...string) *Watch {
	w := &Watch{names: names, took: make(map[string][]time.Duration)}
	for _, name := range names {
		w.took[name] = make([]time.Duration, 0, 1<<16)
	}
	return w
}

// Time runs f and notes how long it took in the column. An error ends the benchmark.
func (w *Watch) Time(b *testing.B, column string, f func() error) {
	start := time.Now()
	err := f()
	took := time.Since(start)
	if err != nil {
		b.Helper()
		b.Fatalf("%s: %v", column, err)
	}
	w.took[column] = append(w.took[column], took)
}

// Note notes in the column how long something took.
func (w *Watch) Note(column string, took ...time.Duration) {
	w.took[column] = append(w.took[column], took...)
}

// InTurn runs all, in another order each time: what comes first finds the machine as the one before left it.
func InTurn(all ...func()) {
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, f := range all {
		f()
	}
}

// Quantile is the value that this part of a column does not exceed: 0.5 for the median.
func (w *Watch) Quantile(column string, part float64) time.Duration {
	all := slices.Sorted(slices.Values(w.took[column]))
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, int(part*float64(len(all))))]
}

// Report gives each column's p50 and p99 as metrics of the benchmark, in place of its ns/op, which is the sum of everything.
func (w *Watch) Report(b *testing.B) {
	for _, name := range w.names {
		b.ReportMetric(float64(w.Quantile(name, 0.5).Nanoseconds()), name+"-p50-ns")
		b.ReportMetric(float64(w.Quantile(name, 0.99).Nanoseconds()), name+"-p99-ns")
	}
	b.ReportMetric(0, "ns/op")
}

// Ratio gives the ratio of two columns as metrics: of the medians, and of the slowest hundredth.
func (w *Watch) Ratio(b *testing.B, column, floor string) {
	for _, q := range []struct {
		part float64
		name string
	}{{0.5, "p50"}, {0.99, "p99"}} {
		b.ReportMetric(float64(w.Quantile(column, q.part))/float64(max(1, w.Quantile(floor, q.part))), column+"-x-"+floor+"-"+q.name)
	}
}
