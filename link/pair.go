package link

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// Pair is a veth pair that is wanted: the host end a port of a bridge, the inner end in another network namespace.
type Pair struct {
	// Host and Inner are the names of the ends, Bridge that of the bridge: at most 15 bytes each.
	Host, Inner, Bridge string
	// MAC is the inner end's; the zero MAC: the kernel chooses.
	MAC addr.MAC
	// HostMAC is the host end's. The zero MAC: that of the inner end with fe as first byte.
	HostMAC addr.MAC
	// MTU of both ends, in bytes; 0: the kernel's default.
	MTU int
	Port
	// Alias is the host end's, at most [MaxAlias] bytes; empty: none. It is set with the settings of the port, after the pair is made.
	Alias string
}

// Port is the settings of a bridge's port.
type Port struct {
	// Isolated: the port reaches the bridge itself and ports that are not isolated, but no other isolated one.
	Isolated bool
	// NoHairpin: no frame leaves by the port that it came in by.
	NoHairpin bool
}

// MaxAlias is the longest alias, in bytes (IFALIASZ - 1, linux/if.h).
const MaxAlias = 255

// Equal reports whether the two are the same in every field.
func (p Pair) Equal(o Pair) bool { return p == o }

// String is as "pair bv0123456789ab–eth0 on bridge br0".
func (p Pair) String() string {
	return fmt.Sprintf("pair %s–%s on bridge %s", p.Host, p.Inner, p.Bridge)
}

// The messages of a pair's datagram.
const (
	messageCreate = iota
	messagePort
)

// CreatePair creates the pair in one datagram, with the inner end, down, in the namespace that nsfd is open on, and returns the
// ends' indexes, each in its own namespace. The host end is up, a port of the bridge, and has no IPv6 address of its own.
//
// Errors: unix.ENODEV when there is no such bridge, unix.EEXIST when an end's name is taken, unix.EXFULL when the bridge has its
// 1,023 ports (BR_MAX_PORTS, net/bridge/br_private.h). After these there is no pair; only an
// error of the socket (unix.ENOBUFS) leaves that open.
func (c *Conn) CreatePair(p Pair, nsfd int) (host, inner int, err error) {
	if err := cmp.Or(checkName(p.Host), checkName(p.Inner), checkName(p.Bridge), checkMTU(p.MTU), checkAlias(p.Alias)); err != nil {
		return 0, 0, fmt.Errorf("cannot create %v: %w", p, err)
	}
	bridge, err := c.socket.Index(p.Bridge)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot create %v: no bridge %s: %w", p, p.Bridge, err)
	}
	var b rtnl.Batch
	p.create(&b, bridge, nsfd)
	p.port(&b)
	p.up(&b)
	failed, err := c.socket.Do(&b, func(message int, _ uint16, body []byte) {
		if l, ok := decode(body); ok && message == messageCreate {
			host, inner = l.Index, l.PeerIndex
		}
	})
	if err == nil {
		err = c.settle(p, failed)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot create %v: %w", p, err)
	}
	if host != 0 && inner != 0 {
		return host, inner, nil
	}
	l, err := c.ByName(p.Host) // kernels before 6.2 send no echo
	if err != nil {
		return 0, 0, c.takeBack(p.Host, err)
	}
	return l.Index, l.PeerIndex, nil
}

// settle judges the failures of a pair's datagram: it ends with a whole pair or with none.
func (c *Conn) settle(p Pair, failed []rtnl.Failure) error {
	if len(failed) > 0 && c.made(p, failed[0]) {
		failed = failed[1:]
	}
	if len(failed) == 0 {
		return nil
	}
	err := failed[0].Err
	if failed[0].Message == messageCreate {
		return c.explain(p, err)
	}
	if errors.Is(err, unix.EAFNOSUPPORT) { // no IPv6: not in this kernel, or not on a link of this MTU
		var b rtnl.Batch
		p.portOnly(&b)
		p.up(&b)
		err = c.do(&b)
	}
	if err != nil {
		return c.takeBack(p.Host, err)
	}
	return nil
}

// made says whether a refusal to create the pair is about the pair itself: it was created, and the answer was lost.
func (c *Conn) made(p Pair, f rtnl.Failure) bool {
	if f.Message != messageCreate || !f.Again || !errors.Is(f.Err, unix.EEXIST) {
		return false
	}
	l, err := c.ByName(p.Host)
	return err == nil && l.Ours() && l.Kind == kindVeth
}

// explain adds to the kernel's refusal which object it is about, where that can be told.
func (c *Conn) explain(p Pair, err error) error {
	switch {
	case errors.Is(err, unix.EXFULL):
		return fmt.Errorf("bridge %s has no room for another port: %w", p.Bridge, err)
	case !errors.Is(err, unix.EEXIST):
		return err
	}
	if _, missing := c.socket.Index(p.Host); missing == nil {
		return fmt.Errorf("link %s: %w", p.Host, err)
	}
	return fmt.Errorf("link %s in the other namespace: %w", p.Inner, err)
}

// create adds the message that creates both ends. One queue each way makes it a third faster than one for each CPU, and frames
// of a pair stay in order.
func (p Pair) create(b *rtnl.Batch, bridge, nsfd int) {
	b.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ECHO)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	p.end(b, p.Host, p.hostMAC())
	b.Uint32(unix.IFLA_MASTER, uint32(bridge))
	b.Uint32(unix.IFLA_GROUP, Group)
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.String(unix.IFLA_INFO_KIND, kindVeth)
		b.Nest(unix.IFLA_INFO_DATA, func() {
			b.Nest(nl.VETH_INFO_PEER, func() {
				b.Link(unix.AF_UNSPEC, 0, 0, 0) // the kernel answers ENOTCONN to a peer that is to be up
				p.end(b, p.Inner, p.MAC)
				b.Uint32(unix.IFLA_NET_NS_FD, uint32(nsfd))
			})
		})
	})
}

// end adds what both ends have.
func (p Pair) end(b *rtnl.Batch, name string, mac addr.MAC) {
	b.String(unix.IFLA_IFNAME, name)
	if mac != (addr.MAC{}) {
		b.Bytes(unix.IFLA_ADDRESS, mac[:])
	}
	if p.MTU != 0 {
		b.Uint32(unix.IFLA_MTU, uint32(p.MTU))
	}
	b.Uint32(unix.IFLA_NUM_TX_QUEUES, 1)
	b.Uint32(unix.IFLA_NUM_RX_QUEUES, 1)
}

func (p Pair) hostMAC() addr.MAC {
	mac := p.HostMAC
	if mac == (addr.MAC{}) && p.MAC != mac {
		mac = p.MAC
		mac[0] = 0xfe // unicast, locally administered, and not the inner end's
	}
	return mac
}

// port adds the message that makes a fresh port what it should be. It finds the link by its name, since the index is not known when
// the datagram is sent: where creating it failed because another bridge port has the name, that one gets these settings and goes up, which
// is why the names of host ends are random. It runs before the inner end is up, so no link-local address has come into being.
func (p Pair) port(b *rtnl.Batch) {
	p.portOnly(b)
	b.Nest(unix.IFLA_AF_SPEC, func() {
		b.Nest(unix.AF_INET6, func() { b.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, nl.IN6_ADDR_GEN_MODE_NONE) })
	})
}

// up adds the message that sets the host end up. It comes last: for what changes on a link that is up and has no carrier yet, the kernel goes through all
// IPv6 routes of the host (rt6_sync_down_dev, net/ipv6/route.c), and nothing passes the port before its settings are made; where the kernel refused
// these, before it is asked without IPv6's.
func (p Pair) up(b *rtnl.Batch) {
	b.Begin(unix.RTM_NEWLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP)
	b.String(unix.IFLA_IFNAME, p.Host)
}

// portOnly is port without IPv6.
func (p Pair) portOnly(b *rtnl.Batch) {
	b.Begin(unix.RTM_NEWLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, p.Host)
	if p.Alias != "" {
		b.String(unix.IFLA_IFALIAS, p.Alias) // the message that creates a link ignores it
	}
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.String(unix.IFLA_INFO_SLAVE_KIND, kindBridge)
		b.Nest(unix.IFLA_INFO_SLAVE_DATA, func() {
			b.Bool(unix.IFLA_BRPORT_MODE, !p.NoHairpin)
			b.Bool(unix.IFLA_BRPORT_ISOLATED, p.Isolated)
		})
	})
}
