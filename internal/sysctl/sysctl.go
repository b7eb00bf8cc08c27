// Package sysctl reads and writes kernel parameters. Those of the network are of the calling thread's network namespace: a
// caller that has entered one with package netns reads and writes there.
package sysctl

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is a directory of parameters that is open. It is of the network namespace where it was opened, also for a thread that is in another one. Where
// there are a thousand namespaces, so many have directories of the same names, and the kernel goes through all of them to find one.
type Dir struct {
	fd   int
	base string // of what is opened there
	path string // that people know it by, with a slash at its end
}

// top is the directory of them all, which need not be opened.
var top = &Dir{fd: unix.AT_FDCWD, base: "/proc/sys/"}

// Get is the value at path, as "net/ipv4/ip_forward", without white space around it: unix.ENOENT when there is no such
// parameter, as for all of IPv6 on a host without.
func Get(path string) (string, error) { return top.Get(path) }

// Set makes the value at path value. It reads first and writes only a difference, so that a file system that can't be written
// does not matter where nothing is to be changed.
func Set(path, value string) error { return top.Set(path, value) }

// OpenDir opens a directory of parameters, as "net/ipv6/conf".
func OpenDir(path string) (*Dir, error) {
	d, err := openDir(path)
	if err != nil {
		return nil, cannotRead(path, err)
	}
	return d, nil
}

func openDir(path string) (*Dir, error) {
	fd, err := top.open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &Dir{fd: fd, path: path + "/"}, nil
}

// Close ends the use of the directory.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Each calls f with the values at paths, in their order, as Get has them; i is the number of the path. Of those in one directory that stand together the directory is looked up
// once.
func Each(paths []string, f func(i int, value string, err error)) {
	var at string
	d, err := (*Dir)(nil), error(nil)
	leave := func() {
		if d != nil {
			_ = d.Close() // nothing was written to it
		}
	}
	for i, path := range paths {
		if dir := filepath.Dir(path); i == 0 || dir != at {
			leave()
			at = dir
			d, err = openDir(dir)
		}
		if err != nil {
			f(i, "", cannotRead(path, err))
			continue
		}
		value, failed := d.Get(filepath.Base(path))
		f(i, value, failed)
	}
	leave()
}

// Get is [Get] below the directory.
func (d *Dir) Get(path string) (string, error) {
	fd, err := d.open(path, unix.O_RDONLY)
	if err != nil {
		return "", cannotRead(d.path+path, err)
	}
	defer unix.Close(fd)
	value, err := read(fd)
	if err != nil {
		return "", cannotRead(d.path+path, err)
	}
	return value, nil
}

// Set is [Set] below the directory.
func (d *Dir) Set(path, value string) error {
	fd, denied := d.open(path, unix.O_RDWR)
	if errors.Is(denied, unix.EACCES) || errors.Is(denied, unix.EPERM) || errors.Is(denied, unix.EROFS) {
		have, err := d.Get(path)
		if err != nil || have == value {
			return err
		}
		return cannotSet(d.path+path, have, value, denied)
	}
	if denied != nil {
		return cannotRead(d.path+path, denied)
	}
	defer unix.Close(fd)
	have, err := read(fd)
	if err != nil {
		return cannotRead(d.path+path, err)
	}
	if have == value {
		return nil
	}
	if _, err := unix.Pwrite(fd, []byte(value), 0); err != nil {
		return cannotSet(d.path+path, have, value, err)
	}
	return nil
}

func (d *Dir) open(path string, how int) (fd int, err error) {
	if !filepath.IsLocal(path) {
		return -1, fmt.Errorf("%q is not a path below %s: %w", path, top.base, unix.EINVAL)
	}
	return unix.Openat(d.fd, d.base+path, how|unix.O_CLOEXEC, 0)
}

func cannotRead(path string, err error) error {
	return fmt.Errorf("cannot read sysctl %s: %w", path, err)
}

func cannotSet(path, have, value string, err error) error {
	return fmt.Errorf("cannot set sysctl %s from %s to %s: %w", path, have, value, err)
}

// read is for small files: one page of a parameter's value.
func read(fd int) (string, error) {
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(buf[:n])), nil
}
