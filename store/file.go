package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/failpoint"
)

// replace writes the file atomically and makes sure that it survives a power cut.
func replace(path string, content []byte) error {
	dir := filepath.Dir(path)
	// The temporary directory must be named: the library would use $TMPDIR otherwise.
	if err := renameio.WriteFile(path, content, 0o600, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	failpoint.Reached("file replaced")
	return syncDir(dir)
}

// remove removes the file and makes sure that it stays away. One that is not there is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	failpoint.Reached("file removed")
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// setAside gives a file that can't be read a second name that nothing looks at. The first name stays: removing or replacing
// it is the caller's next step. What is no file loses its name.
func setAside(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return moveAside(path)
	}
	return aside(path, func(to string) error { return os.Link(path, to) })
}

// moveAside gives what is at path another name.
func moveAside(path string) (string, error) {
	return aside(path, func(to string) error {
		return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
}

// aside tries names until one is free.
func aside(path string, name func(to string) error) (string, error) {
	for n := 1; ; n++ {
		to := path + ".broken"
		if n > 1 {
			to = fmt.Sprintf("%s-%d", to, n)
		}
		if err := name(to); !errors.Is(err, fs.ErrExist) {
			return to, err
		}
	}
}

// removeTemporary removes what a crash in the middle of an atomic replacement left in dir.
func removeTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
