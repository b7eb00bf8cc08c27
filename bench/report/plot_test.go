package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// Whatever is plotted is well-formed, has a marker a point and each name twice: at its end and with its points.
func TestPlots(t *testing.T) {
	for _, test := range []struct {
		name   string
		series []series
		points int
	}{
		{"nothing", nil, 0},
		{"a line without points", []series{{Name: "a"}}, 0},
		{"one point", []series{{Name: "a", Points: []point{{0, 1}}}}, 1},
		{"one value", []series{{Name: "a", Points: []point{{1, 5}, {10, 5}}}}, 2},
		{"zero, and a name that is markup", []series{
			{Name: "<a>", Style: 100, Points: []point{{0, 1e3}, {1000, 1e9}}}, {Name: "b & c", Points: []point{{0, 1e3}}},
		}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			svg := string(lines{Title: "<t>", X: "x", Y: "y", Series: test.series, Text: durationText, Tick: tick}.SVG())
			wellFormed(t, svg)
			if n := strings.Count(svg, "<title>"); n != test.points {
				t.Errorf("%d points, want %d", n, test.points)
			}
		})
	}
	b := bars{Title: "t", Text: durationText, Bars: []bar{{"one", []part{{"p", 1e3}, {"q", 0}}}, {"none", nil}}}
	wellFormed(t, string(b.SVG("x")))
	if svg := (bars{}).SVG("x"); svg != "" {
		t.Errorf("no bars are drawn as %s", svg)
	}
}

// A report without rows, and one with rows of every kind, make a page.
func TestPage(t *testing.T) {
	full := &Report{
		Time: time.Unix(0, 0), Failures: []string{"<failure>"}, Skipped: []string{"what & why"},
		Peers: []Peer{{Name: Raw}, {Name: Engine, Version: "v1"}, {Name: CNI, Missing: "not here"}},
		Noise: Noise{Probes: []time.Duration{2000, 3000}, Workloads: []WorkloadNoise{{"publish", 2000, 3000, 0.5}}},
	}
	for _, ports := range []int{0, 1000} {
		for _, peer := range []string{Raw, NFT, Engine, HTTP, IPTables, NoRules} {
			for _, workload := range workloadOrder {
				r := row(workload, peer, ports, time.Microsecond)
				r.Rate = 1e6
				full.Rows = append(full.Rows, r)
			}
		}
	}
	full.Finish()
	for _, r := range []*Report{{}, full} {
		page, err := r.HTML()
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"<failure>", "NaN", "Inf", "%!"} {
			if strings.Contains(string(page), word) {
				t.Errorf("the page says %q", word)
			}
		}
		if err := r.Table(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for _, word := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(svg, word) {
			t.Errorf("%s in %s", word, svg)
		}
	}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}
