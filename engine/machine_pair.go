package engine

import (
	"cmp"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
)

func (m *machine) linked(hostEnd string) (bool, error) {
	l, err := m.links.ByName(hostEnd)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.links.PeerLives(l)
}

func (m *machine) addPair(p pair) error {
	if p.netns == "" {
		return m.createPair(p, m.ns)
	}
	return m.on(p.netns, p.nsid, func(ns *netns.NS) error { return m.createPair(p, ns) })
}

// createPair makes a pair with its inner end in a namespace.
func (m *machine) createPair(p pair, inner *netns.NS) error {
	if _, _, err := m.links.CreatePair(p.Pair, inner.FD()); err != nil {
		return err
	}
	m.leaveIPv6ToTheBridge(p.Host)
	return nil
}

// leaveIPv6ToTheBridge keeps the host's IPv6 from one of its ports, before that has a carrier. It has no address there in any case; but it would
// have a route for multicast, and the kernel goes through the routes of all ports when one comes or goes. Where it can't be done all works as well,
// only slower beside thousands.
func (m *machine) leaveIPv6ToTheBridge(port string) {
	if m.ipv6 == nil {
		return
	}
	err := m.ipv6.Set(port+"/disable_ipv6", "1")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 with an MTU below 1280
		m.log.Debug("cannot keep IPv6 from a bridge's port", "port", port, "error", err)
	}
}

// join sets the inner end up, in one visit to the namespace.
func (m *machine) join(p pair) error {
	var detection *detection
	err := m.visit(p.netns, p.nsid, func() (err error) {
		if p.inner.DAD && !p.inner.Down {
			if detection, err = detect(p); err != nil {
				return err
			}
		}
		for _, s := range innerSysctls(p) {
			if err := sysctl.Set(s.Path, s.Value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		for _, s := range p.sysctls {
			if err := setForUser(s); err != nil {
				return err
			}
		}
		failpoint.Reached("inner end's settings made")
		conn, err := link.DialBriefly(m.here())
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Configure(p.inner)
	})
	switch {
	case detection == nil:
		return err
	case err != nil:
		return errors.Join(err, detection.watcher.Close())
	}
	return detection.await()
}

// setForUser sets what the user asked for: one that there is not, or not with this value, is the user's mistake.
func setForUser(s forwarding.Sysctl) error {
	err := sysctl.Set(s.Path, s.Value)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return bridged.Errorf(bridged.ErrInvalid, "there is no sysctl %s", s.Path)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, unix.EACCES):
		return bridged.Errorf(bridged.ErrInvalid, "%w", err)
	}
	return err
}

// innerSysctls are set before the inner end goes up: without IPv6 it has no link-local address, and with it that can be used at once, like
// the other addresses, which nobody else has.
func innerSysctls(p pair) []forwarding.Sysctl {
	conf := "net/ipv6/conf/" + p.Inner + "/"
	if !p.inner.IPv6 {
		return []forwarding.Sysctl{{Path: conf + "disable_ipv6", Value: "1"}}
	}
	dad := "0"
	if p.inner.DAD {
		dad = "1"
	}
	return []forwarding.Sysctl{{Path: conf + "accept_dad", Value: dad}, {Path: conf + "disable_ipv6", Value: "0"}}
}

func (m *machine) enslave(s enslave) error {
	return m.onLink(s.bridge, func(b link.Link) error {
		return m.onLink(s.host, func(l link.Link) error {
			err := m.links.SetMaster(l.Index, b.Index, s.port)
			if err == nil && s.mtu != 0 && s.mtu != l.MTU {
				err = m.links.SetMTU(l.Index, s.mtu)
			}
			return cmp.Or(err, m.links.SetUp(l.Index))
		})
	})
}

func (m *machine) delPairs(names []string) error { return m.links.Delete(names...) }

// finish asks for the link, which makes the kernel look after carriers first (linkwatch_sync_dev, net/core/link_watch.c).
func (m *machine) finish(p pair) error {
	_, err := m.links.ByName(p.Host)
	return err
}

func (m *machine) announce(p pair) error {
	return m.visit(p.netns, p.nsid, func() error {
		conn, err := link.DialBriefly(m.here())
		if err != nil {
			return err
		}
		defer conn.Close()
		l, err := conn.ByName(p.Inner)
		if err != nil {
			return err
		}
		a := addr.Announcement{Link: l.Index, MAC: p.MAC}
		for _, prefix := range p.inner.Addrs {
			a.Addrs = append(a.Addrs, prefix.Addr())
		}
		return addr.Announce(a)
	})
}
