package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// drift is by how much the floor may differ within a run.
	drift = 1.25
	// foreign is the share of all processors that others may use.
	foreign = 0.15
)

// Noisy says whether the machine was too busy with other things for the workload's figures to be believed, in comparison with the quietest
// moment of the run.
func (n Noise) Noisy(w WorkloadNoise) bool {
	quiet := slices.Min(append([]time.Duration{w.Before, w.After}, n.Probes...))
	return Ratio(max(w.Before, w.After), quiet) > drift || w.Others > foreign
}

// Doubtful says whether some workload was too noisy.
func (n Noise) Doubtful() bool { return slices.ContainsFunc(n.Workloads, n.Noisy) }

// Share is Others in percent.
func (w WorkloadNoise) Share() float64 { return 100 * w.Others }

// Verdict says whether the run is to be believed, and why not.
func (n Noise) Verdict() string {
	var noisy []string
	for _, w := range n.Workloads {
		if n.Noisy(w) {
			noisy = append(noisy, w.Workload)
		}
	}
	measured := fmt.Sprintf("the floor's median differed by %.2f× within the run (bound %.2f×), others used %.0f %% of the processors (bound %.0f %%)",
		Spread(n.Probes), drift, 100*n.Others, 100*foreign)
	switch {
	case len(noisy) == 0:
		return "quiet enough: " + measured
	case len(noisy) == len(n.Workloads):
		return "TOO NOISY TO BELIEVE: " + measured
	}
	return "TOO NOISY in part (" + strings.Join(noisy, ", ") + "): " + measured
}
