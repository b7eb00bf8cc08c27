package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The permissions of what the store makes. In the run directory is the daemon's socket, which its group must reach; what the log says is
// nobody else's business.
const (
	runMode  = 0o755
	dirMode  = 0o700
	fileMode = 0o600
)

// makeDir makes a directory with these permissions, whatever the umask. One that is there keeps its own.
func makeDir(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
		}
		return err
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// tighten takes permissions away from what is at path that it should not have, and gives it those that it needs. The warning says that
// others could have changed it; "": they could not.
func tighten(path string, mode fs.FileMode) (warning string, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	const write = 0o022 // by others than the owner
	now, want := info.Mode().Perm(), mode
	if info.IsDir() {
		want = info.Mode().Perm()&^write | 0o700 // who may look into a directory is its maker's choice
	}
	if now == want || info.Mode()&fs.ModeSticky != 0 {
		return "", nil
	}
	if err := os.Chmod(path, want); err != nil {
		return "", err
	}
	if now&write != 0 {
		warning = fmt.Sprintf("%s had the permissions %#o, so that others could change it: look whether they did; it has %#o now", path, now, want)
	}
	return warning, nil
}
