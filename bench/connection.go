package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/bridged/bridged/client"
)

// connection asks a daemon, one call after the other on one connection that lasts.
type connection struct{ http http.Client }

// newConnection makes a connection, with the first call, to the daemon with its socket in dir.
func newConnection(dir string) *connection {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socketIn(dir))
	}
	return &connection{http.Client{Transport: &http.Transport{DisableCompression: true, MaxConnsPerHost: 1, DialContext: dial}}}
}

func (c *connection) close() { c.http.CloseIdleConnections() }

// call is a call whose body, if it has one, is made beforehand; what its answer says beyond success nobody decodes.
func (c *connection) call(method, path string, in any) op {
	var text []byte
	var err error
	if in != nil {
		text, err = json.Marshal(in)
	}
	return func() error {
		if err != nil {
			return err
		}
		return c.ask(method, path, text)
	}
}

// ask makes a request; an empty body is none.
func (c *connection) ask(method, path string, body []byte) error {
	request, err := http.NewRequest(method, "http://bridged"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if len(body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusMultipleChoices {
		text, err := io.ReadAll(answer.Body)
		return fmt.Errorf("%s %s: %s: %s: %w", method, path, answer.Status, strings.TrimSpace(string(text)), err)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// ping is the least that can be asked of the daemon.
func (c *connection) ping() error { return c.ask(http.MethodGet, "/_ping", nil) }

// httpCaller publishes ports of one sandbox.
type httpCaller struct {
	conn    *connection
	sandbox string
}

// lodging is the namespace that was made for the sandbox.
func (c httpCaller) lodging() string { return c.sandbox }

func (c httpCaller) publish(ports []uint16) op {
	return c.conn.call(http.MethodPost, client.Prefix+"/ports", client.PortsAdd{Sandbox: c.sandbox, Ports: specTexts(ports)})
}

func (c httpCaller) unpublish(ports []uint16) op {
	query := url.Values{"sandbox": {c.sandbox}, "port": specTexts(ports)}
	return c.conn.call(http.MethodDelete, client.Prefix+"/ports?"+query.Encode(), nil)
}
