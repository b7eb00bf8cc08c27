package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bridged/bridged"
)

func (s *Store) valuesDir() string { return filepath.Join(s.dirs.State, "values") }

// Value is a small value that outlives a boot, as a random prefix of this host; nil: it was never set. The name is one that
// [bridged.CheckName] accepts.
func (s *Store) Value(name string) ([]byte, error) {
	if err := bridged.CheckName("value", name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := os.ReadFile(filepath.Join(s.valuesDir(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return v, err
}

// SetValue keeps a small value; it is on the disk when SetValue returns. After an error the old value is in force.
func (s *Store) SetValue(name string, value []byte) error {
	if err := bridged.CheckName("value", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return errClosed()
	}
	if err := replace(filepath.Join(s.valuesDir(), name), value); err != nil {
		return diskError("cannot keep the value "+name, err)
	}
	return nil
}
