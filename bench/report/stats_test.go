package report

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSummarize(t *testing.T) {
	to := func(n int) []time.Duration {
		samples := make([]time.Duration, n)
		for i := range samples {
			samples[i] = time.Duration(i + 1)
		}
		rand.Shuffle(n, func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
		return samples
	}
	for _, test := range []struct {
		name    string
		samples []time.Duration
		want    Stats
	}{
		{"none", nil, Stats{}},
		{"one", to(1), Stats{N: 1, P50: 1, P90: 1, P99: 1, Max: 1, Mean: 1}},
		{"two", to(2), Stats{N: 2, P50: 1, P90: 2, P99: 2, Max: 2, Mean: 1}},
		{"ten", to(10), Stats{N: 10, P50: 5, P90: 9, P99: 10, Max: 10, Mean: 5}},
		{"a thousand", to(1000), Stats{N: 1000, P50: 500, P90: 900, P99: 990, Max: 1000, Mean: 500}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Summarize(test.samples)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A percentile is one of the values; at least p percent do not exceed it, and less than that are below it.
func TestPercentile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 300).Draw(t, "values")
		p := rapid.IntRange(1, 100).Draw(t, "p")
		slices.Sort(values)
		got := Percentile(values, p)
		notAbove, below := 0, 0
		for _, v := range values {
			if v <= got {
				notAbove++
			}
			if v < got {
				below++
			}
		}
		if !slices.Contains(values, got) || notAbove*100 < p*len(values) || below*100 >= p*len(values) {
			t.Fatalf("percentile %d of %v is %d", p, values, got)
		}
	})
}

func TestRatioAndSpread(t *testing.T) {
	for _, test := range []struct {
		name string
		got  float64
		want float64
	}{
		{"ratio", Ratio(30, 20), 1.5},
		{"nothing above", Ratio(0, 20), 0},
		{"nothing below", Ratio(30, 0), 0},
		{"spread", Spread([]time.Duration{3, 2, 6}), 3},
		{"of one", Spread([]time.Duration{3}), 0},
		{"of none", Spread(nil), 0},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
}
