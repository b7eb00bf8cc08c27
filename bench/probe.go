package main

import (
	"slices"
	"time"

	"github.com/bridged/bridged/bench/report"
)

// probe measures the same floor again and again, to see whether the machine is as it was.
type probe struct {
	publisher
	medians []time.Duration
}

func newProbe(s *setting) (*probe, error) {
	p, err := rawPeer().publish(s, "probe")
	if err != nil {
		return nil, err
	}
	probe := &probe{publisher: p}
	if _, err := probe.measure(); err != nil { // a warm-up
		return nil, err
	}
	median, err := probe.measure()
	probe.medians = []time.Duration{median}
	return probe, err
}

// calm is for what others left behind their answers, and the kernel behind namespaces that went.
const calm = 300 * time.Millisecond

// measure is the median of a thousand publishes.
func (p *probe) measure() (time.Duration, error) {
	time.Sleep(calm)
	h := host{publisher: p.publisher}
	s := newSamples()
	for range 5 {
		if err := h.cycle(200, s); err != nil {
			return 0, err
		}
	}
	slices.Sort(s.took["publish"])
	return report.Percentile(s.took["publish"], 50), nil
}

// around does a workload, and says what the machine did besides.
func (p *probe) around(r *run, w workload) report.WorkloadNoise {
	n := report.WorkloadNoise{Workload: w.name, Before: p.medians[len(p.medians)-1]}
	before := clock()
	if err := w.do(r); err != nil {
		r.fail("%s: %w", w.name, err)
	}
	n.Others = before.others(clock())
	median, err := p.measure()
	if err != nil {
		r.fail("cannot measure how quiet the machine is: %w", err)
		median = n.Before
	}
	p.medians = append(p.medians, median)
	n.After = median
	return n
}
