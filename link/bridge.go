package link

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// Bridge is a bridge that is wanted.
type Bridge struct {
	// Name is at most 15 bytes.
	Name string
	// MAC is the bridge's own; it does not change when ports come and go. The zero MAC is refused.
	MAC addr.MAC
	// MTU in bytes, which stays when ports come and go; 0: the least MTU of the ports.
	MTU int
	// Promisc: it takes every frame that it sees.
	Promisc bool
}

// Equal reports whether the two are the same in every field.
func (b Bridge) Equal(o Bridge) bool { return b == o }

// String is as "bridge br0, MAC 02:42:ac:11:00:01, MTU 1500".
func (b Bridge) String() string {
	return fmt.Sprintf("bridge %s, MAC %v, MTU %d", b.Name, b.MAC, b.MTU)
}

// noLinkLocalLearn is the bit of BR_BOOLOPT_NO_LL_LEARN (linux/if_bridge.h).
const noLinkLocalLearn = 1 << 0

// defaultMTU is a new bridge's MTU.
const defaultMTU = 1500

// CreateBridge creates a bridge, down, and returns it: unix.EEXIST when the name is taken.
//
// Ports forward as soon as they have a carrier: no delay, and as by default no spanning tree. Group frames go to every port: the
// kernel's multicast snooping, once it has heard a querier, would keep neighbour discovery and mDNS from members that did not
// join. It learns no MAC from link-local control frames, which pass every packet filter (Linux 5.0; older kernels refuse).
func (c *Conn) CreateBridge(b Bridge) (Link, error) {
	made, err := c.createBridge(b)
	if err != nil {
		return Link{}, fmt.Errorf("cannot create bridge %s: %w", b.Name, err)
	}
	return made, nil
}

func (c *Conn) createBridge(b Bridge) (Link, error) {
	if err := cmp.Or(checkName(b.Name), checkMTU(b.MTU)); err != nil {
		return Link{}, err
	}
	if b.MAC == (addr.MAC{}) {
		return Link{}, fmt.Errorf("it needs a MAC of its own: %w", unix.EINVAL)
	}
	var batch rtnl.Batch
	b.append(&batch)
	failed, err := c.socket.Do(&batch, nil)
	if err != nil {
		return Link{}, err
	}
	made, err := c.ByName(b.Name)
	if len(failed) > 0 && !(failed[0].Again && errors.Is(failed[0].Err, unix.EEXIST) && made.Ours() && made.MAC == b.MAC) {
		return Link{}, failed[0].Err
	}
	if err == nil && b.MTU != 0 {
		err = c.SetMTU(made.Index, b.MTU)
		made.MTU = b.MTU
	}
	if err != nil {
		return Link{}, c.takeBack(b.Name, err)
	}
	return made, nil
}

func (b Bridge) append(batch *rtnl.Batch) {
	batch.Begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	var flags uint32
	if b.Promisc {
		flags = unix.IFF_PROMISC
	}
	batch.Link(unix.AF_UNSPEC, 0, flags, flags)
	batch.String(unix.IFLA_IFNAME, b.Name)
	batch.Bytes(unix.IFLA_ADDRESS, b.MAC[:])
	if b.MTU == defaultMTU {
		// A bridge takes the least MTU of its ports until its own is set once, to another value than before (br_change_mtu in
		// net/bridge/br_device.c).
		batch.Uint32(unix.IFLA_MTU, defaultMTU-1)
	}
	appendBridgeSettings(batch)
}

// appendBridgeSettings appends what all bridges of ours have.
func appendBridgeSettings(batch *rtnl.Batch) {
	batch.Uint32(unix.IFLA_GROUP, Group)
	batch.Nest(unix.IFLA_LINKINFO, func() {
		batch.String(unix.IFLA_INFO_KIND, kindBridge)
		batch.Nest(unix.IFLA_INFO_DATA, func() {
			batch.Uint32(unix.IFLA_BR_FORWARD_DELAY, 0)
			batch.Uint8(unix.IFLA_BR_MCAST_SNOOPING, 0)
			batch.Bytes(unix.IFLA_BR_MULTI_BOOLOPT, order.AppendUint32( // struct br_boolopt_multi: values, mask
				order.AppendUint32(nil, noLinkLocalLearn), noLinkLocalLearn))
		})
	})
}

// TakeBridge makes a bridge that is there one of ours, with the MAC and the settings that CreateBridge would have given it. Addresses and
// ports stay.
func (c *Conn) TakeBridge(b Bridge) error {
	l, err := c.ByName(b.Name)
	if err != nil {
		return err
	}
	return c.change(l.Index, "take over", func(batch *rtnl.Batch) {
		batch.Begin(unix.RTM_NEWLINK, 0)
		batch.Link(unix.AF_UNSPEC, l.Index, 0, 0)
		batch.Bytes(unix.IFLA_ADDRESS, b.MAC[:])
		appendBridgeSettings(batch)
	})
}

// LeaveBridge makes a bridge that was taken over nobody's again; its settings stay.
func (c *Conn) LeaveBridge(index int) error {
	return c.change(index, "leave", func(batch *rtnl.Batch) {
		set(batch, index)
		batch.Uint32(unix.IFLA_GROUP, 0)
	})
}
