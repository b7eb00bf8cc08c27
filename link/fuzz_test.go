package link

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/rtnl"
)

// What is read of a link is read the same from a message that says no more than that; and what is created is read as it was wanted. The
// seeds with "kernel" in their names are answers of Linux 6.18.
func FuzzDecode(f *testing.F) {
	var b rtnl.Batch
	b.Begin(unix.RTM_NEWLINK, 0)
	Pair{Host: "bv1", Inner: "eth0", MAC: addr.MAC{2}, MTU: 1500}.create(&b, 3, 4)
	Bridge{Name: "br0", MAC: addr.MAC{2}, MTU: 1400}.append(&b)
	for m := range rtnl.Messages(b.Datagram(1, 0)) {
		f.Add(slices.Clone(m.Body))
	}
	drawn := rapid.MakeFuzz(createdAsWanted)
	f.Fuzz(func(t *testing.T, body []byte) {
		message := slices.Clone(body)
		l, ok := decode(message)
		p, isPort := decodePort(message)
		if ok && isPort {
			t.Fatalf("%x is a link and a port", body)
		}
		if !slices.Equal(message, body) {
			t.Fatal("the message was changed")
		}
		clear(message) // nothing that was read may change now
		if again, _ := decode(encode(unix.AF_UNSPEC, unix.IFLA_LINKINFO, l)); ok && again != l {
			t.Fatalf("%x is read as %+v, and again as %+v", body, fields(l), fields(again))
		}
		if again, _ := decodePort(encode(unix.AF_BRIDGE, unix.IFLA_PROTINFO, p)); isPort && again != p {
			t.Fatalf("%x is read as the port %+v, and again as %+v", body, fields(p), fields(again))
		}
		drawn(t, body)
	})
}

// fields prints all that a link has.
type fields Link

// encode is a message about a link, as the kernel sends it: with the settings of a bridge's port in IFLA_LINKINFO, or in IFLA_PROTINFO.
func encode(family uint8, settingsIn uint16, l Link) []byte {
	var b rtnl.Batch
	b.Begin(unix.RTM_NEWLINK, 0)
	var flags uint32
	if l.Up {
		flags |= unix.IFF_UP
	}
	if l.Running {
		flags |= unix.IFF_LOWER_UP
	}
	if l.Promisc {
		flags |= unix.IFF_PROMISC
	}
	b.Link(family, l.Index, flags, 0)
	b.String(unix.IFLA_IFNAME, l.Name)
	b.String(unix.IFLA_IFALIAS, l.Alias)
	b.Bytes(unix.IFLA_ADDRESS, l.MAC[:])
	b.Uint32(unix.IFLA_MTU, uint32(l.MTU))
	b.Uint32(unix.IFLA_MASTER, uint32(l.Master))
	b.Uint32(unix.IFLA_GROUP, l.Group)
	b.Uint32(unix.IFLA_LINK, uint32(l.PeerIndex))
	b.Uint32(unix.IFLA_LINK_NETNSID, uint32(l.PeerNetNS))
	if l.Forwarding {
		b.Uint8(unix.IFLA_OPERSTATE, operUp)
	}
	settings := func() {
		b.Bool(unix.IFLA_BRPORT_MODE, l.Hairpin)
		b.Bool(unix.IFLA_BRPORT_ISOLATED, l.Isolated)
		if l.Forwarding {
			b.Uint8(unix.IFLA_BRPORT_STATE, stateForwarding)
		}
	}
	if settingsIn == unix.IFLA_PROTINFO {
		b.Nest(unix.IFLA_PROTINFO, settings)
	} else {
		b.Nest(unix.IFLA_LINKINFO, func() {
			b.String(unix.IFLA_INFO_KIND, l.Kind)
			b.Nest(unix.IFLA_INFO_DATA, func() {
				if l.NoLinkLocalLearn {
					b.Bytes(unix.IFLA_BR_MULTI_BOOLOPT, []byte{noLinkLocalLearn, 0, 0, noLinkLocalLearn, 0, 0, 0, 0}) // whatever the byte order
				}
			})
			b.String(unix.IFLA_INFO_SLAVE_KIND, kindBridge)
			b.Nest(unix.IFLA_INFO_SLAVE_DATA, settings)
		})
	}
	for m := range rtnl.Messages(b.Datagram(0, 0)) {
		return m.Body
	}
	return nil
}

func createdAsWanted(t *rapid.T) {
	mac := func() (m addr.MAC) {
		copy(m[:], rapid.SliceOfN(rapid.Byte(), len(m), len(m)).Draw(t, "MAC"))
		m[5] |= 1 // not the zero MAC
		return m
	}
	name := func() string { return rapid.StringMatching(`[a-z][a-z0-9.-]{0,14}`).Draw(t, "name") }
	mtu := rapid.IntRange(68, 65535).Draw(t, "MTU")
	var b rtnl.Batch
	pair := Pair{Host: name(), Inner: name(), Bridge: name(), MAC: mac(), HostMAC: mac(), MTU: mtu, Port: Port{Isolated: rapid.Bool().Draw(t, "isolated"), NoHairpin: rapid.Bool().Draw(t, "no hairpin")},
		Alias: rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "alias")}
	master := int(rapid.Uint32Range(1, 1<<31-1).Draw(t, "master"))
	pair.create(&b, master, 4)
	pair.port(&b)
	pair.up(&b)
	bridge := Bridge{Name: name(), MAC: mac(), MTU: mtu}
	bridge.append(&b)
	want := []Link{
		{Name: pair.Host, Kind: kindVeth, MAC: pair.HostMAC, MTU: mtu, Master: master, Group: Group, PeerNetNS: -1},
		{Name: pair.Host, Alias: pair.Alias, Hairpin: !pair.NoHairpin, Isolated: pair.Isolated, PeerNetNS: -1},
		{Name: pair.Host, Up: true, PeerNetNS: -1},
		{Name: bridge.Name, Kind: kindBridge, MAC: bridge.MAC, Group: Group, NoLinkLocalLearn: true, PeerNetNS: -1},
	}
	i := 0
	for m := range rtnl.Messages(b.Datagram(1, 0)) {
		got, ok := decode(m.Body)
		if i == 0 {
			peer(t, m.Body, Link{Name: pair.Inner, MAC: pair.MAC, MTU: mtu, PeerNetNS: -1})
		}
		if i == 3 {
			got.MTU = 0 // comes in a message of its own
		}
		if !ok || i >= len(want) || got != want[i] {
			t.Fatalf("message %d for %v and %v is read as %+v, %v", i, pair, bridge, fields(got), ok)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%d messages", i)
	}
}

// peer checks the other end of a pair, whose message is inside the pair's.
func peer(t *rapid.T, body []byte, want Link) {
	inside := func(b []byte, want uint16) []byte {
		for kind, v := range rtnl.Attributes(b) {
			if kind == want {
				return v
			}
		}
		return nil
	}
	data := inside(inside(body[unix.SizeofIfInfomsg:], unix.IFLA_LINKINFO), unix.IFLA_INFO_DATA)
	if got, ok := decode(inside(data, nl.VETH_INFO_PEER)); !ok || got != want {
		t.Fatalf("the peer is read as %+v, %v, want %+v", fields(got), ok, fields(want))
	}
}
