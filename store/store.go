package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
)

// Dirs are the two directories. Those that are missing are made, the run directory with the permissions 0755, for the daemon's socket is in
// it, the other with 0700.
type Dirs struct {
	// Run holds what can't outlive a boot; it should be on a tmpfs, as in /run.
	Run string
	// State holds what does, as in /var/lib.
	State string
}

// Store is the State on disk. Its methods may be called from several goroutines.
type Store struct {
	dirs         Dirs
	locks        []*os.File
	length       length
	networks     objects[bridged.Network]
	reservations objects[bridged.Reservation]
	warnings     []string
	former       []bridged.Sandbox

	mu  sync.Mutex
	log *runLog // nil after Close
}

// bootIDPath is where the kernel names the boot, random(4).
const bootIDPath = "/proc/sys/kernel/random/boot_id"

// Open locks both directories and replays what is there through apply: first all networks and reservations in one change, then the changes of this
// boot in their order. When it fails, what was applied is to be forgotten.
//
// [bridged.ErrConflict]: another daemon has one of the directories. [bridged.ErrUnavailable]: a newer version of the
// program wrote there. Damage is no error: see [Store.Warnings].
func Open(d Dirs, apply func(bridged.Change)) (*Store, error) { return open(d, bootIDPath, apply) }

func open(d Dirs, bootIDPath string, apply func(bridged.Change)) (_ *Store, err error) {
	boot, err := os.ReadFile(bootIDPath)
	if err != nil {
		return nil, fmt.Errorf("cannot learn which boot this is: %w", err)
	}
	s := &Store{
		dirs:         d,
		networks:     objects[bridged.Network]{networkKind(), filepath.Join(d.State, "networks")},
		reservations: objects[bridged.Reservation]{reservationKind(), filepath.Join(d.State, "reservations")},
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.prepare(); err != nil {
		return nil, diskError("cannot use the directories", err)
	}
	if err := s.read(strings.TrimSpace(string(boot)), apply); err != nil {
		return nil, err
	}
	return s, nil
}

// read reads what is there.
func (s *Store) read(boot string, apply func(bridged.Change)) error {
	networks, err := s.networks.load()
	if err != nil {
		return err
	}
	reservations, err := s.reservations.load()
	if err != nil {
		return err
	}
	log, c, warning, err := openLog(s.logPath(), s.formerPath(), boot, s.length)
	if err != nil {
		return diskError("cannot open the log", err)
	}
	s.log = log
	if err := s.readFormer(); err != nil {
		return diskError("cannot read the log of the last boot", err)
	}
	if warning != "" {
		s.warnings = append(s.warnings, warning)
	}
	more, lost, err := s.networks.complete(networks, c.networks)
	if err != nil {
		return err
	}
	evenMore, alsoLost, err := s.reservations.complete(reservations, c.reservations)
	if err != nil {
		return err
	}
	s.warnings = append(append(s.warnings, more...), evenMore...)
	s.log.head.Incomplete = s.log.head.Incomplete || lost || alsoLost
	if len(networks.objects)+len(reservations.objects) > 0 {
		apply(bridged.Change{Networks: networks.objects, Reservations: reservations.objects})
	}
	for _, change := range c.records {
		apply(change)
	}
	return nil
}

// prepare makes and locks the directories, and removes what a crash left half made.
func (s *Store) prepare() error {
	if filepath.Clean(s.dirs.Run) == filepath.Clean(s.dirs.State) {
		return bridged.Errorf(bridged.ErrInvalid, "the run directory and the state directory are both %s: they must be two", s.dirs.Run)
	}
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{s.dirs.Run, runMode}, {s.dirs.State, dirMode}} {
		if err := makeDir(dir.path, dir.mode); err != nil {
			return fmt.Errorf("cannot make the directory: %w", err)
		}
		failpoint.Reached("directory of the store made")
		l, err := lock(dir.path)
		if err != nil {
			return err
		}
		s.locks = append(s.locks, l)
	}
	for _, dir := range s.objectDirs() {
		if err := makeDir(dir, dirMode); err != nil {
			return fmt.Errorf("cannot make the directory: %w", err)
		}
	}
	for _, dir := range append(s.objectDirs(), s.dirs.Run) {
		if err := removeTemporary(dir); err != nil {
			return fmt.Errorf("cannot remove what a crash left: %w", err)
		}
	}
	if err := s.tighten(); err != nil {
		return fmt.Errorf("cannot set permissions: %w", err)
	}
	var err error
	s.length, err = openLength(filepath.Join(s.dirs.Run, "length"))
	return err
}

// objectDirs are the directories in the state directory.
func (s *Store) objectDirs() []string {
	return []string{s.networks.dir, s.reservations.dir, s.valuesDir()}
}

// tighten takes away permissions that somebody gave.
func (s *Store) tighten() error {
	paths := append(s.objectDirs(), s.dirs.Run, s.dirs.State, s.logPath())
	for _, dir := range s.objectDirs() {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return err
		}
		paths = append(paths, files...)
	}
	for _, path := range paths {
		warning, err := tighten(path, fileMode)
		if err != nil {
			return err
		}
		if warning != "" {
			s.warnings = append(s.warnings, warning)
		}
	}
	return nil
}

func (s *Store) logPath() string { return filepath.Join(s.dirs.Run, "log") }

// Append records the change, all of it or nothing: networks and reservations in their files, which are on the disk when it returns, and everything
// as one record of the log, which survives the process. The error names the file; [bridged.ErrUnavailable]: the disk is full, or
// can't be written to.
//
// Only a crash can come between the files and the record; a change that it cuts in two was never acknowledged. New networks
// are written before the record and old ones removed after it, so that no record refers to a network that is not there.
func (s *Store) Append(c bridged.Change) error { return s.record(c, false) }

// Begin is Append for a change with which an operation begins: it is refused where there would be no room left for Append to finish
// the operation, or to take it back.
func (s *Store) Begin(c bridged.Change) error { return s.record(c, true) }

func (s *Store) record(c bridged.Change, leave bool) error {
	var record bytes.Buffer // made before the lock is taken: it is most of the work
	if err := appendRecord(&record, c); err != nil {
		return fmt.Errorf("cannot record the change: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return errClosed()
	}
	if err := s.append(c, record.Bytes(), leave); err != nil {
		return diskError("cannot record the change", err)
	}
	return nil
}

func (s *Store) append(c bridged.Change, record []byte, leave bool) error {
	networks, err := s.networks.stage(c.Networks)
	defer networks.cleanUp()
	if err != nil {
		return err
	}
	reservations, err := s.reservations.stage(c.Reservations)
	defer reservations.cleanUp()
	if err != nil {
		return err
	}
	files := fileChanges{networks, reservations}
	size := s.log.size
	err = files.put()
	if err == nil && !c.Empty() {
		failpoint.Reached("before the record")
		err = s.log.append(record, leave)
	}
	if err == nil {
		err = files.drop()
	}
	if err == nil {
		return nil
	}
	if s.log.size > size {
		err = errors.Join(err, s.log.takeBack(size))
	}
	return errors.Join(err, files.takeBack())
}

// Grown reports whether the log has become so much larger than what it says that Compact is worth its time.
func (s *Store) Grown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log != nil && s.log.grown()
}

// Compact replaces the log atomically by one that says whole and nothing else: whole must be everything that there is. After an error
// the old log is in force.
func (s *Store) Compact(whole bridged.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return errClosed()
	}
	if err := s.log.compact(whole); err != nil {
		return diskError("cannot compact the log", err)
	}
	return nil
}

// Incomplete reports whether there was more than Open could read, because the log or a network's file was damaged or lost, or because a
// daemon that found it so ended before it could compact the log.
func (s *Store) Incomplete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log != nil && s.log.head.Incomplete
}

// Warnings say what Open found damaged and set aside, one sentence each.
func (s *Store) Warnings() []string { return slices.Clone(s.warnings) }

// Close gives the directories back. What was appended is there; a second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.file.Close())
		s.log = nil
	}
	if s.length.file != nil {
		errs = append(errs, s.length.close())
		s.length.file = nil
	}
	for _, l := range s.locks {
		errs = append(errs, l.Close())
	}
	s.locks = nil
	return errors.Join(errs...)
}

func errClosed() error { return fmt.Errorf("the store is closed: %w", os.ErrClosed) }
