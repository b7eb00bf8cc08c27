package report

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
)

// Plots are inline SVG. What they say can be read without colour: each line has a marker and dashes of its own, and its name at its end;
// each part of a bar has a pattern.

// lines is a plot of lines over a logarithmic axis; both axes are logarithmic.
type lines struct {
	Title, X, Y string
	Series      []series
	// Text writes a value of Y, Tick one at its axis.
	Text, Tick func(float64) string
}

// series is one line.
type series struct {
	Name   string
	Style  int // see strokes and markers
	Points []point
}

// point is a value: X is 0 or at least 1.
type point struct{ X, Y float64 }

// The frame of a plot, in pixels.
const (
	plotWidth, plotHeight   = 650, 380
	marginLeft, marginRight = 74, 204
	marginTop, marginBottom = 34, 46
	innerWidth              = plotWidth - marginLeft - marginRight
	innerHeight             = plotHeight - marginTop - marginBottom
	labelHeight             = 13
)

// strokes are colours that the colour-blind can tell apart, and dashes for everybody else.
var strokes = []struct{ colour, dash string }{
	{"#000000", ""}, {"#0072b2", ""}, {"#d55e00", ""}, {"#009e73", ""}, {"#cc79a7", "7 3"}, {"#0072b2", "7 3"},
	{"#d55e00", "7 3"}, {"#666666", "2 3"}, {"#009e73", "2 3"}, {"#000000", "2 3"}, {"#cc79a7", "9 3 2 3"}, {"#666666", "9 3 2 3"},
}

// markers are drawn around 0,0.
var markers = []string{
	`<circle r="4"/>`,
	`<rect x="-3.5" y="-3.5" width="7" height="7"/>`,
	`<path d="M0-5 4.5 3.5-4.5 3.5Z"/>`,
	`<path d="M0-5 5 0 0 5-5 0Z"/>`,
	`<path d="M-4-4 4 4M-4 4 4-4" fill="none" stroke-width="2"/>`,
	`<path d="M0-5V5M-5 0H5" fill="none" stroke-width="2"/>`,
	`<path d="M0 5 4.5-3.5-4.5-3.5Z"/>`,
	`<circle r="4" fill="#fff"/>`,
	`<rect x="-3.5" y="-3.5" width="7" height="7" fill="#fff"/>`,
	`<path d="M0-5 4.5 3.5-4.5 3.5Z" fill="#fff"/>`,
	`<path d="M0-5 5 0 0 5-5 0Z" fill="#fff"/>`,
	`<path d="M0 5 4.5-3.5-4.5-3.5Z" fill="#fff"/>`,
}

// axis maps values to pixels, logarithmically. A value of 0 lies left of the others, at first/10.
type axis struct {
	from, to float64 // logarithms
	length   float64
	zero     float64 // the logarithm that stands for 0
	values   []float64
}

func newAxis(values []float64, length, slack float64) axis {
	slices.Sort(values)
	values = slices.Compact(values)
	a := axis{length: length, values: values}
	positive := 1.0
	for _, v := range values {
		if v > 0 {
			positive = v
			break
		}
	}
	a.zero = math.Log10(positive) - 1
	a.from, a.to = a.log(values[0])-slack, a.log(values[len(values)-1])+slack
	if a.from == a.to {
		a.from, a.to = a.from-1, a.to+1
	}
	return a
}

func (a axis) log(v float64) float64 {
	if v <= 0 {
		return a.zero
	}
	return math.Log10(v)
}

func (a axis) at(v float64) float64 { return (a.log(v) - a.from) / (a.to - a.from) * a.length }

// SVG draws the plot; nothing without a point.
func (l lines) SVG() template.HTML {
	var xs, ys []float64
	for _, s := range l.Series {
		for _, p := range s.Points {
			xs, ys = append(xs, p.X), append(ys, p.Y)
		}
	}
	if len(xs) == 0 {
		return ""
	}
	x, y := newAxis(xs, innerWidth, 0.08), newAxis(ys, innerHeight, 0.12)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="plot" viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, html.EscapeString(l.Title))
	fmt.Fprintf(&b, `<text class="title" x="%d" y="18">%s</text>`, marginLeft, html.EscapeString(l.Title))
	fmt.Fprintf(&b, `<g transform="translate(%d %d)">`, marginLeft, marginTop)
	l.grid(&b, x, y)
	l.labels(&b, x, y)
	for _, s := range l.Series {
		s.draw(&b, l.Text, x, y)
	}
	b.WriteString(`</g></svg>`)
	return template.HTML(b.String())
}

// grid draws the frame, a line a decade of y with fainter ones between, and a tick for each x.
func (l lines) grid(b *strings.Builder, x, y axis) {
	for decade := math.Floor(y.from); decade <= y.to; decade++ {
		for digit := 1.0; digit < 10; digit++ {
			v := digit * math.Pow(10, decade)
			if math.Log10(v) < y.from || math.Log10(v) > y.to {
				continue
			}
			at, class := innerHeight-y.at(v), "minor"
			if digit == 1 {
				class = "major"
			}
			fmt.Fprintf(b, `<path class="%s" d="M0 %.1fH%d"/>`, class, at, innerWidth)
			if decades := y.to - y.from; digit == 1 || decades < 2.8 && (digit == 2 || digit == 5) || decades < 0.8 {
				fmt.Fprintf(b, `<text class="tick" text-anchor="end" x="-6" y="%.1f">%s</text>`, at+4, html.EscapeString(l.Tick(v)))
			}
		}
	}
	for _, v := range x.values {
		fmt.Fprintf(b, `<path class="major" d="M%.1f 0V%d"/><text class="tick" text-anchor="middle" x="%[1]f" y="%[3]d">%[4]s</text>`,
			x.at(v), innerHeight, innerHeight+16, thousands(int(v)))
	}
	fmt.Fprintf(b, `<path class="frame" d="M0 0V%d H%d"/>`, innerHeight, innerWidth)
	if x.values[0] == 0 && len(x.values) > 1 { // the axis is interrupted
		fmt.Fprintf(b, `<path class="frame" d="M%.1f %dl-3 8m6-8l-3 8"/>`, (x.at(0)+x.at(x.values[1]))/2, innerHeight-4)
	}
	fmt.Fprintf(b, `<text class="axis" text-anchor="middle" x="%d" y="%d">%s</text>`, innerWidth/2, innerHeight+36, html.EscapeString(l.X))
	fmt.Fprintf(b, `<text class="axis" text-anchor="middle" transform="translate(-58 %d) rotate(-90)">%s</text>`, innerHeight/2, html.EscapeString(l.Y))
}

// labels names each line at its right end. Names that would overlap are moved apart, and led to their lines.
func (l lines) labels(b *strings.Builder, x, y axis) {
	type label struct {
		s               series
		right, end, top float64 // of the line, and where the name stands
	}
	var all []label
	for _, s := range l.Series {
		if n := len(s.Points); n > 0 {
			last := s.Points[n-1]
			at := innerHeight - y.at(last.Y)
			all = append(all, label{s, x.at(last.X), at, at})
		}
	}
	slices.SortFunc(all, func(a, b label) int { return cmp.Compare(a.end, b.end) })
	for i := 1; i < len(all); i++ {
		all[i].top = max(all[i].top, all[i-1].top+labelHeight)
	}
	for i := len(all) - 1; i >= 0; i-- { // those that came out below go up again
		limit := float64(innerHeight)
		if i < len(all)-1 {
			limit = all[i+1].top - labelHeight
		}
		all[i].top = min(all[i].top, limit)
	}
	for _, a := range all {
		colour := strokes[a.s.Style%len(strokes)].colour
		fmt.Fprintf(b, `<path class="leader" stroke="%s" d="M%.1f %.1fL%d %.1f"/>`, colour, a.right+6, a.end, innerWidth+10, a.top)
		fmt.Fprintf(b, `<g transform="translate(%d %.1f)" fill="%s" stroke="%[3]s">%[4]s</g>`, innerWidth+16, a.top, colour, markers[a.s.Style%len(markers)])
		fmt.Fprintf(b, `<text class="name" x="%d" y="%.1f">%s</text>`, innerWidth+24, a.top+4, html.EscapeString(a.s.Name))
	}
}

func (s series) draw(b *strings.Builder, text func(float64) string, x, y axis) {
	if len(s.Points) == 0 {
		return
	}
	stroke := strokes[s.Style%len(strokes)]
	var d strings.Builder
	for i, p := range s.Points {
		fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], x.at(p.X), innerHeight-y.at(p.Y))
	}
	fmt.Fprintf(b, `<path fill="none" stroke="%s" stroke-width="1.6" stroke-dasharray="%s" d="%s"/>`, stroke.colour, stroke.dash, d.String())
	for _, p := range s.Points {
		fmt.Fprintf(b, `<g transform="translate(%.1f %.1f)" fill="%s" stroke="%[3]s"><title>%[4]s, %[5]s: %[6]s</title>%[7]s</g>`, x.at(p.X), innerHeight-y.at(p.Y),
			stroke.colour, html.EscapeString(s.Name), thousands(int(p.X)), html.EscapeString(text(p.Y)), markers[s.Style%len(markers)])
	}
}

// thousands is a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bars is a plot of horizontal bars, each a sum of parts, on a linear axis from 0.
type bars struct {
	Title, X string
	Bars     []bar
	Text     func(float64) string
}

// bar is one of them.
type bar struct {
	Name  string
	Parts []part
}

// part is a piece of a bar.
type part struct {
	Name  string
	Value float64
}

// patterns fill the parts; each is drawn on 8 by 8 pixels.
var patterns = []struct{ ground, figure string }{
	{"#0072b2", ""},
	{"#9fcbe8", `<path d="M0 8 8 0" stroke="#0072b2" stroke-width="1.5"/>`},
	{"#f4c9a8", `<path d="M0 0 8 8" stroke="#d55e00" stroke-width="1.5"/>`},
	{"#b5e3d2", `<circle cx="4" cy="4" r="1.6" fill="#009e73"/>`},
	{"#dddddd", `<path d="M4 0V8" stroke="#666" stroke-width="1.5"/>`},
	{"#f3dbe8", `<path d="M0 4H8" stroke="#cc79a7" stroke-width="1.5"/>`},
	{"#ffffff", `<path d="M0 8 8 0M0 0 8 8" stroke="#444" stroke-width="1"/>`},
}

const barHeight, barStep, barsLeft, barsRight = 22, 34, 190, 70

// SVG draws the plot; nothing without a bar. The prefix keeps the names of patterns apart on a page.
func (p bars) SVG(prefix string) template.HTML {
	names, most := p.partNames()
	if most == 0 {
		return ""
	}
	const width = 1000
	scale := float64(width-barsLeft-barsRight) / most
	legend := marginTop + len(p.Bars)*barStep + 30
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bars" viewBox="0 0 %d %d" role="img" aria-label="%s"><defs>`, width, legend+24, html.EscapeString(p.Title))
	for i := range names {
		f := patterns[i%len(patterns)]
		fmt.Fprintf(&b, `<pattern id="%s%d" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" height="8" fill="%s"/>%s</pattern>`, prefix, i, f.ground, f.figure)
	}
	fmt.Fprintf(&b, `</defs><text class="title" x="%d" y="18">%s</text>`, barsLeft, html.EscapeString(p.Title))
	for i, bar := range p.Bars {
		top, at, sum := marginTop+i*barStep, float64(barsLeft), 0.0
		fmt.Fprintf(&b, `<text class="name" text-anchor="end" x="%d" y="%d">%s</text>`, barsLeft-8, top+barHeight/2+4, html.EscapeString(bar.Name))
		for _, part := range bar.Parts {
			fmt.Fprintf(&b, `<rect class="part" x="%.1f" y="%d" width="%.1f" height="%d" fill="url(#%s%d)"><title>%s: %s</title></rect>`,
				at, top, part.Value*scale, barHeight, prefix, slices.Index(names, part.Name), html.EscapeString(part.Name), html.EscapeString(p.Text(part.Value)))
			at, sum = at+part.Value*scale, sum+part.Value
		}
		fmt.Fprintf(&b, `<text class="name" x="%.1f" y="%d">%s</text>`, at+6, top+barHeight/2+4, html.EscapeString(p.Text(sum)))
	}
	at := barsLeft
	for i, name := range names {
		fmt.Fprintf(&b, `<rect class="part" x="%d" y="%d" width="16" height="14" fill="url(#%s%d)"/><text class="name" x="%d" y="%d">%s</text>`,
			at, legend-12, prefix, i, at+21, legend, html.EscapeString(name))
		at += 34 + 7*len(name)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// partNames are those of all parts, in order, with the longest bar's length.
func (p bars) partNames() (names []string, most float64) {
	for _, bar := range p.Bars {
		sum := 0.0
		for _, part := range bar.Parts {
			sum += part.Value
			if !slices.Contains(names, part.Name) {
				names = append(names, part.Name)
			}
		}
		most = max(most, sum)
	}
	return names, most
}
