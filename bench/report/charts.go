package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"
)

// section is a part of the page with plots.
type section struct {
	Title, Text string
	Plots       []template.HTML
}

// sections are the plots of what was measured.
func (r *Report) sections() []section {
	all := []section{
		{"One port more", "Latency of one publication beside so many that are there. Both axes are logarithmic; 0 stands apart.", []template.HTML{
			r.overPorts("publish", "Publish, median", p50), r.overPorts("publish", "Publish, 99th percentile", p99),
		}},
		{"One port less", "The same of its end.", []template.HTML{
			r.overPorts("unpublish", "Unpublish, median", p50), r.overPorts("unpublish", "Unpublish, 99th percentile", p99),
		}},
		{"The way of packets", "Through the port that was published last. A rule a port is a walk; an element a port is a look-up.", []template.HTML{
			r.rates("tcp connections", "New TCP connections a second", "connections/s", plain),
			r.rates("udp flows", "New UDP flows a second, there and back", "flows/s", plain),
			r.rates("tcp stream", "One established TCP stream", "bytes/s", perSecond),
		}},
		{"What an attach is made of", "Medians of one namespace attached with one port published. What the engine and the daemon add to the floor's three parts is a part of its own.", []template.HTML{
			r.attachOurs().SVG("ours"), r.attachPeers().SVG("peers"),
		}},
		{"Fleets", r.fleetText(), r.fleets()},
	}
	for i := range all {
		all[i].Plots = slices.DeleteFunc(all[i].Plots, func(p template.HTML) bool { return p == "" })
	}
	return slices.DeleteFunc(all, func(s section) bool { return len(s.Plots) == 0 })
}

// tick is a duration at an axis, where "10.0 µs" is "10 µs".
func tick(v float64) string {
	return strings.NewReplacer(".00 ", " ", ".0 ", " ").Replace(Short(time.Duration(math.Round(v))))
}

func durationText(v float64) string { return Short(time.Duration(v)) }

func plain(v float64) string { return thousands(int(v)) }

func perSecond(v float64) string { return fmt.Sprintf("%g GB/s", math.Round(v/1e7)/100) }

// styles are the peers' lines, the same in all plots. Two peers that are never in one plot may share theirs.
var styles = map[string]int{
	Raw: 0, NoRules: 0, NFT: 1, Engine: 2, HTTP: 3, GoogleElement: 4, GoogleRule: 5, NFTBinary: 6, IPBatch: 6,
	IPTables: 7, CNI: 7, IPTablesOld: 8, Docker: 8, Restore: 9, RestoreOld: 10, Ping: 11, Link: 11,
}

// overPorts is a plot of a workload's latency.
func (r *Report) overPorts(workload, title string, of func(Stats) time.Duration) template.HTML {
	return lines{Title: title, X: "published ports", Y: "latency", Text: durationText, Tick: tick, Series: r.series(
		func(row Row) bool { return row.Workload == workload },
		func(row Row) point { return point{float64(row.Ports), float64(of(row.Stats))} })}.SVG()
}

// rates is a plot of a workload's rate.
func (r *Report) rates(workload, title, y string, text func(float64) string) template.HTML {
	return lines{Title: title, X: "published ports", Y: y, Text: text, Tick: text, Series: r.series(
		func(row Row) bool { return row.Workload == workload && row.Rate > 0 },
		func(row Row) point { return point{float64(row.Ports), row.Rate} })}.SVG()
}

// series is a line for each peer that has rows to be shown, in the order of the rows.
func (r *Report) series(shown func(Row) bool, at func(Row) point) []series {
	var all []series
	for _, row := range r.Rows {
		if row.Part != "" || !shown(row) {
			continue
		}
		i := slices.IndexFunc(all, func(s series) bool { return s.Name == row.Peer })
		if i < 0 {
			i = len(all)
			all = append(all, series{Name: row.Peer, Style: styles[row.Peer]})
		}
		all[i].Points = append(all[i].Points, at(row))
	}
	return all
}

// fleetText is of what was measured.
func (r *Report) fleetText() string {
	return fmt.Sprintf("An attach with %s ports, on a host where others have published %s: for bridged these are ports of one sandbox, for the peers with iptables "+
		"bare rules that iptables-restore made, for CNI in one flat chain. Docker Engine runs with docker-proxy, a process for each port of the container.",
		Numbers(r.numbers("fleet attach", func(k Key) int { return k.Size })), Numbers(r.numbers("fleet attach", func(k Key) int { return k.Ports })))
}

// numbers are those that the rows of a workload have, the smallest first.
func (r *Report) numbers(workload string, of func(Key) int) []int {
	var all []int
	for _, row := range r.of(workload) {
		all = append(all, of(row.Key))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fleets is a plot for each number of ports that the others have.
func (r *Report) fleets() (plots []template.HTML) {
	for _, ports := range r.numbers("fleet attach", func(k Key) int { return k.Ports }) {
		plots = append(plots, lines{
			Title: fmt.Sprintf("Attach beside %s ports, median", thousands(ports)), X: "ports of the container", Y: "latency", Text: durationText, Tick: tick,
			Series: r.series(
				func(row Row) bool { return row.Workload == "fleet attach" && row.Ports == ports },
				func(row Row) point { return point{float64(row.Size), float64(row.P50)} }),
		}.SVG())
	}
	return plots
}

// attachKey is a row of the attach on a host without other endpoints.
func attachKey(peer, part string) Key {
	return Key{Workload: "attach", Peer: peer, Size: 1, Part: part}
}

// attachOurs is the floor, and what lies on it.
func (r *Report) attachOurs() bars {
	b := bars{Title: "The floor, and what bridged adds", Text: durationText}
	floor := bar{Name: Raw}
	var sum time.Duration
	for _, p := range []struct{ part, name string }{
		{"pair", "pair made, in the bridge"}, {"inside", "configured inside"}, {"rules", "packet filter"},
	} {
		d := r.median(attachKey(Raw, p.part))
		sum += d
		floor.Parts = append(floor.Parts, part{p.name, float64(d)})
	}
	engine, http := r.median(attachKey(Engine, "")), r.median(attachKey(HTTP, ""))
	if sum == 0 || engine == 0 {
		return bars{}
	}
	b.Bars = append(b.Bars, floor)
	within := bar{Name: Engine, Parts: append(slices.Clone(floor.Parts), part{"engine", float64(max(engine-sum, 0))})}
	b.Bars = append(b.Bars, within)
	if http > 0 {
		b.Bars = append(b.Bars, bar{Name: HTTP, Parts: append(slices.Clone(within.Parts), part{"HTTP", float64(max(http-max(engine, sum), 0))})})
	}
	return b
}

// attachPeers is the daemon beside the others, which are processes.
func (r *Report) attachPeers() bars {
	b := bars{Title: "Beside what others start processes for", Text: durationText}
	if d := r.median(attachKey(HTTP, "")); d > 0 {
		b.Bars = append(b.Bars, bar{Name: "bridged, over HTTP", Parts: []part{{"one call", float64(d)}}})
	}
	for _, peer := range []string{IPBatch, CNI, Docker} {
		var parts []part
		for _, row := range r.Rows {
			if row.Workload == "attach" && row.Peer == peer && row.Part != "" {
				parts = append(parts, part{row.Part, float64(row.P50)})
			}
		}
		if whole := r.median(attachKey(peer, "")); len(parts) == 0 && whole > 0 {
			parts = []part{{"one call", float64(whole)}}
		}
		if len(parts) > 0 {
			b.Bars = append(b.Bars, bar{Name: peer, Parts: parts})
		}
	}
	if len(b.Bars) < 2 {
		return bars{}
	}
	return b
}
