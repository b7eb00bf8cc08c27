package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/bridged/bridged"
)

// DefaultHost is where the daemon listens when nobody says otherwise.
const DefaultHost = "unix:///run/bridged/bridged.sock"

// Prefix begins the path of each call that is not Docker's.
const Prefix = "/bridged/v1"

// maxSocketPath is the longest path of a unix socket in bytes: sun_path of unix(7), less the final zero.
const maxSocketPath = 107

// Client makes calls to one daemon. It is safe for concurrent use.
type Client struct {
	host string
	http *http.Client
}

// Dial makes a client of the daemon at host, "unix://" and the absolute path of its socket. It checks the address only: a
// connection is made with the first call, so that a client can be there before its daemon.
func Dial(host string) (*Client, error) {
	path, err := SocketPath(host)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{}
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
	}
	return &Client{host: host, http: &http.Client{Transport: transport}}, nil
}

// SocketPath is the path in an address of the form unix://PATH.
func SocketPath(host string) (string, error) {
	path, ok := strings.CutPrefix(host, "unix://")
	switch {
	case !ok:
		return "", bridged.Errorf(bridged.ErrInvalid, "invalid host %q: want unix:// and the path of the daemon's socket, as in %s", host, DefaultHost)
	case !filepath.IsAbs(path):
		return "", bridged.Errorf(bridged.ErrInvalid, "invalid host %q: the socket's path must be absolute, as in %s", host, DefaultHost)
	case len(path) > maxSocketPath:
		return "", bridged.Errorf(bridged.ErrInvalid, "invalid host %q: the socket's path has %d bytes, at most %d are possible", host, len(path), maxSocketPath)
	}
	return path, nil
}

// Close drops the connections that wait for a further call.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ask makes one request. The answer is one of success, whose body the caller reads and closes.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	req, err := c.request(ctx, method, path, query, in)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectError(err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, decodeError(resp)
	}
	return resp, nil
}

// call makes one request. in, when not nil, is the body; the answer is decoded into out, when not nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	resp, err := c.ask(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return bridged.Errorf(bridged.ErrUnavailable, "the daemon at %s broke off its answer to %s %s: %w", c.host, method, path, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, "cannot encode the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	target := "http://bridged" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, bridged.Errorf(bridged.ErrInvalid, "cannot make the request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
