package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"

	"github.com/bridged/bridged"
)

const attachments = Prefix + "/attachments"

// Attach makes an attachment, with its network if that is not there yet: all of it or nothing. A namespace that is not there, or went
// meanwhile, is [bridged.ErrNotFound]; a name, address or port that is taken, a second attachment of that key, and a network that is
// there and differs in what can't be changed, are [bridged.ErrConflict].
func (c *Client) Attach(ctx context.Context, spec bridged.AttachmentSpec) (bridged.Attachment, error) {
	var out bridged.Attachment
	return out, c.call(ctx, http.MethodPost, attachments, nil, spec, &out)
}

// Detach takes an attachment away, whether its namespace is there or not. One that is not there is no error.
func (c *Client) Detach(ctx context.Context, key bridged.AttachmentKey) error {
	query := url.Values{"network": {key.Network}, "container": {key.Container}, "interface": {key.Interface}}
	return c.call(ctx, http.MethodDelete, attachments, query, nil, nil)
}

// CheckAttachment compares an attachment with what it must be, and with the kernel. One that is not there is [bridged.ErrNotFound],
// all that differs is one [bridged.ErrConflict].
func (c *Client) CheckAttachment(ctx context.Context, spec bridged.AttachmentSpec) error {
	return c.call(ctx, http.MethodPost, attachments+"/check", nil, spec, nil)
}

// CollectAttachments takes away all attachments of a network, by its name in the CNI configuration, that are not in valid, and
// returns them. It goes on after an error; all errors come back as one.
func (c *Client) CollectAttachments(ctx context.Context, network string, valid []bridged.AttachmentKey) ([]bridged.AttachmentKey, error) {
	var out bridged.AttachmentsCollected
	in := bridged.AttachmentCollection{Network: network, Valid: valid}
	if err := c.call(ctx, http.MethodPost, attachments+"/collect", nil, in, &out); err != nil {
		return nil, err
	}
	var errs []error
	for _, text := range out.Errors {
		errs = append(errs, errors.New(text))
	}
	return out.Removed, errors.Join(errs...)
}

// DetachSpool is the directory for attachments that are to be taken away while there is no daemon at host: beside its socket. Each is
// a file of its own, the JSON form of a [bridged.AttachmentKey], with a name that ends in ".json" and comes into being by renaming. The daemon
// reads and removes the files when it starts: attachments that were made after the file are left alone. Whoever writes one must try to reach
// the daemon once more afterwards, since it may just have started.
func DetachSpool(host string) (string, error) {
	path, err := SocketPath(host)
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(path), "detach"), nil
}
