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

const root = "/proc/sys/"

// Get is the value at path, as "net/ipv4/ip_forward", without white space around it: unix.ENOENT when there is no such
// parameter, as for all of IPv6 on a host without.
func Get(path string) (string, error) {
	value, err := get(path)
	if err != nil {
		return "", fmt.Errorf("cannot read sysctl %s: %w", path, err)
	}
	return value, nil
}

func get(path string) (string, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return read(fd)
}

// Each calls f with the values at paths, in their order, as Get has them; i is the number of the path. Of those in one directory that stand together the directory is looked up
// once: where there are a thousand network namespaces, so many have directories of the same names, and the kernel goes through all of them.
func Each(paths []string, f func(i int, value string, err error)) {
	var dir string
	fd, err := -1, error(nil)
	for i, path := range paths {
		if d := filepath.Dir(path); d != dir {
			if fd >= 0 {
				unix.Close(fd)
			}
			dir = d
			fd, err = open(dir, unix.O_PATH|unix.O_DIRECTORY)
		}
		value, failed := "", err
		if failed == nil {
			value, failed = getAt(fd, filepath.Base(path))
		}
		if failed != nil {
			failed = fmt.Errorf("cannot read sysctl %s: %w", path, failed)
		}
		f(i, value, failed)
	}
	if fd >= 0 {
		unix.Close(fd)
	}
}

func getAt(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return read(fd)
}

// Set makes the value at path value. It reads first and writes only a difference, so that a file system that can't be written
// does not matter where nothing is to be changed.
func Set(path, value string) error {
	fd, denied := open(path, unix.O_RDWR)
	if errors.Is(denied, unix.EACCES) || errors.Is(denied, unix.EPERM) || errors.Is(denied, unix.EROFS) {
		have, err := Get(path)
		if err != nil || have == value {
			return err
		}
		return cannotSet(path, have, value, denied)
	}
	if denied != nil {
		return fmt.Errorf("cannot read sysctl %s: %w", path, denied)
	}
	defer unix.Close(fd)
	have, err := read(fd)
	if err != nil {
		return fmt.Errorf("cannot read sysctl %s: %w", path, err)
	}
	if have == value {
		return nil
	}
	if _, err := unix.Pwrite(fd, []byte(value), 0); err != nil {
		return cannotSet(path, have, value, err)
	}
	return nil
}

func cannotSet(path, have, value string, err error) error {
	return fmt.Errorf("cannot set sysctl %s from %s to %s: %w", path, have, value, err)
}

func open(path string, how int) (fd int, err error) {
	if !filepath.IsLocal(path) {
		return -1, fmt.Errorf("%q is not a path below %s: %w", path, root, unix.EINVAL)
	}
	return unix.Open(root+path, how|unix.O_CLOEXEC, 0)
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
