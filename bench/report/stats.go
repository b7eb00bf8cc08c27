package report

import (
	"cmp"
	"slices"
	"time"
)

// Stats describe a number of samples.
type Stats struct {
	// N is how many there are; with none, the rest is zero.
	N                  int
	P50, P90, P99, Max time.Duration
	// Mean is also what a rate is made of: operations that followed one another.
	Mean time.Duration
}

// Summarize describes samples, whose order it changes.
func Summarize(samples []time.Duration) Stats {
	if len(samples) == 0 {
		return Stats{}
	}
	slices.Sort(samples)
	var sum time.Duration
	for _, d := range samples {
		sum += d
	}
	return Stats{
		N:    len(samples),
		P50:  Percentile(samples, 50),
		P90:  Percentile(samples, 90),
		P99:  Percentile(samples, 99),
		Max:  samples[len(samples)-1],
		Mean: sum / time.Duration(len(samples)),
	}
}

// Percentile is the smallest value that p percent of the sorted values do not exceed (the nearest rank): always one that was there. The
// zero value of none.
func Percentile[T cmp.Ordered](sorted []T, p int) (v T) {
	if len(sorted) == 0 {
		return v
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// Ratio is a : b, and 0 when one of them was not measured.
func Ratio(a, b time.Duration) float64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// Spread is by how much the largest value exceeds the smallest, as a ratio; 0 of less than two.
func Spread(values []time.Duration) float64 {
	if len(values) < 2 {
		return 0
	}
	return Ratio(slices.Max(values), slices.Min(values))
}
