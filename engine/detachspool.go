package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// A CNI runtime takes a container away whether there is a daemon or not. What it asked for meanwhile lies in a directory, a file for each
// attachment: DetachSpool of package client.

// detachSpooled takes those attachments away, before anybody else is served. What fails is tried again by the next start.
func (e *Engine) detachSpooled(ctx context.Context) {
	if e.cfg.DetachSpool == "" {
		return
	}
	entries, err := os.ReadDir(e.cfg.DetachSpool)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.warn(fmt.Sprintf("cannot see which containers were detached while there was no daemon: %v", err))
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || filepath.Ext(entry.Name()) != ".json" {
			continue // it is just being written
		}
		path := filepath.Join(e.cfg.DetachSpool, entry.Name())
		if err := e.detachFile(ctx, path); err != nil {
			e.warn(fmt.Sprintf("cannot do what %s asks for: %v", path, err))
		}
	}
}

// detachFile takes the attachment away that a file names, and then the file; a file that names none goes, too. An attachment that was made
// after the file is another one of the same name.
func (e *Engine) detachFile(ctx context.Context, path string) error {
	key, written, err := readSpooled(path)
	if err == nil {
		e.mu.Lock()
		_, endpoint, there := e.index.attachment(key)
		e.mu.Unlock()
		if there && !endpoint.Created.After(written.Add(clockGrain)) {
			if err := e.detachOne(ctx, key); err != nil {
				return err
			}
		}
	}
	return errors.Join(err, os.Remove(path))
}

// clockGrain is more than the time of a file is behind the clock: a tick of the kernel's at most.
const clockGrain = 100 * time.Millisecond

// maxSpooled is the largest file that is read, in bytes.
const maxSpooled = 4 << 10

func readSpooled(path string) (key bridged.AttachmentKey, written time.Time, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return key, written, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return key, written, err
	}
	if !info.Mode().IsRegular() {
		return key, written, errors.New("it is no file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSpooled))
	if err == nil {
		err = json.Unmarshal(text, &key)
	}
	if err != nil {
		return key, written, err
	}
	return key, info.ModTime(), checkAttachmentKey(key)
}
