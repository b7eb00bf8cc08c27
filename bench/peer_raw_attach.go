package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/internal/rtnl"
	"github.com/bridged/bridged/nft"
)

// rawAttacher is the floor of an attach: two datagrams to rtnetlink and a batch to nf_tables, all built beforehand.
type rawAttacher struct {
	*rawPublisher
	bridge int // its index
	outer  int // socket on the host
	inner  map[*container]int
	answer [8192]byte
}

func newRawAttacher(name string) (_ *rawAttacher, err error) {
	furnished, err := newRaw(name)
	if err != nil {
		return nil, err
	}
	a := &rawAttacher{rawPublisher: furnished, outer: -1, inner: make(map[*container]int)}
	err = a.w.host.do(func() error {
		a.outer, err = routeSocket()
		return err
	})
	if err == nil {
		err = a.w.host.rtnetlink(func(h *netlink.Handle) error {
			l, err := h.LinkByName(bridgeName)
			if err == nil {
				a.bridge = l.Attrs().Index
			}
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func routeSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
}

// innerIndex is the index that the inner end asks for, so that the second datagram can be built before the first is sent. The kernel listens
// only when the outer end asks for one, too: from outerIndex on.
const (
	innerIndex = 100
	outerIndex = 100_000
)

func (a *rawAttacher) attach(c *container, ports []uint16) ([]step, error) {
	fd, ok := a.inner[c]
	if !ok {
		err := c.do(func() (err error) {
			fd, err = routeSocket()
			return err
		})
		if err != nil {
			return nil, err
		}
		a.inner[c] = fd
	}
	pair, configuration := a.pair(c), configured(c.address, bridgeAddr.Addr())
	rules, err := elementBatch(a.endpointElements(c, ports), true)
	if err != nil {
		return nil, err
	}
	return []step{
		{"pair", func() error { return a.request(a.outer, pair) }},
		{"inside", func() error { return a.request(fd, configuration) }},
		{"rules", func() error { return a.send(rules) }},
	}, nil
}

func (a *rawAttacher) detach(c *container, ports []uint16) ([]step, error) {
	rules, err := elementBatch(a.endpointElements(c, ports), false)
	if err != nil {
		return nil, err
	}
	var b rtnl.Batch
	b.Begin(unix.RTM_DELLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, c.link)
	remove := slices.Clone(b.Datagram(1, unix.NLM_F_ACK))
	return []step{
		{"rules", func() error { return a.send(rules) }},
		{"pair", func() error { return a.request(a.outer, remove) }},
	}, nil
}

// endpointElements are what the packet program needs of a container, and of its ports.
func (a *rawAttacher) endpointElements(c *container, ports []uint16) []nft.Element {
	e := bridged.Endpoint{
		ID: bridged.NewID(), Network: a.network.ID, HostInterface: c.link, Interface: "eth0", MAC: bridged.MAC(c.mac()), IPv4: c.address,
	}
	elements := forwarding.Endpoint(a.network, e, nil)
	for _, port := range ports {
		elements = append(elements, publishedAt(a.w.proto, port, e))
	}
	return elements
}

// pair is the first datagram: both ends with one queue each way, the host's up and a port of the bridge in hairpin mode.
func (a *rawAttacher) pair(c *container) []byte {
	end := func(b *rtnl.Batch, name string, mac addr.MAC) {
		b.String(unix.IFLA_IFNAME, name)
		b.Bytes(unix.IFLA_ADDRESS, mac[:])
		b.Uint32(unix.IFLA_MTU, 1500)
		b.Uint32(unix.IFLA_NUM_TX_QUEUES, 1)
		b.Uint32(unix.IFLA_NUM_RX_QUEUES, 1)
	}
	mac := c.mac()
	outside := mac
	outside[0] = 0xfe
	var b rtnl.Batch
	b.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.Link(unix.AF_UNSPEC, outerIndex+c.number, unix.IFF_UP, unix.IFF_UP)
	end(&b, c.link, outside)
	b.Uint32(unix.IFLA_MASTER, uint32(a.bridge))
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.String(unix.IFLA_INFO_KIND, "veth")
		b.Nest(unix.IFLA_INFO_DATA, func() {
			b.Nest(nl.VETH_INFO_PEER, func() {
				b.Link(unix.AF_UNSPEC, innerIndex, 0, 0)
				end(&b, "eth0", mac)
				b.Uint32(unix.IFLA_NET_NS_FD, uint32(c.ns.FD()))
			})
		})
	})
	b.Begin(unix.RTM_NEWLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, c.link)
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.String(unix.IFLA_INFO_SLAVE_KIND, "bridge")
		b.Nest(unix.IFLA_INFO_SLAVE_DATA, func() { b.Bool(unix.IFLA_BRPORT_MODE, true) })
	})
	b.Nest(unix.IFLA_AF_SPEC, func() {
		b.Nest(unix.AF_INET6, func() { b.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, nl.IN6_ADDR_GEN_MODE_NONE) })
	})
	return slices.Clone(b.Datagram(1, unix.NLM_F_ACK))
}

// configured is the second datagram: loopback and eth0 up, the address, the default route.
func configured(address netip.Prefix, gateway netip.Addr) []byte {
	var b rtnl.Batch
	for _, index := range []int{1, innerIndex} {
		b.Begin(unix.RTM_NEWLINK, 0)
		b.Link(unix.AF_UNSPEC, index, unix.IFF_UP, unix.IFF_UP)
	}
	addr.Address{Link: innerIndex, Prefix: address}.Append(&b)
	addr.Default(gateway, innerIndex).Append(&b)
	return slices.Clone(b.Datagram(1, unix.NLM_F_ACK))
}

// request sends a datagram and reads its acknowledgement, or the first error.
func (a *rawAttacher) request(fd int, datagram []byte) error {
	if _, err := unix.Write(fd, datagram); err != nil {
		return err
	}
	n, err := unix.Read(fd, a.answer[:])
	if err != nil {
		return err
	}
	if errno := -int32(binary.NativeEndian.Uint32(a.answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return fmt.Errorf("rtnetlink answers: %w", unix.Errno(errno))
	}
	if n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("rtnetlink answers %x", a.answer[:n])
	}
	return nil
}

func (a *rawAttacher) close() error {
	var err error
	for _, fd := range a.inner {
		err = errors.Join(err, unix.Close(fd))
	}
	if a.outer >= 0 {
		err = errors.Join(err, unix.Close(a.outer))
	}
	return errors.Join(err, a.rawPublisher.close())
}
