package link

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// SetUp brings a link up.
func (c *Conn) SetUp(index int) error {
	return c.change(index, "bring up", func(b *rtnl.Batch) { setUp(b, index) })
}

// SetDown takes a link down.
func (c *Conn) SetDown(index int) error {
	return c.change(index, "take down", func(b *rtnl.Batch) { setDown(b, index) })
}

// SetMTU sets a link's MTU, in bytes.
func (c *Conn) SetMTU(index, mtu int) error {
	return c.change(index, fmt.Sprintf("set MTU %d of", mtu), func(b *rtnl.Batch) {
		set(b, index)
		b.Uint32(unix.IFLA_MTU, uint32(mtu))
	})
}

// SetMAC sets a link's MAC.
func (c *Conn) SetMAC(index int, mac addr.MAC) error {
	return c.change(index, fmt.Sprintf("set MAC %v of", mac), func(b *rtnl.Batch) {
		set(b, index)
		b.Bytes(unix.IFLA_ADDRESS, mac[:])
	})
}

// SetAlias sets the text that "ip link" shows with a link, at most [MaxAlias] bytes; "": none.
func (c *Conn) SetAlias(index int, text string) error {
	if err := checkAlias(text); err != nil {
		return fmt.Errorf("cannot set the alias of link %d: %w", index, err)
	}
	return c.change(index, "set the alias of", func(b *rtnl.Batch) {
		set(b, index)
		b.Bytes(unix.IFLA_IFALIAS, []byte(text)) // no byte at all: none
	})
}

// SetPromisc sets whether a link takes every frame that it sees.
func (c *Conn) SetPromisc(index int, on bool) error {
	return c.change(index, "set promiscuous mode of", func(b *rtnl.Batch) {
		var flag uint32
		if on {
			flag = unix.IFF_PROMISC
		}
		b.Begin(unix.RTM_SETLINK, 0)
		b.Link(unix.AF_UNSPEC, index, flag, unix.IFF_PROMISC)
	})
}

// SetMaster makes a link a port of a bridge; bridge 0: a port of none. The settings of a port come after the port: one that is to be
// isolated is down until it is.
func (c *Conn) SetMaster(index, bridge int, p Port) error {
	return c.change(index, fmt.Sprintf("set master %d of", bridge), func(b *rtnl.Batch) {
		if p.Isolated {
			setDown(b, index)
		}
		set(b, index)
		b.Uint32(unix.IFLA_MASTER, uint32(bridge))
		if bridge != 0 {
			port(b, index, unix.IFLA_BRPORT_MODE, !p.NoHairpin)
		}
		if p.Isolated {
			port(b, index, unix.IFLA_BRPORT_ISOLATED, true)
			setUp(b, index)
		}
	})
}

// SetIsolated sets whether a bridge's port is isolated: it reaches the bridge itself and ports that are not, but no other isolated
// one.
func (c *Conn) SetIsolated(index int, on bool) error {
	return c.change(index, "set isolation of", func(b *rtnl.Batch) { port(b, index, unix.IFLA_BRPORT_ISOLATED, on) })
}

// set begins a message that changes a link.
func set(b *rtnl.Batch, index int) {
	b.Begin(unix.RTM_SETLINK, 0)
	b.Link(unix.AF_UNSPEC, index, 0, 0)
}

// setUp adds the message that brings a link up.
func setUp(b *rtnl.Batch, index int) {
	b.Begin(unix.RTM_SETLINK, 0)
	b.Link(unix.AF_UNSPEC, index, unix.IFF_UP, unix.IFF_UP)
}

// setDown adds the message that takes a link down.
func setDown(b *rtnl.Batch, index int) {
	b.Begin(unix.RTM_SETLINK, 0)
	b.Link(unix.AF_UNSPEC, index, 0, unix.IFF_UP)
}

// port adds the message that sets one switch of a bridge's port.
func port(b *rtnl.Batch, index int, kind uint16, on bool) {
	b.Begin(unix.RTM_NEWLINK, 0) // RTM_SETLINK ignores IFLA_INFO_SLAVE_DATA
	b.Link(unix.AF_UNSPEC, index, 0, 0)
	b.Nest(unix.IFLA_LINKINFO, func() {
		b.String(unix.IFLA_INFO_SLAVE_KIND, kindBridge)
		b.Nest(unix.IFLA_INFO_SLAVE_DATA, func() { b.Bool(kind, on) })
	})
}

// change runs the batch that build makes: unix.ENODEV when there is no such link.
func (c *Conn) change(index int, what string, build func(*rtnl.Batch)) error {
	var b rtnl.Batch
	build(&b)
	if err := c.do(&b); err != nil {
		return fmt.Errorf("cannot %s link %d: %w", what, index, err)
	}
	return nil
}
