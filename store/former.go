package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bridged/bridged"
)

// The log of the last boot is kept under another name until what it says of files is cleared away: nothing else tells whose they are where the
// run directory outlives a boot.

func (s *Store) formerPath() string { return filepath.Join(s.dirs.Run, "log.former") }

// readFormer finds the sandboxes of the last boot. What can't be read of its log, or has another format, is nothing to warn of.
func (s *Store) readFormer() error {
	f, err := os.Open(s.formerPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var state bridged.State
	for _, change := range recordsOf(f) {
		state.Apply(bridged.Change{Sandboxes: change.Sandboxes})
	}
	for _, sandbox := range state.Sandboxes {
		s.former = append(s.former, sandbox)
	}
	return nil
}

// recordsOf are the records that can be read of a log of any boot.
func recordsOf(f *os.File) []bridged.Change {
	var h header
	c, err := readLogOf(f, func(line []byte) bool { return decodeRecord(line, &h) == nil && h.Format == logFormat })
	if err != nil {
		return nil
	}
	return c.records
}

// Former are the sandboxes of the last boot, as its log said, until ForgetFormer. There is nothing of them any more but, where
// the run directory outlives a boot, files.
func (s *Store) Former() []bridged.Sandbox { return slices.Clone(s.former) }

// ForgetFormer removes the log of the last boot.
func (s *Store) ForgetFormer() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.former = nil
	if err := os.Remove(s.formerPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return diskError("cannot remove the log of the last boot", err)
	}
	return nil
}
