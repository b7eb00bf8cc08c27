// Package sysctl reads and writes kernel parameters. Those of the network are of the calling thread's network namespace: a
// caller that has entered one with package netns reads and writes there.
package sysctl

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const root = "/proc/sys/"

// Get is the value at path, as "net/ipv4/ip_forward", without white space around it: unix.ENOENT when there is no such
// parameter, as for all of IPv6 on a host without.
func Get(path string) (string, error) {
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("cannot read sysctl %q: not a path below %s: %w", path, root, unix.EINVAL)
	}
	value, err := read(root + path)
	if err != nil {
		return "", fmt.Errorf("cannot read sysctl %s: %w", path, err)
	}
	return value, nil
}

// Set makes the value at path value. It reads first and writes only a difference, so that a file system that can't be written
// does not matter where nothing is to be changed.
func Set(path, value string) error {
	have, err := Get(path)
	if err != nil || have == value {
		return err
	}
	if err := write(root+path, value); err != nil {
		return fmt.Errorf("cannot set sysctl %s from %s to %s: %w", path, have, value, err)
	}
	return nil
}

// read is for small files: one page of a parameter's value.
func read(file string) (string, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

func write(file, value string) error {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}
