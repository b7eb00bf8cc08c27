// Bench measures bridged beside the kernel's own floor and beside other ways to do the same, all in one run, interleaved, on the same kernel:
//
//	go run ./bench [--quick] [--only WORKLOAD,…] [--budget DURATION] [--json FILE] [--html FILE]
//
// It wants root. Everything happens in namespaces of its own, of processes, mounts and networks: they go with it, whatever ends it. Control groups
// do not: it removes those of Docker's containers itself, or the next run does. It is a program of its own, because it starts others and the
// daemon must not be able to.
//
// Two processes share the work. The outer one builds the daemon, starts itself again in fresh namespaces, and writes the report. The inner one
// measures. In there, a peer (peer_*.go) is a way to do something, a workload (work_*.go) is what they all have to do, and a lane is one
// peer in one workload at one size: the lanes of a workload take turns, in random order (schedule.go). What the kernel holds after
// a workload is read by other means than those that wrote it, and packets are sent along (check.go).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/bridged/bridged/bench/report"
)

// options are the command line.
type options struct {
	quick              bool
	only               string
	jsonFile, htmlFile string
	from               string
	daemon             string
	budget             time.Duration
}

func main() {
	if os.Getenv(insideVariable) != "" {
		os.Exit(inside())
	}
	var o options
	flag.BoolVar(&o.quick, "quick", false, "less than a minute: fewer ports, fewer samples")
	flag.StringVar(&o.only, "only", "", "only these `workloads`, with commas between: "+strings.Join(workloadNames(), ", "))
	flag.StringVar(&o.jsonFile, "json", "", "write the report as JSON to this `file`")
	flag.StringVar(&o.htmlFile, "html", "", "write the report as a page with plots to this `file`")
	flag.StringVar(&o.from, "from", "", "measure nothing: print the report of this JSON `file`")
	flag.StringVar(&o.daemon, "bridged", "", "the daemon's `binary`; built from this source by default")
	flag.DurationVar(&o.budget, "budget", 0, "how long each peer is measured in each workload at each size (default 1s, with --quick 80ms)")
	flag.Parse()
	if err := execute(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// endings are the signals that end a run: it takes away what does not go by itself. SIGHUP is of a terminal that was closed.
var endings = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT}

func execute(o options) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if err := checkOnly(o.only); err != nil {
		return err
	}
	if o.budget < 0 {
		return fmt.Errorf("--budget: %s is no time to measure in: it must be above 0", o.budget)
	}
	ctx, stop := signal.NotifyContext(context.Background(), endings...)
	defer stop()
	files, err := outputs(o)
	if err != nil {
		return err
	}
	defer discard(files)
	r, err := get(ctx, o)
	if err != nil {
		return err
	}
	err = write(r, files)
	if len(r.Failures) > 0 {
		err = errors.Join(err, errors.New(strings.Join(r.Failures, "\n")))
	}
	return err
}

// get measures, or reads an earlier report.
func get(ctx context.Context, o options) (*report.Report, error) {
	if o.from == "" {
		return measure(ctx, o)
	}
	text, err := os.ReadFile(o.from)
	if err != nil {
		return nil, err
	}
	r := new(report.Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s is no report: %w", o.from, err)
	}
	return r, nil
}

// write prints the report and writes it to the files: one that fails does not cost the others.
func write(r *report.Report, files []*output) error {
	err := r.Table(os.Stdout)
	for _, o := range files {
		err = errors.Join(err, o.write(r))
	}
	return err
}
