package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// skipStatistics is RTEXT_FILTER_SKIP_STATS (linux/rtnetlink.h): half the size of an answer.
const skipStatistics = 1 << 3

// List is all links of the namespace, by index.
func (c *Conn) List() ([]Link, error) {
	var b rtnl.Batch
	b.Begin(unix.RTM_GETLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	var list []Link
	err := c.socket.Dump(&b, func() { list = list[:0] }, func(kind uint16, body []byte) {
		if l, ok := decode(body); ok && kind == unix.RTM_NEWLINK {
			list = append(list, l)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list links: %w", err)
	}
	return list, nil
}

// ByName is one link: unix.ENODEV when it is not there.
//
// It is also how to be sure that a fresh port carries frames: when its other end comes up, the kernel makes the port forward a little
// later, unless someone asks for the link, which it then does first (linkwatch_sync_dev in rtnl_getlink, Linux 6.8).
func (c *Conn) ByName(name string) (Link, error) {
	if err := checkName(name); err != nil {
		return Link{}, err
	}
	var b rtnl.Batch
	get(&b, name)
	l, err := c.one(&b)
	if err != nil {
		return Link{}, fmt.Errorf("cannot find link %s: %w", name, err)
	}
	return l, nil
}

// ByIndex is one link: unix.ENODEV when it is not there.
func (c *Conn) ByIndex(index int) (Link, error) {
	var b rtnl.Batch
	b.Begin(unix.RTM_GETLINK, 0)
	b.Link(unix.AF_UNSPEC, index, 0, 0)
	b.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	l, err := c.one(&b)
	if err != nil {
		return Link{}, fmt.Errorf("cannot find the link with index %d: %w", index, err)
	}
	return l, nil
}

// PeerLives says whether the network namespace of a pair's other end lives. One that nobody holds any more takes a while to die, and its
// pairs stay until then.
func (c *Conn) PeerLives(l Link) (bool, error) {
	if l.PeerNetNS < 0 {
		return false, nil // it has no number any more
	}
	var b rtnl.Batch
	b.Begin(unix.RTM_GETLINK, 0)
	b.Link(unix.AF_UNSPEC, loopback, 0, 0)
	b.Uint32(unix.IFLA_TARGET_NETNSID, uint32(l.PeerNetNS))
	b.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	// The kernel refuses to look into a namespace whose last reference is gone: get_net_ns_by_id in net/core/net_namespace.c.
	_, err := c.one(&b)
	switch {
	case errors.Is(err, unix.EINVAL):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot look at the namespace of %s's other end: %w", l.Name, err)
	}
	return true, nil
}

// one is the answer to a request for one link.
func (c *Conn) one(b *rtnl.Batch) (l Link, err error) {
	failed, err := c.socket.Do(b, func(_ int, _ uint16, body []byte) { l, _ = decode(body) })
	if err == nil && len(failed) > 0 {
		err = failed[0].Err
	}
	return l, err
}

func get(b *rtnl.Batch, name string) {
	b.Begin(unix.RTM_GETLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	b.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
}

// decode reads the body of an RTM_NEWLINK or RTM_DELLINK: struct ifinfomsg and attributes. Those of a bridge's own view of its
// ports (family AF_BRIDGE) are not links.
func decode(body []byte) (Link, bool) {
	if len(body) < unix.SizeofIfInfomsg || body[0] != unix.AF_UNSPEC {
		return Link{}, false
	}
	return decodeAttributes(body), true
}

func decodeAttributes(body []byte) Link {
	flags := order.Uint32(body[8:])
	l := Link{
		Index:     int(int32(order.Uint32(body[4:]))),
		Up:        flags&unix.IFF_UP != 0,
		Running:   flags&unix.IFF_LOWER_UP != 0,
		Promisc:   flags&unix.IFF_PROMISC != 0,
		PeerNetNS: -1,
	}
	peer, operational := 0, false
	for kind, v := range rtnl.Attributes(body[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = rtnl.String(v)
		case unix.IFLA_ADDRESS:
			if len(v) == len(addr.MAC{}) {
				l.MAC = addr.MAC(v)
			}
		case unix.IFLA_MTU:
			l.MTU = int(rtnl.Uint32(v))
		case unix.IFLA_MASTER:
			l.Master = int(rtnl.Uint32(v))
		case unix.IFLA_GROUP:
			l.Group = rtnl.Uint32(v)
		case unix.IFLA_IFALIAS:
			l.Alias = rtnl.String(v)
		case unix.IFLA_LINK:
			peer = int(rtnl.Uint32(v))
		case unix.IFLA_LINK_NETNSID:
			l.PeerNetNS = int(int32(rtnl.Uint32(v)))
		case unix.IFLA_OPERSTATE:
			operational = rtnl.Uint8(v) == operUp
		case unix.IFLA_LINKINFO:
			l.decodeInfo(v)
		}
	}
	if l.Kind == kindVeth {
		l.PeerIndex = peer
	}
	l.Forwarding = l.Forwarding && operational
	return l
}

// decodePort reads what decode leaves: the bridge's own view of a port.
func decodePort(body []byte) (Link, bool) {
	if len(body) < unix.SizeofIfInfomsg || body[0] != unix.AF_BRIDGE {
		return Link{}, false
	}
	all := decodeAttributes(body)
	l := Link{Index: all.Index, Name: all.Name, Up: all.Up, Running: all.Running, Master: all.Master, PeerNetNS: -1}
	operational := false
	for kind, v := range rtnl.Attributes(body[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_OPERSTATE:
			operational = rtnl.Uint8(v) == operUp
		case unix.IFLA_PROTINFO:
			l.decodePortSettings(v)
		}
	}
	l.Forwarding = l.Forwarding && operational
	return l, true
}

// decodeInfo reads IFLA_LINKINFO.
func (l *Link) decodeInfo(b []byte) {
	var data, port []byte
	portKind := ""
	for kind, v := range rtnl.Attributes(b) {
		switch kind {
		case unix.IFLA_INFO_KIND:
			l.Kind = internKind(v)
		case unix.IFLA_INFO_DATA:
			data = v
		case unix.IFLA_INFO_SLAVE_KIND:
			portKind = internKind(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			port = v
		}
	}
	if l.Kind == kindBridge {
		for kind, v := range rtnl.Attributes(data) {
			if kind == unix.IFLA_BR_MULTI_BOOLOPT { // struct br_boolopt_multi: the options' values, and which there are
				l.NoLinkLocalLearn = rtnl.Uint32(v)&noLinkLocalLearn != 0
			}
		}
	}
	if portKind == kindBridge {
		l.decodePortSettings(port)
	}
}

// decodePortSettings reads IFLA_INFO_SLAVE_DATA of a bridge's port, or IFLA_PROTINFO of family AF_BRIDGE: both have the same attributes.
func (l *Link) decodePortSettings(b []byte) {
	for kind, v := range rtnl.Attributes(b) {
		switch kind {
		case unix.IFLA_BRPORT_MODE:
			l.Hairpin = rtnl.Uint8(v) != 0
		case unix.IFLA_BRPORT_ISOLATED:
			l.Isolated = rtnl.Uint8(v) != 0
		case unix.IFLA_BRPORT_STATE:
			l.Forwarding = rtnl.Uint8(v) == stateForwarding
		}
	}
}

// stateForwarding is BR_STATE_FORWARDING (linux/if_bridge.h). A port has it from the beginning, since a link that is made has no
// operational state yet, and a bridge takes that for up.
const stateForwarding = 3

// operUp is IF_OPER_UP (linux/if.h). Until the kernel has seen to a link's carrier it has another one, and throws away what is sent
// on the link (linkwatch_do_dev in net/core/link_watch.c).
const operUp = 6

// internKind is the kind without an allocation for those that are common here.
func internKind(v []byte) string {
	for _, k := range [...]string{kindVeth, kindBridge} {
		if len(v) > len(k) && string(v[:len(k)]) == k && v[len(k)] == 0 {
			return k
		}
	}
	return rtnl.String(v)
}
