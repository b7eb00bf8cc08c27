package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// JSON is the report for programs.
func (r *Report) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "\t")
	return append(text, '\n'), err
}

// Table prints the report for people.
func (r *Report) Table(w io.Writer) error {
	var b bytes.Buffer
	for _, line := range r.Header() {
		fmt.Fprintf(&b, "%-10s %s\n", line[0], line[1])
	}
	r.peerTable(&b)
	for _, name := range r.Workloads() {
		r.workloadTable(&b, name)
	}
	r.markTable(&b)
	fmt.Fprintf(&b, "\n%s\n", r.Noise.Verdict())
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "NOT MEASURED: %s\n", s)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "FAILED: %s\n", f)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Header is what the figures belong to, as names and values.
func (r *Report) Header() [][2]string {
	hz := r.Machine.HZ
	if hz == "" {
		hz = "unknown"
	}
	kind := "full"
	if r.Quick {
		kind = "quick: figures to look at, not to quote"
	}
	return [][2]string{
		{"run", fmt.Sprintf("%s, %s, %s", r.Time.UTC().Format("2006-01-02 15:04 UTC"), r.Duration, kind)},
		{"bridged", r.Machine.Bridged},
		{"kernel", fmt.Sprintf("Linux %s, HZ %s", r.Machine.Kernel, hz)},
		{"machine", fmt.Sprintf("%d × %s, %.1f GiB", r.Machine.CPUs, r.Machine.CPU, float64(r.Machine.Memory)/(1<<30))},
		{"go", r.Machine.Go},
	}
}

func (r *Report) peerTable(b *bytes.Buffer) {
	fmt.Fprintln(b)
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PEER\tVERSION\tWHAT IT IS")
	for _, p := range r.Peers {
		version := cmp.Or(p.Version, "-")
		if p.Missing != "" {
			version = "NOT MEASURED: " + p.Missing
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, version, p.What)
	}
	t.Flush()
}

// Workloads are the names of the workloads that have rows, in order.
func (r *Report) Workloads() []string {
	var names []string
	for _, row := range r.Rows {
		if !slices.Contains(names, row.Workload) {
			names = append(names, row.Workload)
		}
	}
	return names
}

func (r *Report) workloadTable(b *bytes.Buffer, workload string) {
	fmt.Fprintf(b, "\n%s\n", strings.ToUpper(workload))
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tbeside\tn\tp50\tp90\tp99\tmax\trate\t: floor\t")
	for _, row := range r.Rows {
		if row.Workload == workload {
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t\n", row.Label(), row.Beside(), row.N,
				Short(row.P50), Short(row.P90), Short(row.P99), Short(row.Max), row.RateText(), row.RatioText())
		}
	}
	t.Flush()
}

// Label is the peer, and the step where the row is one of a step.
func (k Key) Label() string {
	if k.Part == "" {
		return k.Peer
	}
	return k.Peer + ": " + k.Part
}

// Beside is what was there, and what one operation is, as "10000 ports" or "0 ports, 32 callers".
func (k Key) Beside() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{k.Endpoints, "endpoints"}, {k.Callers, "callers"}, {k.Size, "at once"}} {
		if p.n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(append([]string{fmt.Sprintf("%d ports", k.Ports)}, parts...), ", ")
}

// RateText is the rate in operations or bytes a second; "" when it is of no interest.
func (r Row) RateText() string {
	switch {
	case r.Rate == 0:
		return ""
	case r.Bytes > 0:
		return fmt.Sprintf("%.2f GB/s", r.Rate/1e9)
	}
	return fmt.Sprintf("%.0f/s", r.Rate)
}

// RatioText is as "1.14"; "" without a floor.
func (r Row) RatioText() string {
	if r.Ratio == 0 {
		return ""
	}
	return number(r.Ratio)
}

// number has three digits, or all before the point.
func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Numbers are as "1, 32 and 15,000".
func Numbers(values []int) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = thousands(v)
	}
	if last := len(texts) - 1; last > 0 {
		return strings.Join(texts[:last], ", ") + " and " + texts[last]
	}
	return strings.Join(texts, "")
}

// Short is a duration with three digits.
func Short(d time.Duration) string {
	v := float64(d)
	for _, unit := range []string{"ns", "µs", "ms"} {
		if v < 1000 {
			return number(v) + " " + unit
		}
		v /= 1000
	}
	return number(v) + " s"
}

func (r *Report) markTable(b *bytes.Buffer) {
	if len(r.Marks) == 0 {
		return
	}
	fmt.Fprintln(b, "\nMARKS")
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tMARK\tMEASURED\t")
	for _, m := range r.Marks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.What, m.Bound, cmp.Or(m.Measured, "-"), m.Verdict())
	}
	t.Flush()
}

// Verdict is "met", "NOT MET" or "not measured".
func (m Mark) Verdict() string {
	switch {
	case m.Measured == "":
		return "not measured"
	case m.Met:
		return "met"
	}
	return "NOT MET"
}
