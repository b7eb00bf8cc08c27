package netns

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/failpoint"
)

// A namespace is mounted over a file, and the file beneath can say whose it is: a mark, which is there before the namespace is, for as long as
// the path is. What others make at the same path, "ip netns" for one, has a file of its own without that mark.

// maxMark is more than any mark has, in bytes.
const maxMark = 256

// place makes the file that a namespace is mounted over, with the mark in it from the start: unix.EEXIST when there is something. The mark
// is the name of a file beside it for a moment, which a crash may leave.
func place(path, mark string) error {
	beside := filepath.Join(filepath.Dir(path), mark)
	if mark == "" {
		beside = path
	}
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	failpoint.Reached("namespace's file made")
	_, err = f.WriteString(mark)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	failpoint.Reached("namespace's file marked")
	if beside == path {
		return nil
	}
	err = os.Link(beside, path)
	failpoint.Reached("namespace's file named")
	return errors.Join(err, os.Remove(beside))
}

// Mark is what the file at path says, beneath the namespace that may be mounted over it; "" when it says nothing or there is none.
func Mark(path string) (string, error) {
	// A copy of the mount that the directory is in, without those on top.
	dir, err := unix.OpenTree(unix.AT_FDCWD, filepath.Dir(path), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", wrap("cannot look beneath "+path, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, filepath.Base(path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) {
		return "", nil
	}
	if err != nil {
		return "", wrap("cannot look beneath "+path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxMark {
		return "", err
	}
	text, err := io.ReadAll(f)
	return string(text), err
}
