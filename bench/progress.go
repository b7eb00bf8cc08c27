package main

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// progress says what is running and how long it will take. On a terminal it is one line that changes; elsewhere a line for each workload.
type progress struct {
	w        io.Writer
	terminal bool
	// columns are the terminal's, asked each time, since it may be resized; 0: it does not say.
	columns func() int

	count, of  int
	name       string // of this workload
	what       string // it is
	began      time.Time
	total      time.Duration // of the whole run, as it is thought
	thisLasts  time.Duration // of this workload
	thisBegan  time.Time
	before     time.Duration // of the workloads before, as they were thought
	lastUpdate time.Time
}

func newProgress(w interface {
	io.Writer
	Fd() uintptr
}) *progress {
	_, err := unix.IoctlGetTermios(int(w.Fd()), unix.TCGETS)
	return &progress{w: w, terminal: err == nil, columns: func() int {
		size, err := unix.IoctlGetWinsize(int(w.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0
		}
		return int(size.Col)
	}}
}

func (p *progress) begin(workloads int, total time.Duration) {
	p.of, p.total, p.began = workloads, total, time.Now()
	p.say(fmt.Sprintf("%d workloads, about %s", workloads, rough(total)))
}

func (p *progress) workload(name, what string, lasts time.Duration) {
	p.count++
	p.before += p.thisLasts
	p.name, p.what, p.thisLasts, p.thisBegan = name, what, lasts, time.Now()
	if !p.terminal {
		p.say(p.line(p.what))
	}
	p.tick()
}

// line is as "[2/8] about 40s, 3m20s left: publish: one port more, and one less". What may be cut off is last.
func (p *progress) line(what string) string {
	lasts := p.learned(p.thisLasts)
	left := max(p.learned(p.total-p.before)-min(time.Since(p.thisBegan), lasts), 0)
	return fmt.Sprintf("[%d/%d] about %s, %s left: %s: %s", p.count, p.of, rough(lasts), rough(left), p.name, what)
}

// learned is a time as it was thought, corrected by how long the workloads before took.
func (p *progress) learned(d time.Duration) time.Duration {
	if p.before == 0 {
		return d
	}
	return time.Duration(float64(d) * float64(p.thisBegan.Sub(p.began)) / float64(p.before))
}

// doing says what happens between the measurements, on a terminal.
func (p *progress) doing(format string, args ...any) {
	if p.terminal {
		p.replace(p.line(fmt.Sprintf(format, args...)))
	}
}

// tick is called often.
func (p *progress) tick() {
	if p.terminal && time.Since(p.lastUpdate) > 200*time.Millisecond {
		p.replace(p.line(p.what))
	}
}

// replace shows a line in the place of the last. It is cut to the terminal's width but one: what goes on in a second line can't be replaced.
func (p *progress) replace(line string) {
	p.lastUpdate = time.Now()
	if text := []rune(line); p.columns() > 0 {
		line = string(text[:min(len(text), p.columns()-1)])
	}
	fmt.Fprintf(p.w, "\r\033[K%s", line)
}

// say prints a line that stays.
func (p *progress) say(line string) {
	if p.terminal {
		p.replace("")
	}
	fmt.Fprintln(p.w, line)
}

func (p *progress) end() {
	p.say(fmt.Sprintf("done in %s", rough(time.Since(p.began))))
}

func rough(d time.Duration) time.Duration { return d.Round(time.Second) }
