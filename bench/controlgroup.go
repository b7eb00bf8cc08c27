package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// controlGroupRoot is where the kernel shows control groups: those of version 1 one level deeper, by controller.
const controlGroupRoot = "/sys/fs/cgroup"

// controlGroupPrefix begins the names of our control groups; the number of the process that they are of follows.
const controlGroupPrefix = "bridged-bench-"

// controlGroup is the name of the control group that Docker's containers are in. It is ours alone.
func controlGroup() string { return fmt.Sprintf("%s%d", controlGroupPrefix, os.Getpid()) }

// removeControlGroups removes what is left of it: unlike all the rest it does not go with a namespace. A group goes before the one that it is in.
func removeControlGroups(root, name string) error {
	tops, err := controlGroups(root, name)
	if err != nil {
		return err
	}
	var dirs []string
	for _, top := range tops {
		err = errors.Join(err, filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err == nil && e.IsDir():
				dirs = append(dirs, path)
			}
			return err
		}))
	}
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// removeStaleControlGroups removes those of runs that were killed: of processes that are no more, or had our number.
func removeStaleControlGroups(root string) error {
	tops, err := controlGroups(root, controlGroupPrefix+"*")
	if err != nil {
		return err
	}
	stale := make(map[string]bool)
	for _, top := range tops {
		name := filepath.Base(top)
		pid, err := strconv.Atoi(strings.TrimPrefix(name, controlGroupPrefix))
		if err == nil && (pid == os.Getpid() || errors.Is(unix.Kill(pid, 0), unix.ESRCH)) {
			stale[name] = true
		}
	}
	for name := range stale {
		err = errors.Join(err, removeControlGroups(root, name))
	}
	return err
}

// controlGroups are the groups of that name, which may be a pattern, in both versions.
func controlGroups(root, name string) ([]string, error) {
	deeper, err := filepath.Glob(root + "/*/" + name)
	if err != nil {
		return nil, err
	}
	tops, err := filepath.Glob(root + "/" + name)
	return append(deeper, tops...), err
}
