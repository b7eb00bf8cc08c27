package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bridged/bridged"
)

// networkFormat is the version of a network's file; see logFormat for when it changes.
const networkFormat = 1

// networkFile is the form of a network's file.
type networkFile struct {
	Format  int
	Network *bridged.Network
}

func encodeNetwork(n *bridged.Network) ([]byte, error) {
	b, err := json.MarshalIndent(networkFile{networkFormat, n}, "", "\t")
	return append(b, '\n'), err
}

// decodeNetwork reads the file at path. [bridged.ErrUnavailable]: it has a format of the future; any other error: it is damaged.
func decodeNetwork(path string, content []byte) (*bridged.Network, error) {
	// The format comes first, alone: the rest of a newer file may not even decode.
	var f struct{ Format int }
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, err
	}
	if f.Format > networkFormat {
		return nil, newerFormat(path, f.Format, networkFormat)
	}
	var whole networkFile
	if err := json.Unmarshal(content, &whole); err != nil {
		return nil, err
	}
	switch {
	case f.Format < 1 || whole.Network == nil:
		return nil, errors.New("it holds no network")
	case whole.Network.ID+networkSuffix != filepath.Base(path):
		return nil, fmt.Errorf("it holds the network with the id %q", whole.Network.ID)
	}
	return whole.Network, nil
}

const networkSuffix = ".json"

// networks is the directory of the networks' files.
type networks struct{ dir string }

// path is the file of the network with this id.
func (n networks) path(id string) (string, error) {
	if err := bridged.CheckName("network id", id); err != nil {
		return "", err // it would be no file's name
	}
	return filepath.Join(n.dir, id+networkSuffix), nil
}

// load reads all files. Damaged ones are set aside, with a warning each.
func (n networks) load() (found map[string]*bridged.Network, warnings []string, err error) {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil, nil, err
	}
	found = make(map[string]*bridged.Network)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), networkSuffix) {
			continue
		}
		path := filepath.Join(n.dir, e.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		network, err := decodeNetwork(path, content)
		if errors.Is(err, bridged.ErrUnavailable) {
			return nil, nil, err
		}
		if err == nil {
			found[network.ID] = network
			continue
		}
		aside, asideErr := setAside(path)
		if asideErr == nil {
			asideErr = remove(path)
		}
		if asideErr != nil {
			return nil, nil, fmt.Errorf("cannot set the damaged file of a network aside: %w", asideErr)
		}
		warnings = append(warnings, fmt.Sprintf("the network's file %s is damaged (%v): it was set aside as %s, and the network is forgotten",
			path, err, aside))
	}
	return found, warnings, nil
}
