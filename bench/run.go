package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged/bench/report"
)

// run is one run of the benchmark.
type run struct {
	setting
	ctx      context.Context
	quick    bool
	only     []string
	budget   time.Duration
	peers    []peer
	progress *progress
	report   *report.Report
	probe    *probe
	hosts    int // that were made, for their names
}

// workload is what peers have to do.
type workload struct {
	name string
	what func(*run) string
	// lasts is about how long it takes.
	lasts func(*run) time.Duration
	do    func(*run) error
}

// always is a workload that is the same in each run.
func always(what string) func(*run) string { return func(*run) string { return what } }

func workloads() []workload {
	return []workload{
		publishWork(), bulkWork(), rangeWork(), concurrentWork(),
		attachWork(), fleetWork(), restartWork(), packetWork(),
	}
}

func workloadNames() []string {
	var names []string
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

// undone are the ends of what workloads do, which these measure with it.
var undone = map[string]string{"unpublish": "publish", "detach": "attach"}

// selected are the names in the flag --only; none: all.
func selected(only string) []string {
	names := strings.FieldsFunc(only, func(c rune) bool { return c == ',' })
	for i, name := range names {
		names[i] = cmp.Or(undone[name], name)
	}
	return names
}

func checkOnly(only string) error {
	names := selected(only)
	if only != "" && len(names) == 0 {
		return fmt.Errorf("--only: %q names no workload; there are %s", only, strings.Join(workloadNames(), ", "))
	}
	for _, name := range names {
		if !slices.Contains(workloadNames(), name) {
			return fmt.Errorf("--only: there is no workload %q; there are %s", name, strings.Join(workloadNames(), ", "))
		}
	}
	return nil
}

func newRun(in inner, openFiles int) *run {
	r := &run{
		setting: setting{
			daemon: in.Daemon, daemonMissing: in.DaemonMissing, pause: in.Pause, pauseMissing: in.PauseMissing, controlGroup: in.ControlGroup,
			openFiles: openFiles,
		},
		quick:    in.Quick,
		only:     selected(in.Only),
		budget:   in.Budget,
		progress: newProgress(os.Stderr),
		report:   &report.Report{Time: time.Now(), Quick: in.Quick, Machine: machine(in.Version)},
	}
	r.report.Footprint.Binary = r.binarySize()
	return r
}

// all does everything, in random order, and returns the report.
func (r *run) all(ctx context.Context) *report.Report {
	r.ctx = ctx
	r.peers, r.report.Peers = find(&r.setting)
	todo := slices.DeleteFunc(workloads(), func(w workload) bool { return len(r.only) > 0 && !slices.Contains(r.only, w.name) })
	rand.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	var err error
	if r.probe, err = newProbe(&r.setting); err != nil {
		r.fail("cannot measure how quiet the machine is: %w", err)
		return r.report
	}
	var total time.Duration
	for _, w := range todo {
		total += w.lasts(r)
	}
	began, before := r.report.Time, clock()
	r.progress.begin(len(todo), total)
	for _, w := range todo {
		r.progress.workload(w.name, w.what(r), w.lasts(r))
		r.report.Noise.Workloads = append(r.report.Noise.Workloads, r.probe.around(r, w))
	}
	r.report.Noise.Others = before.others(clock())
	r.report.Noise.Probes = r.probe.medians
	r.closed(r.probe.close())
	r.report.Duration = time.Since(began).Round(time.Second)
	r.report.Finish()
	r.progress.end()
	return r.report
}

// run measures lanes and adds their rows; floor is the peer that they are compared with.
func (r *run) run(floor string, lanes []*lane) { r.runAt(r.pace(), floor, lanes) }

// runAt has lanes take turns. What was measured beside them is reported with theirs.
func (r *run) runAt(p pace, floor string, lanes []*lane) {
	takeTurns(r.ctx, p, lanes, r.progress.tick)
	all := slices.Clone(lanes)
	for _, l := range lanes {
		if l.err != nil {
			r.fail("%w", l.err)
		}
		if l.beside != nil {
			all = append(all, l.beside)
		}
	}
	r.report.Rows = append(r.report.Rows, rows(floor, all)...)
}

func (r *run) fail(format string, args ...any) {
	text := fmt.Errorf(format, args...).Error()
	r.report.Failures = append(r.report.Failures, text)
	r.progress.say("FAILED: " + text)
}

// skip records what is not measured, and why.
func (r *run) skip(format string, args ...any) {
	if text := fmt.Errorf(format, args...).Error(); !slices.Contains(r.report.Skipped, text) {
		r.report.Skipped = append(r.report.Skipped, text)
	}
}

// but are the peers except those that there is a reason not to measure in a workload, which is recorded; "" is none.
func (r *run) but(workload string, peers []peer, reason func(peer) string) []peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p peer) bool {
		why := reason(p)
		if why != "" {
			r.skip("%s, %s: %s", workload, p.name, why)
		}
		return why != ""
	})
}

// closed is told what came of taking something away.
func (r *run) closed(err error) {
	if err != nil {
		r.fail("cannot clean up: %w", err)
	}
}

// publishers are the peers that publish ports.
func (r *run) publishers() []peer {
	return slices.DeleteFunc(slices.Clone(r.peers), func(p peer) bool { return p.publish == nil || p.name == report.NoRules })
}

// sizes are the numbers of ports that are published beforehand.
func (r *run) sizes() []int {
	if r.quick {
		return []int{0, 1000}
	}
	return []int{0, 1000, 10_000, 50_000}
}

func (r *run) pace() pace {
	p := pace{budget: time.Second, slice: 20 * time.Millisecond, least: 10}
	if r.quick {
		p = pace{budget: 80 * time.Millisecond, slice: 10 * time.Millisecond, least: 5}
	}
	if r.budget > 0 {
		p.budget, p.slice = r.budget, min(p.slice, r.budget)
	}
	return p
}
