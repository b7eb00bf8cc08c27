package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bridged/bridged"
)

// networkFormat is the version of a network's file; see logFormat for when it changes.
//
//	1  no checksum
//	2  the checksum comes first
//
// A file of an older format is written anew when it is read. testdata has one of each.
const networkFormat = 2

// networkFile is the form of a network's file. Sum is the CRC-32C of the file with eight zeros in its place, in hex; it stands at the same place
// in every format from 2 on, so that damage is told from a format of the future.
type networkFile struct {
	Sum     string
	Format  int
	Network *bridged.Network
}

const (
	beforeSum = "{\n\t\"Sum\": \""
	noSum     = "00000000"
)

func encodeNetwork(n *bridged.Network) ([]byte, error) {
	b, err := json.MarshalIndent(networkFile{noSum, networkFormat, n}, "", "\t")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	copy(b[len(beforeSum):], checksum(b))
	return b, nil
}

// checkNetwork checks the sum of a network's file; false: it has none.
func checkNetwork(content []byte) (summed bool, err error) {
	if !bytes.HasPrefix(content, []byte(beforeSum)) || len(content) < len(beforeSum)+len(noSum) {
		return false, nil
	}
	got := string(content[len(beforeSum):][:len(noSum)])
	plain := bytes.Clone(content)
	copy(plain[len(beforeSum):], noSum)
	if want := string(checksum(plain)); got != want {
		return true, fmt.Errorf("its checksum is %s, not %q", want, got)
	}
	return true, nil
}

// decodeNetwork reads the file at path; format is what it was written in. [bridged.ErrUnavailable]: a format of the future; any other
// error: it is damaged.
func decodeNetwork(path string, content []byte) (n *bridged.Network, format int, err error) {
	summed, err := checkNetwork(content)
	if err != nil {
		return nil, 0, err
	}
	// The format comes first, alone: the rest of a newer file may not even decode.
	var f struct{ Format int }
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, 0, err
	}
	if summed != (f.Format > 1) {
		return nil, 0, fmt.Errorf("it has format %d, and that its checksum is there is %t", f.Format, summed)
	}
	if f.Format > networkFormat {
		return nil, 0, newerFormat(path, f.Format, networkFormat)
	}
	var whole networkFile
	if err := json.Unmarshal(content, &whole); err != nil {
		return nil, 0, err
	}
	switch {
	case f.Format < 1 || whole.Network == nil:
		return nil, 0, errors.New("it holds no network")
	case whole.Network.ID+networkSuffix != filepath.Base(path):
		return nil, 0, fmt.Errorf("it holds the network with the id %q", whole.Network.ID)
	}
	return whole.Network, f.Format, nil
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

// load reads all files. Damaged ones are set aside; those of an older format are written anew. damage says what was wrong, by the
// networks' ids.
func (n networks) load() (found map[string]*bridged.Network, damage map[string]string, err error) {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil, nil, err
	}
	found, damage = make(map[string]*bridged.Network), make(map[string]string)
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), networkSuffix)
		if !ok {
			continue
		}
		path := filepath.Join(n.dir, e.Name())
		network, format, damaged, err := n.read(path, e)
		if err != nil {
			return nil, nil, err
		}
		if damaged != nil {
			aside, err := setAside(path)
			if err == nil {
				err = remove(path)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("cannot set the damaged file of a network aside: %w", err)
			}
			damage[id] = fmt.Sprintf("the network's file %s is damaged (%v): it was set aside as %s", path, damaged, aside)
			continue
		}
		found[network.ID] = network
		if format < networkFormat {
			if err := n.write(network); err != nil { // the next start tries again
				damage[id] = fmt.Sprintf("cannot write the network's file %s of format %d anew: %v", path, format, err)
			}
		}
	}
	return found, damage, nil
}

// read reads one file. damaged says why it holds no network.
func (n networks) read(path string, e os.DirEntry) (network *bridged.Network, format int, damaged, err error) {
	if !e.Type().IsRegular() {
		return nil, 0, errors.New("it is no file"), nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, nil, err
	}
	network, format, err = decodeNetwork(path, content)
	if errors.Is(err, bridged.ErrUnavailable) {
		return nil, 0, nil, err
	}
	return network, format, err, nil
}

// write writes one file.
func (n networks) write(network *bridged.Network) error {
	path, err := n.path(network.ID)
	if err != nil {
		return err
	}
	content, err := encodeNetwork(network)
	if err != nil {
		return err
	}
	return replace(path, content)
}
