package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/bridged/bridged/addr"
)

// container is a network namespace that is attached and detached.
type container struct {
	*space
	number int
	// address and link, the host's end of the pair, are those to be given where the peer lets us choose.
	address netip.Prefix
	link    string
	// idle is how many links there are while it is detached.
	idle int
}

// containers makes namespaces of a world with nothing in them.
func (w *world) containers(n int) ([]*container, error) {
	all := make([]*container, 0, n)
	for i := range n {
		s, err := newSpace(fmt.Sprintf("%s-c%d", w.name, i))
		if err != nil {
			return all, err
		}
		address := netip.AddrFrom4([4]byte{172, 20, 1, byte(2 + i)})
		all = append(all, &container{
			space: s, number: i, address: netip.PrefixFrom(address, bridgeAddr.Bits()), link: fmt.Sprintf("bv1%011d", i),
		})
	}
	return all, nil
}

func closeAll(containers []*container) error {
	var err error
	for _, c := range containers {
		err = errors.Join(err, c.close())
	}
	return err
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

// awaitBare waits for what is done behind the answer to a detach: no further link is left in the container, and the kernel has let go of the lock of links
// that it holds for a grace period then, for which the next attach on any host would wait.
func (c *container) awaitBare() error {
	const glance = time.Millisecond
	for end := time.Now().Add(patience); ; time.Sleep(glance) {
		links, err := c.links()
		switch {
		case err != nil:
			return err
		case len(links) == c.idle:
			return up(c.space, "lo") // which takes the lock
		}
		if time.Now().After(end) {
			return fmt.Errorf("links %v are left in %s", links, c.name)
		}
	}
}
