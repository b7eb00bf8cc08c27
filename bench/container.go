package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/bridged/bridged/addr"
)

// container is a network namespace that is attached and detached.
type container struct {
	*space
	// address and link, the host's end of the pair, are those to be given where the peer lets us choose.
	address netip.Prefix
	link    string
	// idle is how many links there are while it is detached.
	idle int
}

// newContainer makes a namespace of a world with nothing in it.
func (w *world) newContainer() (*container, error) {
	s, err := newSpace(w.name + "-c")
	if err != nil {
		return nil, err
	}
	address := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 20, 1, 2}), bridgeAddr.Bits())
	return &container{space: s, address: address, link: "bv100000000000"}, nil
}

// mac is derived from the address, as the engine's are.
func (c *container) mac() addr.MAC { return addr.MACOf(c.address.Addr()) }

// links are the names of the namespace's links but the loopback.
func (s *space) links() (names []string, err error) {
	err = s.rtnetlink(func(h *netlink.Handle) error {
		links, err := h.LinkList()
		for _, l := range links {
			if name := l.Attrs().Name; name != "lo" {
				names = append(names, name)
			}
		}
		return err
	})
	return names, err
}

// awaitBare waits until no further link is left in the container: what is done behind the answer to a detach.
func (c *container) awaitBare() error {
	const glance = time.Millisecond
	for end := time.Now().Add(patience); ; time.Sleep(glance) {
		links, err := c.links()
		if err != nil || len(links) == c.idle {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("links %v are left in %s", links, c.name)
		}
	}
}
