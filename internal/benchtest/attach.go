package benchtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/rtnl"
)

// Attach is the floor of an attach: two datagrams that were built before, on raw sockets that are open. The first creates a veth pair with
// one queue each way, one end up and a port of a bridge, the other in a sandbox's namespace; the second sets that one up, with an address
// and a default route.
type Attach struct {
	host    int // socket
	inner   []int
	first   [][]byte
	second  [][]byte
	spaces  []nstest.NS
	bridge  int
	names   []string
	round   int
	answers [8 << 10]byte
}

// NewAttach makes the floor for this many namespaces of sandboxes, attached to the bridge of that index in the namespace where host runs
// functions. Host ends are named prefix0, prefix1, ….
func NewAttach(b *testing.B, host func(func() error) error, bridge int, prefix string, sandboxes int) *Attach {
	b.Helper()
	a := &Attach{bridge: bridge}
	err := host(func() (err error) {
		a.host, err = rawSocket(b)
		return err
	})
	for i := range sandboxes {
		s := nstest.New(b)
		s.Do(func() {
			fd, e := rawSocket(b)
			err = errors.Join(err, e)
			a.inner = append(a.inner, fd)
		})
		a.spaces, a.names = append(a.spaces, s), append(a.names, fmt.Sprint(prefix, i))
	}
	if err != nil {
		b.Fatal(err)
	}
	return a
}

func rawSocket(b *testing.B) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	b.Cleanup(func() { unix.Close(fd) })
	return fd, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
}

// Names are the host ends', for who deletes them behind a round.
func (a *Attach) Names() []string { return a.names }

// Prepare builds the datagrams of a round, in which each sandbox is attached once.
func (a *Attach) Prepare() {
	a.first, a.second = nil, nil
	for i, s := range a.spaces {
		mac := [6]byte{2, 0x42, 0xa, 0xfe, byte(i >> 8), byte(i)}
		var one, two rtnl.Batch
		pairMessage(&one, a.names[i], mac, a.bridge, s.FD())
		// The kernel counts each namespace's links from lo, 1, on.
		innerMessages(&two, 2+a.round, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 17, 250, byte(i + 2)}), 16), netip.AddrFrom4([4]byte{172, 17, 42, 1}))
		a.first, a.second = append(a.first, one.Datagram(1, unix.NLM_F_ACK)), append(a.second, two.Datagram(1, unix.NLM_F_ACK))
	}
	a.round++
}

// Attach attaches the sandbox of that number.
func (a *Attach) Attach(i int) error {
	if err := a.call(a.host, a.first[i]); err != nil {
		return err
	}
	return a.call(a.inner[i], a.second[i])
}

func (a *Attach) call(fd int, datagram []byte) error {
	if _, err := unix.Write(fd, datagram); err != nil {
		return err
	}
	n, err := unix.Read(fd, a.answers[:])
	if err == nil && binary.NativeEndian.Uint32(a.answers[16:]) != 0 {
		err = fmt.Errorf("the kernel answers %x", a.answers[:n])
	}
	return err
}

func pairMessage(b *rtnl.Batch, name string, mac [6]byte, bridge, nsfd int) {
	end := func(name string, mac [6]byte) {
		b.String(unix.IFLA_IFNAME, name)
		b.Bytes(unix.IFLA_ADDRESS, mac[:])
		b.Uint32(unix.IFLA_MTU, 1500)
		b.Uint32(unix.IFLA_NUM_TX_QUEUES, 1)
		b.Uint32(unix.IFLA_NUM_RX_QUEUES, 1)
	}
	b.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.Link(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP)
	end(name, [6]byte{0xfe, mac[1], mac[2], mac[3], mac[4], mac[5]})
	b.Uint32(unix.IFLA_MASTER, uint32(bridge))
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.String(unix.IFLA_INFO_KIND, "veth")
		b.Nest(unix.IFLA_INFO_DATA, func() {
			b.Nest(nl.VETH_INFO_PEER, func() {
				b.Link(unix.AF_UNSPEC, 0, 0, 0)
				end("eth0", mac)
				b.Uint32(unix.IFLA_NET_NS_FD, uint32(nsfd))
			})
		})
	})
}

func innerMessages(b *rtnl.Batch, index int, address netip.Prefix, gateway netip.Addr) {
	for _, i := range []int{1, index} { // lo, eth0
		b.Begin(unix.RTM_SETLINK, 0)
		b.Link(unix.AF_UNSPEC, i, unix.IFF_UP, unix.IFF_UP)
	}
	b.Begin(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.Address(unix.AF_INET, address.Bits(), 0, index)
	b.Bytes(unix.IFA_LOCAL, address.Addr().AsSlice())
	b.Bytes(unix.IFA_ADDRESS, address.Addr().AsSlice())
	b.Begin(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.Route(unix.RtMsg{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST})
	b.Bytes(unix.RTA_GATEWAY, gateway.AsSlice())
	b.Uint32(unix.RTA_OIF, uint32(index))
}
