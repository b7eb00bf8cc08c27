package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/bridged/bridged/bench/report"
)

// lane is one peer in one workload at one size. Lanes of a workload take turns.
type lane struct {
	key report.Key
	// cycle does n operations, and what undoes each, and adds what each took to the samples.
	cycle func(n int, s samples) error
	// most is how many operations a cycle can have.
	most int
	// stays: it goes on until the others are done, so that those that are held against it have all their turns beside its own: a turn after one of other
	// processes finds less in the caches.
	stays bool
	// beside is measured with its cycles: see besideLane. nil: nothing is.
	beside *lane
	// bytes are moved by one operation; 0: none.
	bytes int

	samples samples
	slice   int // operations in a turn
	spent   time.Duration
	err     error
}

// besideLane takes no turns: what it measures is part of another lane's cycle, and forgotten with that lane's.
func besideLane(key report.Key) *lane { return &lane{key: key, samples: newSamples()} }

// samples are what was measured, by workload: a cycle may measure more than one, as publish and unpublish.
type samples struct {
	took map[string][]time.Duration
	// parts are of steps of operations, by workload and step.
	parts map[[2]string][]time.Duration
	// wall is how long it took altogether, of operations beside one another.
	wall map[string]time.Duration
}

func newSamples() samples {
	return samples{
		took: make(map[string][]time.Duration), parts: make(map[[2]string][]time.Duration), wall: make(map[string]time.Duration),
	}
}

func (s samples) add(workload string, d ...time.Duration) {
	s.took[workload] = append(s.took[workload], d...)
}

func (s samples) addPart(workload, part string, d time.Duration) {
	key := [2]string{workload, part}
	s.parts[key] = append(s.parts[key], d)
}

// time adds the duration of one operation.
func (s samples) time(workload string, do op) error {
	start := time.Now()
	err := do()
	s.add(workload, time.Since(start))
	return err
}

// op is one prepared operation: calling it is what is measured.
type op func() error

// pace is how long lanes run.
type pace struct {
	// budget is each lane's time, in turns of a slice.
	budget, slice time.Duration
	// least is how many operations a lane makes even when it is slow, unless that takes five budgets.
	least int
}

// most is the time that a lane never goes on after.
func (p pace) most() time.Duration { return 5 * p.budget }

// pause is how long nothing is measured after the lane's turn, so that what it does behind its answers is not measured with the next. Our engine waits
// for the end of a burst, and then goes through the kernel's table of connections.
func (l *lane) pause() time.Duration {
	if l.key.Peer == report.Engine || l.key.Peer == report.HTTP {
		return 10 * time.Millisecond
	}
	return 5 * time.Millisecond
}

// takeTurns runs the lanes until each has used its budget: a warm-up each, then turn after turn in random order. A lane that
// fails stops; the others go on.
func takeTurns(ctx context.Context, p pace, lanes []*lane, tick func()) {
	for _, l := range lanes {
		l.warmUp(p)
		tick()
	}
	runtime.GC()
	for live := unfinished(p, lanes); len(live) > 0 && ctx.Err() == nil; live = unfinished(p, live) {
		rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
		for _, l := range live {
			l.turn()
			tick()
			time.Sleep(l.pause())
		}
	}
}

func unfinished(p pace, lanes []*lane) []*lane {
	var live, staying []*lane
	for _, l := range lanes {
		switch done := l.spent >= p.budget && l.count() >= p.least || l.spent >= p.most(); {
		case l.err != nil:
		case !done:
			live = append(live, l)
		case l.stays:
			staying = append(staying, l)
		}
	}
	if len(live) == 0 {
		return nil
	}
	return append(live, staying...)
}

// count is how many operations were measured.
func (l *lane) count() int {
	n := 0
	for _, s := range l.samples.took {
		n = max(n, len(s))
	}
	return n
}

// warmUp finds out how many operations make a slice. What it measures is forgotten, unless it has taken all the time that there is.
func (l *lane) warmUp(p pace) {
	l.slice, l.samples = 1, newSamples()
	for l.err == nil && l.quickest(p) < p.slice/2 && l.slice < l.most {
		l.slice = min(l.most, 2*l.slice)
	}
	if l.spent == 0 {
		l.forgetBeside()
	}
}

// forgetBeside forgets what was measured with cycles that are forgotten.
func (l *lane) forgetBeside() {
	if l.beside != nil {
		l.beside.samples = newSamples()
	}
}

// quickest is how long a slice takes when nothing comes between: the least of three, unless one is long enough for any slice.
func (l *lane) quickest(p pace) time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 3 {
		l.forgetBeside()
		s, start := newSamples(), time.Now()
		if l.err = l.run(l.slice, s); l.err != nil {
			return least
		}
		took := time.Since(start)
		if took >= p.most() {
			l.samples, l.spent = s, took
		}
		if least = min(least, took); least > 5*p.slice {
			return least
		}
	}
	return least
}

func (l *lane) turn() {
	start := time.Now()
	l.err = l.run(l.slice, l.samples)
	l.spent += time.Since(start)
}

func (l *lane) run(n int, s samples) error {
	if err := l.cycle(n, s); err != nil {
		return fmt.Errorf("%s, %s: %w", l.key.Workload, l.key.Peer, err)
	}
	return nil
}

// rows are what the lanes measured, each beside the floor's row of the same size. A step has a ratio where the floor has that step.
func rows(floor string, lanes []*lane) []report.Row {
	var all []report.Row
	floors := make(map[report.Key]time.Duration)
	for _, l := range lanes {
		for _, row := range l.rows() {
			all = append(all, row)
			if l.key.Peer == floor {
				floors[row.Key] = row.P50
			}
		}
	}
	for i := range all {
		k := all[i].Key
		k.Peer = floor
		if floors[k] == 0 {
			k.Endpoints = 0 // the floor of a crowded host is that of an empty one
		}
		if all[i].Ratio = report.Ratio(all[i].P50, floors[k]); all[i].Ratio != 0 {
			all[i].Floor = floor
		}
	}
	return all
}

// rows are one for each workload that the lane measured, and for each step of it.
func (l *lane) rows() []report.Row {
	var all []report.Row
	for workload, s := range l.samples.took {
		row := report.Row{Key: l.key, Stats: report.Summarize(s)}
		row.Workload = workload
		if wall := l.samples.wall[workload]; wall > 0 {
			row.Rate = float64(row.N*max(l.bytes, 1)) / wall.Seconds()
			row.Bytes = l.bytes
		}
		all = append(all, row)
	}
	for step, s := range l.samples.parts {
		row := report.Row{Key: l.key, Stats: report.Summarize(s)}
		row.Workload, row.Part = step[0], step[1]
		all = append(all, row)
	}
	return all
}
