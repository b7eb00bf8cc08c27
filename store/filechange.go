package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"

	"github.com/bridged/bridged/internal/failpoint"
)

// fileChange is what one change does to the files of one kind of object. First everything that needs space is written beside the files, so
// that a full disk is found before anything has changed.
type fileChange struct {
	dir     string
	staged  []stagedFile
	removed []string // paths
	undo    []func() error
}

type stagedFile struct {
	path string
	file *renameio.PendingFile
}

// stage prepares the change. Its cleanUp must be called in any case.
func (o objects[V]) stage(change map[string]*V) (*fileChange, error) {
	c := &fileChange{dir: o.dir}
	for id, object := range change {
		path, err := o.path(id)
		switch {
		case err != nil:
			return c, err
		case object == nil:
			c.removed = append(c.removed, path)
		case o.id(object) != id:
			return c, fmt.Errorf("the %s to be kept as %q has the id %q", o.name, id, o.id(object))
		default:
			content, err := o.encode(object)
			if err == nil {
				err = c.stage(path, content)
			}
			if err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

func (c *fileChange) stage(path string, content []byte) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(c.dir), renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	c.staged = append(c.staged, stagedFile{path, f})
	failpoint.Reached("temporary file made")
	if _, err := f.Write(content); err != nil {
		return err
	}
	failpoint.Reached("temporary file written")
	return f.Sync()
}

// put gives the staged files their names.
func (c *fileChange) put() error {
	for _, s := range c.staged {
		if err := c.noteUndo(s.path); err != nil {
			return err
		}
		failpoint.Reached("temporary file synced")
		if err := s.file.CloseAtomicallyReplace(); err != nil {
			return err
		}
		failpoint.Reached("temporary file renamed")
	}
	if len(c.staged) == 0 {
		return nil
	}
	return syncDir(c.dir)
}

// drop removes the files that are to go.
func (c *fileChange) drop() error {
	for _, path := range c.removed {
		if err := c.noteUndo(path); err != nil {
			return err
		}
		if err := remove(path); err != nil {
			return err
		}
	}
	return nil
}

// noteUndo remembers the file as it is. It comes before the change to the file, since a change that failed may be half done.
func (c *fileChange) noteUndo(path string) error {
	before, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c.undo = append(c.undo, func() error { return remove(path) })
		return nil
	}
	if err != nil {
		return err
	}
	c.undo = append(c.undo, func() error {
		if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, before) {
			return nil // it was not changed after all, and the disk may be full
		}
		return replace(path, before)
	})
	return nil
}

// takeBack makes all files what they were before put and drop, and goes on after an error.
func (c *fileChange) takeBack() error {
	var errs []error
	for _, undo := range c.undo {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}

// cleanUp removes staged files that got no name.
func (c *fileChange) cleanUp() {
	for _, s := range c.staged {
		_ = s.file.Cleanup() // the next Open removes what is left
	}
}

// fileChanges are those of all kinds of object.
type fileChanges []*fileChange

func (cs fileChanges) put() error  { return cs.each((*fileChange).put) }
func (cs fileChanges) drop() error { return cs.each((*fileChange).drop) }

// each stops at the first error.
func (cs fileChanges) each(do func(*fileChange) error) error {
	for _, c := range cs {
		if err := do(c); err != nil {
			return err
		}
	}
	return nil
}

func (cs fileChanges) takeBack() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.takeBack())
	}
	return errors.Join(errs...)
}
