package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/nat"
)

// httpPeer is the daemon as its clients see it.
func httpPeer() peer {
	return peer{
		name: report.HTTP, what: "a daemon of its own, asked over its unix socket on one lasting connection", find: findDaemon,
		publish: func(s *setting, name string) (publisher, error) { return newHTTP(s, name) },
		attach:  func(s *setting, name string) (attacher, error) { return newHTTP(s, name) },
		files:   func(ports int) int { return ports },
	}
}

// pingPeer is the floor of every call.
func pingPeer() peer {
	return peer{name: report.Ping, what: "the least that can be asked of the daemon, on a lasting connection, before each call that it stands beside", find: findDaemon}
}

// httpPublisher is a daemon in a world.
type httpPublisher struct {
	setting *setting
	w       *world
	dir     string
	daemon  *daemon
	plain   *http.Client // for what package client has no method for
}

func newHTTP(s *setting, name string) (_ *httpPublisher, err error) {
	p := &httpPublisher{setting: s}
	if p.w, err = newWorld(name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.dir, err = tempDir("daemon"); err != nil {
		return nil, err
	}
	if p.daemon, err = startDaemon(s, p.w.host, p.dir); err != nil {
		return nil, err
	}
	p.plain = &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socketIn(p.dir))
		},
	}}
	_, err = p.daemon.client.CreateSandbox(context.Background(), client.SandboxCreate{
		Name: containerName, NetNS: p.w.container.path(), IPv4Address: insideAddr.Addr().String(),
	})
	return p, err
}

// ping is the least that can be asked of the daemon, on a connection that lasts.
func (p *httpPublisher) ping() error {
	resp, err := p.plain.Get("http://bridged/_ping")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /_ping: %s: %w", resp.Status, err)
	}
	return nil
}

func (p *httpPublisher) publish(ports []uint16) op {
	return httpCaller{p.daemon.client, containerName}.publish(ports)
}

func (p *httpPublisher) unpublish(ports []uint16) op {
	return httpCaller{p.daemon.client, containerName}.unpublish(ports)
}

// httpCaller publishes ports of one sandbox.
type httpCaller struct {
	client  *client.Client
	sandbox string
}

func (c httpCaller) publish(ports []uint16) op {
	in := client.PortsAdd{Sandbox: c.sandbox, Ports: specTexts(ports)}
	return func() error {
		_, err := c.client.AddPorts(context.Background(), in)
		return err
	}
}

func (c httpCaller) unpublish(ports []uint16) op {
	texts := specTexts(ports)
	return func() error { return c.client.RemovePorts(context.Background(), c.sandbox, texts) }
}

// callers have a connection and a sandbox each.
func (p *httpPublisher) callers(n int) ([]caller, error) {
	all := make([]caller, n)
	for i := range all {
		dialled, err := client.Dial("unix://" + socketIn(p.dir))
		if err != nil {
			return nil, err
		}
		c := httpCaller{dialled, fmt.Sprintf("%s-caller%d", p.w.name, i)}
		if _, err := c.client.CreateSandbox(context.Background(), client.SandboxCreate{Name: c.sandbox}); err != nil {
			return nil, err
		}
		all[i] = c
	}
	return all, nil
}

func (p *httpPublisher) attach(c *container, ports []uint16) ([]step, error) {
	in := client.SandboxCreate{Name: c.name, NetNS: c.path(), IPv4Address: c.address.Addr().String(), Ports: specTexts(ports)}
	return []step{{"call", func() error {
		_, err := p.daemon.client.CreateSandbox(context.Background(), in)
		return err
	}}}, nil
}

func (p *httpPublisher) detach(c *container, _ []uint16) ([]step, error) {
	return []step{{"call", func() error { return p.daemon.client.RemoveSandbox(context.Background(), c.name) }}}, nil
}

// specTexts are port specifications: neighbours are a range.
func specTexts(ports []uint16) (texts []string) {
	for first := 0; first < len(ports); {
		last := first
		for last+1 < len(ports) && ports[last+1] == ports[last]+1 {
			last++
		}
		r := bridged.PortRange{First: ports[first], Last: ports[last]}
		texts = append(texts, r.String()+":"+r.String())
		first = last + 1
	}
	return texts
}

func (p *httpPublisher) held() (translations, error) {
	return p.w.host.mapTranslations(unix.NFPROTO_INET, nat.Inet.Name, "publish4any")
}

func (p *httpPublisher) world() *world { return p.w }

func (p *httpPublisher) close() error {
	var err error
	if p.plain != nil {
		p.plain.CloseIdleConnections()
	}
	if p.daemon != nil {
		p.daemon.client.Close()
		err = p.daemon.stop()
	}
	return errors.Join(err, os.RemoveAll(p.dir), p.w.close())
}
