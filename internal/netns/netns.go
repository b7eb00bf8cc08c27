// Package netns opens, makes, removes and enters network namespaces.
package netns

import "errors"

// NS is an open network namespace.
type NS struct{}

// Open opens the namespace at path.
func Open(path string) (*NS, error) { return nil, errors.ErrUnsupported }

// OpenPID opens the namespace of a process.
func OpenPID(pid int) (*NS, error) { return nil, errors.ErrUnsupported }

// Current opens the calling thread's namespace.
func Current() (*NS, error) { return nil, errors.ErrUnsupported }

// Make makes a namespace and mounts it at path, which must not exist.
func Make(path string) (*NS, error) { return nil, errors.ErrUnsupported }

// Remove takes away what Make made; it is no error when it is gone.
func Remove(path string) error { return errors.ErrUnsupported }

// FD is the file descriptor, valid until Close.
func (n *NS) FD() int { return -1 }

// ID is device and inode number of the namespace's file, which tell it from all other namespaces that exist now.
func (n *NS) ID() (dev, ino uint64) { return 0, 0 }

// Close closes the descriptor; the namespace lives on as long as something else holds it.
func (n *NS) Close() error { return errors.ErrUnsupported }

// Do runs f in the namespace.
func (n *NS) Do(f func() error) error { return errors.ErrUnsupported }
