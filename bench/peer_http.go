package main

import (
	"context"
	"errors"
	"fmt"
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
		name: report.HTTP, what: "a daemon of its own, asked over its unix socket on one lasting connection: bodies made beforehand, answers read and not decoded", find: findDaemon,
		publish: func(s *setting, name string) (publisher, error) { return newHTTP(s, name) },
		attach:  func(s *setting, name string) (attacher, error) { return newHTTP(s, name) },
		files:   func(ports int) int { return ports },
	}
}

// pingPeer is the floor of every call.
func pingPeer() peer {
	return peer{name: report.Ping, what: "the least that can be asked of the daemon, before each call that it stands beside and on the same connection", find: findDaemon}
}

// httpPublisher is a daemon in a world.
type httpPublisher struct {
	setting *setting
	w       *world
	dir     string
	daemon  *daemon
	conn    *connection
	more    []*connection // of further callers
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
	p.conn = newConnection(p.dir)
	_, err = p.daemon.client.CreateSandbox(context.Background(), client.SandboxCreate{
		Name: containerName, NetNS: p.w.container.path(), IPv4Address: insideAddr.Addr().String(),
	})
	return p, err
}

func (p *httpPublisher) publish(ports []uint16) op {
	return httpCaller{p.conn, containerName}.publish(ports)
}

func (p *httpPublisher) unpublish(ports []uint16) op {
	return httpCaller{p.conn, containerName}.unpublish(ports)
}

// callers have a connection and a sandbox each.
func (p *httpPublisher) callers(n int) ([]caller, error) {
	all := make([]caller, n)
	for i := range all {
		c := httpCaller{newConnection(p.dir), fmt.Sprintf("%s-caller%d", p.w.name, i)}
		p.more = append(p.more, c.conn)
		if _, err := p.daemon.client.CreateSandbox(context.Background(), client.SandboxCreate{Name: c.sandbox}); err != nil {
			return nil, err
		}
		all[i] = c
	}
	return all, nil
}

func (p *httpPublisher) attach(c *container, ports []uint16) ([]step, error) {
	in := client.SandboxCreate{Name: c.name, NetNS: c.path(), IPv4Address: c.address.Addr().String(), Ports: specTexts(ports)}
	return []step{{"call", p.conn.call(http.MethodPost, client.Prefix+"/sandboxes", in)}}, nil
}

func (p *httpPublisher) detach(c *container, _ []uint16) ([]step, error) {
	return []step{{"call", p.conn.call(http.MethodDelete, client.Prefix+"/sandboxes/"+c.name, nil)}}, nil
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
	if p.conn != nil {
		p.more = append(p.more, p.conn)
	}
	for _, c := range p.more {
		c.close()
	}
	if p.daemon != nil {
		p.daemon.client.Close()
		err = p.daemon.stop()
	}
	return errors.Join(err, os.RemoveAll(p.dir), p.w.close())
}
