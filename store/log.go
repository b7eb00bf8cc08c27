package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
)

// logFormat is the version of the log's records. It changes when an older daemon would misread them, not when a field is
// added; the header line itself never changes its form. A log of format 1 is in testdata, with a record of every kind.
const logFormat = 1

// header is the first record of a log.
type header struct {
	Format int
	Boot   string
	// Incomplete: there was more than the log says.
	Incomplete bool `json:",omitempty"`
}

// Sizes in bytes.
const (
	grownFrom = 1 << 20 // a log that is smaller is not worth a Compact
	// reserve is kept free for what must be recorded of an operation that was begun: it is finished or taken back, also on a full disk.
	// Some sixty of an ordinary size can be under way.
	reserve = 64 << 10
)

// runLog is the open log. Its methods must not be called at the same time.
type runLog struct {
	path string
	head header
	file *os.File
	// size is where the next record goes, in bytes; base is the size after the last compaction, or when it was opened.
	size, base int64
	// dirty: behind size may lie the rest of a failed write.
	dirty bool
	// allocated is the offset up to which the file has its space.
	allocated int64
	inode     uint64 // of the file
	noted     length
}

// openLog reads the log at path, or begins one. One of another boot is moved to former. The warning is about damage that was set aside; "" is none.
func openLog(path, former, boot string, noted length) (l *runLog, c contents, warning string, err error) {
	l = &runLog{path: path, head: header{Format: logFormat, Boot: boot}, noted: noted}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the first start of this boot, or somebody removed it
		l.head.Incomplete = true
		return l, c, "", l.begin(nil)
	case err != nil:
		return nil, c, "", err
	case !info.Mode().IsRegular():
		warning, err = l.beginAnew(errors.New("it is no file"), nil)
		return l, c, warning, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, c, "", err
	}
	if c, err = readLog(f, boot); err != nil {
		f.Close()
		return nil, c, "", err
	}
	if l.inode, err = inode(f); err != nil {
		f.Close()
		return nil, c, "", err
	}
	known := true
	if c.current && c.damage == nil {
		known, c.damage = noted.missing(l.inode, c.end)
	}
	if c.current && c.damage == nil {
		l.head.Incomplete = c.incomplete || !known // it may be another file than the one that was written
		l.file, l.size, l.base, l.dirty = f, c.end, c.end, c.torn
		return l, c, "", l.clean()
	}
	defer f.Close()
	if c.damage == nil { // it is of another boot
		if err := os.Rename(path, former); err != nil {
			return nil, c, "", err
		}
		return l, c, "", l.begin(nil)
	}
	warning, err = l.beginAnew(c.damage, c.kept(f))
	return l, c, warning, err
}

// beginAnew sets a damaged log aside and begins another one with the records in kept; nil: none.
func (l *runLog) beginAnew(damage error, kept io.Reader) (warning string, err error) {
	aside, err := setAside(l.path)
	if err != nil {
		return "", fmt.Errorf("cannot set the damaged log aside: %w", err)
	}
	l.head.Incomplete = true
	return fmt.Sprintf("%s is damaged: %v; it was set aside as %s, and what can be read of it is kept", l.path, damage, aside), l.begin(kept)
}

func newerFormat(path string, got, known int) error {
	return bridged.Errorf(bridged.ErrUnavailable,
		"%s was written by a newer version of bridged (format %d, this one knows up to %d): start that version", path, got, known)
}

// begin replaces the log atomically by a new one: a header and the records in kept; nil: just a header.
func (l *runLog) begin(kept io.Reader) error {
	var b bytes.Buffer
	if err := appendRecord(&b, l.head); err != nil {
		return err
	}
	all := io.Reader(&b)
	if kept != nil {
		all = io.MultiReader(&b, kept)
	}
	return l.rewrite(func(w io.Writer) error {
		_, err := io.Copy(w, all)
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
		l.inode, err = inode(f)
	}
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
	l.file, l.size, l.base, l.dirty, l.allocated = f, size, size, false, 0
	l.noted.note(l.inode, l.size)
	return nil
}

// append writes one record. After an error the log is as it was. With leave it leaves the reserve free.
func (l *runLog) append(record []byte, leave bool) error {
	if err := l.clean(); err != nil {
		return err
	}
	if leave {
		if err := l.allocate(l.size + int64(len(record)) + reserve); err != nil {
			return err
		}
	}
	if _, err := l.file.WriteAt(record, l.size); err != nil {
		l.dirty = true
		return errors.Join(l.named(err), l.clean())
	}
	l.size += int64(len(record))
	l.noted.note(l.inode, l.size)
	return nil
}

// allocate gives the file its space up to this offset, and some more if there is. A file system that can't do that does without.
func (l *runLog) allocate(end int64) error {
	if end <= l.allocated {
		return nil
	}
	var err error
	for _, to := range []int64{end + reserve, end} { // so that not every record asks
		for {
			if err = unix.Fallocate(int(l.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, l.size, to-l.size); err != unix.EINTR {
				break
			}
		}
		if err == nil || err == unix.EOPNOTSUPP {
			l.allocated = to
			return nil
		}
	}
	return &fs.PathError{Op: "allocate", Path: l.path, Err: err}
}

// takeBack cuts off what was appended since the log had this size.
func (l *runLog) takeBack(size int64) error {
	l.size, l.dirty = size, true
	l.noted.note(l.inode, l.size)
	return l.clean()
}

// named is an error of the open file with the name that people find it by.
func (l *runLog) named(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &fs.PathError{Op: p.Op, Path: l.path, Err: p.Err}
	}
	return err
}

// clean cuts off the rest of a failed write.
func (l *runLog) clean() error {
	if !l.dirty {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return l.named(err)
	}
	l.allocated = 0 // the reserve went, too: it is taken again before somebody else has it
	_ = l.allocate(l.size + reserve)
	l.dirty = false
	return nil
}

func (l *runLog) grown() bool { return l.size > grownFrom && l.size > 2*l.base }
