package store

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"

	"github.com/bridged/bridged"
)

// contents is what a log says.
type contents struct {
	// current: it is of this boot. Nothing else is known of a log of another one.
	current bool
	// incomplete: it was begun by a daemon that knew less than what there was, and did not come to compact it.
	incomplete bool
	records    []bridged.Change // in their order, without what has files
	// networks and reservations are those that the records set, as the last one of each did; nil: removed.
	networks     map[string]*bridged.Network
	reservations map[string]*bridged.Reservation
	// good are the parts of the file with records that check, the header's line not among them.
	good []extent
	// end is where the last line that is whole ends; behind it a crash has left a torn one.
	end  int64
	torn bool
	// damage is what was found first that is no record; nil: none.
	damage error
}

// extent is a part of a file: begin and end in bytes.
type extent struct{ begin, end int64 }

// readLog reads a whole log. Lines that do not check are left out, and those behind them are not: each says what objects are, not
// how they change. boot is this one. [bridged.ErrUnavailable]: the log is of this boot, but in a format of the future.
func readLog(f *os.File, boot string) (c contents, err error) {
	var head contents
	var headErr error
	c, err = readLogOf(f, func(line []byte) bool {
		headErr = head.readHeader(line, f.Name(), boot)
		return headErr == nil && head.current
	})
	c.current, c.incomplete = head.current, head.incomplete
	if head.damage != nil {
		c.damage = head.damage
	}
	return c, cmp.Or(headErr, err)
}

// readLogOf reads a log whose header is as wanted; of another one it reads nothing more.
func readLogOf(f *os.File, wanted func(header []byte) bool) (c contents, err error) {
	c.networks, c.reservations = make(map[string]*bridged.Network), make(map[string]*bridged.Reservation)
	lines, s := bufio.NewScanner(f), newScanner()
	size := int64(1 << 16)
	if info, err := f.Stat(); err == nil {
		size = min(max(size, info.Size()+1), 1<<20) // the lines of a log that was compacted are long
	}
	lines.Buffer(make([]byte, size), math.MaxInt)
	lines.Split(splitLine)
	for first := true; lines.Scan(); first = false {
		line := lines.Bytes()
		if line[len(line)-1] != '\n' {
			c.torn = true
			break
		}
		begin := c.end
		c.end += int64(len(line))
		if !first {
			c.readRecord(s, line, begin)
		} else if !wanted(line) {
			return c, nil
		}
	}
	if c.end == 0 && lines.Err() == nil {
		c.damage, c.torn = errors.New("it has no header"), false
	}
	return c, lines.Err()
}

// splitLine is a [bufio.SplitFunc]: lines with their newline, and at the end what has none.
func splitLine(data []byte, atEnd bool) (advance int, line []byte, err error) {
	n := bytes.IndexByte(data, '\n') + 1
	if n == 0 && atEnd {
		n = len(data)
	}
	if n == 0 {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// readHeader takes the first line. A log is begun atomically, so one without a header is damaged.
func (c *contents) readHeader(line []byte, path, boot string) error {
	var h header
	if err := decodeRecord(line, &h); err != nil {
		c.damage = fmt.Errorf("its header: %w", err)
		return nil
	}
	switch {
	case h.Format < 1:
		c.damage = fmt.Errorf("it has format %d", h.Format)
	case h.Boot != boot: // in whatever format
	case h.Format > logFormat:
		return newerFormat(path, h.Format, logFormat)
	default:
		c.current, c.incomplete = true, h.Incomplete
	}
	return nil
}

// readRecord takes one line, which begins at that byte.
func (c *contents) readRecord(s *scanner, line []byte, begin int64) {
	change, err := s.decodeChange(line)
	if err != nil {
		if c.damage == nil {
			c.damage = fmt.Errorf("at byte %d: %w", begin, err)
		}
		return
	}
	if n := len(c.good); n > 0 && c.good[n-1].end == begin {
		c.good[n-1].end = c.end
	} else {
		c.good = append(c.good, extent{begin, c.end})
	}
	maps.Copy(c.networks, change.Networks)
	maps.Copy(c.reservations, change.Reservations)
	change.Networks, change.Reservations = nil, nil
	if !change.Empty() {
		c.records = append(c.records, change)
	}
}

// kept reads the records that check.
func (c *contents) kept(f *os.File) io.Reader {
	var parts []io.Reader
	for _, e := range c.good {
		parts = append(parts, io.NewSectionReader(f, e.begin, e.end-e.begin))
	}
	return io.MultiReader(parts...)
}
