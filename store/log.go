package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
)

// logFormat is the version of the log's records. It changes when an older daemon would misread them, not when a field is
// added; the header line itself never changes its form.
const logFormat = 1

// header is the first record of a log.
type header struct {
	Format int
	Boot   string
}

// Sizes in bytes.
const (
	grownFrom  = 1 << 20 // a log that is smaller is not worth a Compact
	keepBuffer = 1 << 20 // a larger write buffer is not kept
)

// runLog is the open log. Its methods must not be called at the same time.
type runLog struct {
	path string
	head header
	file *os.File
	// size is where the next record goes, in bytes; base is the size after the last compaction.
	size, base int64
	// dirty: behind size may lie the rest of a failed write.
	dirty bool
	buf   bytes.Buffer
}

// openLog replays the log at path, or begins one. The warning is about damage that was set aside; "" is none.
func openLog(path, boot string, apply func(bridged.Change)) (l *runLog, warning string, err error) {
	l = &runLog{path: path, head: header{Format: logFormat, Boot: boot}}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return l, "", l.begin(nil)
	}
	if err != nil {
		return nil, "", err
	}
	r := lineReader{r: bufio.NewReaderSize(f, 1<<16)}
	current, damage := l.readHeader(&r)
	if current && damage == nil {
		damage = replay(&r, apply)
	}
	if current && (damage == nil || damage == errTorn) {
		l.file, l.size, l.dirty = f, r.good, damage == errTorn
		return l, "", l.clean()
	}
	defer f.Close()
	switch {
	case errors.Is(damage, bridged.ErrUnavailable):
		return nil, "", damage
	case damage == nil:
		return l, "", l.begin(nil)
	}
	aside, err := setAside(path)
	if err != nil {
		return nil, "", fmt.Errorf("cannot set the damaged log aside: %w", err)
	}
	var kept io.Reader
	if current {
		kept = io.NewSectionReader(f, 0, r.good)
	}
	warning = fmt.Sprintf("%s is damaged at byte %d (%v): it was set aside as %s, and what stood before the damage is kept",
		path, r.good, damage, aside)
	return l, warning, l.begin(kept)
}

// errTorn: the last line has no newline.
var errTorn = errors.New("it ends in the middle of a line")

// lineReader reads lines of a log.
type lineReader struct {
	r *bufio.Reader
	// good is the number of bytes of the lines that were read and confirmed.
	good int64
}

// next reads the next line into v. [io.EOF]: there is none; errTorn: the last one is not whole; any other error: damage.
func (r *lineReader) next(v any) error {
	line, err := r.r.ReadBytes('\n')
	if err == io.EOF && len(line) > 0 {
		return errTorn
	}
	if err != nil {
		return err
	}
	if err := decodeRecord(line, v); err != nil {
		return err
	}
	r.good += int64(len(line))
	return nil
}

// readHeader reports whether the log is of this boot. [bridged.ErrUnavailable]: it is, but in a format of the future; any
// other error: the header is damaged. A log is begun atomically, so a torn header is damage too.
func (l *runLog) readHeader(r *lineReader) (current bool, err error) {
	var h header
	err = r.next(&h)
	switch {
	case err == io.EOF:
		return false, errors.New("it is empty")
	case err != nil:
		return false, err
	case h.Format < 1:
		return false, fmt.Errorf("it has format %d", h.Format)
	case h.Boot != l.head.Boot:
		return false, nil // in whatever format
	case h.Format > logFormat:
		return false, newerFormat(l.path, h.Format, logFormat)
	}
	return true, nil
}

// replay applies the records up to the end of the log, or to the first one that can't be read, which is the error.
func replay(r *lineReader, apply func(bridged.Change)) error {
	for {
		var c bridged.Change
		err := r.next(&c)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		apply(c)
	}
}

func newerFormat(path string, got, known int) error {
	return bridged.Errorf(bridged.ErrUnavailable,
		"%s was written by a newer version of bridged (format %d, this one knows up to %d): start that version", path, got, known)
}

// begin replaces the log atomically by a new one: the records in kept, header included; nil: just a header.
func (l *runLog) begin(kept io.Reader) error {
	if kept == nil {
		var b bytes.Buffer
		if err := appendRecord(&b, l.head); err != nil {
			return err
		}
		kept = &b
	}
	return l.rewrite(func(w io.Writer) error {
		_, err := io.Copy(w, kept)
		return err
	})
}

// rewrite replaces the log atomically by what write writes. After an error the old log is in force.
func (l *runLog) rewrite(write func(io.Writer) error) (err error) {
	t, err := renameio.NewPendingFile(l.path, renameio.WithTempDir(filepath.Dir(l.path)), renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer t.Cleanup()
	if err := write(t); err != nil {
		return err
	}
	failpoint.Reached("new log written")
	f, err := os.OpenFile(t.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		err = t.CloseAtomicallyReplace()
	}
	if err != nil {
		f.Close()
		return err
	}
	failpoint.Reached("new log in force")
	if l.file != nil {
		l.file.Close() // the old log, which has no name any more
	}
	l.file, l.size, l.base, l.dirty = f, size, size, false
	return nil
}

// append writes one record. After an error the log is as it was.
func (l *runLog) append(c bridged.Change) error {
	if err := l.clean(); err != nil {
		return err
	}
	defer func() {
		if l.buf.Cap() > keepBuffer {
			l.buf = bytes.Buffer{}
		}
	}()
	l.buf.Reset()
	if err := appendRecord(&l.buf, c); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(l.buf.Bytes(), l.size); err != nil {
		l.dirty = true
		return errors.Join(err, l.clean())
	}
	l.size += int64(l.buf.Len())
	return nil
}

// takeBack cuts off what was appended since the log had this size.
func (l *runLog) takeBack(size int64) error {
	l.size, l.dirty = size, true
	return l.clean()
}

// clean cuts off the rest of a failed write.
func (l *runLog) clean() error {
	if !l.dirty {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.dirty = false
	return nil
}

func (l *runLog) grown() bool { return l.size > grownFrom && l.size > 2*l.base }
