package engine

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/bridged/bridged/internal/netns"
)

func (m *machine) names() map[string]struct{} {
	dir, err := os.Open(namespaceDir)
	if errors.Is(err, os.ErrNotExist) {
		return map[string]struct{}{}
	}
	if err != nil {
		return nil
	}
	defer dir.Close()
	all, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	names := make(map[string]struct{}, len(all))
	for _, name := range all {
		names[name] = struct{}{}
	}
	return names
}

func (m *machine) marked() (map[string]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for _, e := range entries {
		path := filepath.Join(namespaceDir, e.Name())
		mark, err := netns.Mark(path)
		if err != nil {
			return nil, err
		}
		if mark != "" {
			found[path] = mark
		}
	}
	return found, nil
}
