package main

import (
	"errors"
	"net/netip"

	"github.com/bridged/bridged/bench/report"
	"github.com/bridged/bridged/link"
)

// linkPeer is package link alone: the kernel's part of an attach, without the packet filter.
func linkPeer() peer {
	return peer{
		name: report.Link, what: "the daemon's two datagrams of an attach, on sockets that are open: no port, no packet filter", find: known,
		attach: func(_ *setting, name string) (attacher, error) { return newLink(name) },
	}
}

// linkAttacher has a connection to rtnetlink on the host and one in each container.
type linkAttacher struct {
	w     *world
	host  *link.Conn
	conns map[*container]*link.Conn
}

func newLink(name string) (_ *linkAttacher, err error) {
	a := &linkAttacher{conns: make(map[*container]*link.Conn)}
	if a.w, err = newWorld(name); err != nil {
		return nil, err
	}
	if err = a.w.bridge(); err == nil {
		err = a.w.host.do(func() error {
			a.host, err = link.Dial()
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *linkAttacher) attach(c *container, _ []uint16) ([]step, error) {
	if a.conns[c] == nil {
		err := c.do(func() (err error) {
			a.conns[c], err = link.Dial()
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	pair := link.Pair{Host: c.link, Inner: "eth0", Bridge: bridgeName, MAC: c.mac(), MTU: 1500}
	inner := link.Inner{Name: "eth0", Addrs: []netip.Prefix{c.address}, Gateways: []netip.Addr{bridgeAddr.Addr()}}
	return []step{
		{"pair", func() (err error) { _, inner.Index, err = a.host.CreatePair(pair, c.ns.FD()); return err }},
		{"inside", func() error { return a.conns[c].Configure(inner) }},
	}, nil
}

func (a *linkAttacher) detach(c *container, _ []uint16) ([]step, error) {
	return []step{{"pair", func() error { return a.host.Delete(c.link) }}}, nil
}

// held is nothing: it has no packet filter.
func (a *linkAttacher) held() (translations, error) { return nil, nil }

func (a *linkAttacher) world() *world { return a.w }

func (a *linkAttacher) close() error {
	var err error
	for _, c := range a.conns {
		err = errors.Join(err, c.Close())
	}
	if a.host != nil {
		err = errors.Join(err, a.host.Close())
	}
	return errors.Join(err, a.w.close())
}
