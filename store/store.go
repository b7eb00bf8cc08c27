package store

import "github.com/bridged/bridged"

// Dirs are the two directories.
type Dirs struct {
	// Run holds what can't outlive a boot.
	Run string
	// State holds what does.
	State string
}

// Store is the State on disk. Its methods may be called from several goroutines.
type Store struct{}

// Open locks the directories and replays what is there through apply.
func Open(d Dirs, apply func(bridged.Change)) (*Store, error) { return &Store{}, nil }

// Append records the change, all of it or nothing.
func (s *Store) Append(c bridged.Change) error { return nil }

// Grown reports whether the log is much larger than what it says: time for Compact.
func (s *Store) Grown() bool { return false }

// Compact rewrites the log so that it says whole and nothing else. Networks in whole are ignored: their files are current.
func (s *Store) Compact(whole bridged.Change) error { return nil }

// Value is a small value that outlives a boot; nil: never set.
func (s *Store) Value(name string) ([]byte, error) { return nil, nil }

// SetValue keeps a small value.
func (s *Store) SetValue(name string, value []byte) error { return nil }

// Warnings are what Open found broken and set aside.
func (s *Store) Warnings() []string { return nil }

// Close gives the directories back.
func (s *Store) Close() error { return nil }
