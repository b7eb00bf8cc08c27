package cni

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

// del takes an attachment away. Without a daemon it is remembered, for the daemon to do when it is back: a runtime could do nothing but try
// again, and would keep the container until then.
func del(ctx context.Context, c *client.Client, host string, key bridged.AttachmentKey) error {
	err := c.Detach(ctx, key)
	if !errors.Is(err, bridged.ErrUnavailable) {
		return err
	}
	path, wrong := remember(host, key)
	if wrong != nil {
		return &Error{CodeTryAgain, err.Error(), "nor can the DEL be remembered: " + wrong.Error()}
	}
	// A daemon that has started meanwhile may have looked before the file was there.
	switch err := c.Detach(ctx, key); {
	case errors.Is(err, bridged.ErrUnavailable):
		return nil
	case err != nil:
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errorf(CodeIO, "the attachment is gone, but what was remembered of it is not: %v", err)
	}
	return nil
}

// remember writes a DEL where the daemon looks for it. A second one of the same attachment takes the place of the first.
func remember(host string, key bridged.AttachmentKey) (path string, err error) {
	dir, err := client.DetachSpool(host)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(key)
	if err != nil {
		return "", err
	}
	// Where the socket will be others come, too.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	sum := sha256.Sum256(text)
	path = filepath.Join(dir, hex.EncodeToString(sum[:16])+".json")
	return path, renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(dir))
}
