package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// controlGroup is the name of the control group that Docker's containers are in. It is ours alone.
func controlGroup() string { return fmt.Sprintf("bridged-bench-%d", os.Getpid()) }

// removeControlGroups removes what is left of it: unlike all the rest it does not go with a namespace. A group goes before the one that it is in.
func removeControlGroups(name string) error {
	tops, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return err
	}
	var dirs []string
	for _, top := range append(tops, "/sys/fs/cgroup/"+name) {
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
