package store

import (
	"fmt"
	"net/netip"
	"time"

	"pgregory.net/rapid"

	"github.com/bridged/bridged"
)

// The generators draw ids from a few, so that changes meet.

func drawID(t *rapid.T, kind string) string {
	return fmt.Sprintf("%s%d", kind, rapid.IntRange(0, 5).Draw(t, kind))
}

func drawAddr(t *rapid.T) netip.Addr {
	switch rapid.IntRange(0, 2).Draw(t, "family") {
	case 0:
		return netip.Addr{}
	case 1:
		return netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "byte")})
	}
	return netip.AddrFrom16([16]byte{0xfd, 15: rapid.Byte().Draw(t, "byte")})
}

func drawPrefix(t *rapid.T) netip.Prefix {
	a := drawAddr(t)
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
}

func drawText(t *rapid.T) string { return rapid.String().Draw(t, "text") }

func drawTime(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond"))
}

func drawNetwork(t *rapid.T, id string) *bridged.Network {
	n := &bridged.Network{
		ID: id, Name: drawText(t), Created: drawTime(t), Driver: bridged.DriverBridge,
		Bridge: drawText(t), BridgeMAC: bridged.MAC{2, 5: rapid.Byte().Draw(t, "mac")}, Given: rapid.Bool().Draw(t, "given"),
		IPv4:   bridged.Subnet{Prefix: drawPrefix(t), Range: drawPrefix(t), Gateway: drawAddr(t)},
		MTU:    rapid.Int().Draw(t, "mtu"),
		ICC:    rapid.Bool().Draw(t, "icc"),
		HostIP: drawAddr(t),
		Labels: rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "labels"),
	}
	if rapid.Bool().Draw(t, "aux") {
		n.IPv4.Aux = map[string]netip.Addr{drawText(t): drawAddr(t)}
	}
	return n
}

func drawPool(t *rapid.T) *bridged.Pool {
	p := &bridged.Pool{Next: drawAddr(t)}
	for range rapid.IntRange(0, 3).Draw(t, "freed") {
		p.Freed = append(p.Freed, drawAddr(t))
	}
	return p
}

func drawBinding(t *rapid.T) bridged.Binding {
	return bridged.Binding{
		HostIP:   netip.AddrFrom4([4]byte{127, 0, 0, byte(rapid.IntRange(0, 2).Draw(t, "host address"))}),
		Proto:    rapid.SampledFrom([]bridged.Proto{bridged.TCP, bridged.UDP, bridged.SCTP}).Draw(t, "proto"),
		HostPort: uint16(rapid.IntRange(80, 82).Draw(t, "port")),
	}
}

func drawReservationID(t *rapid.T) string {
	return rapid.SampledFrom([]string{"10.0.0.0/24", "10.0.0.0/24,10.0.0.128/25", "fd00::/64"}).Draw(t, "reservation")
}

// drawChange draws a change of up to two objects of each kind.
func drawChange(t *rapid.T) bridged.Change {
	var c bridged.Change
	drawMap(t, &c.Networks, func(t *rapid.T) string { return drawID(t, "n") }, drawNetwork)
	drawMap(t, &c.Sandboxes, func(t *rapid.T) string { return drawID(t, "s") }, func(t *rapid.T, id string) *bridged.Sandbox {
		return &bridged.Sandbox{
			ID: id, Name: drawText(t), Created: drawTime(t), Mode: bridged.ModeBridge, NetNS: drawText(t),
			NSID: bridged.NamespaceID{Dev: 4, Ino: rapid.Uint64().Draw(t, "ino")},
			Made: rapid.Bool().Draw(t, "made"), Settled: rapid.Bool().Draw(t, "settled"),
		}
	})
	drawMap(t, &c.Endpoints, func(t *rapid.T) string { return drawID(t, "e") }, func(t *rapid.T, id string) *bridged.Endpoint {
		return &bridged.Endpoint{
			ID: id, Network: drawID(t, "n"), Sandbox: drawID(t, "s"), HostInterface: "bv0", Interface: "eth0",
			MAC: bridged.MAC{2, 0x42}, IPv4: drawPrefix(t), IPv6: drawPrefix(t),
		}
	})
	drawMap(t, &c.Ports, drawBinding, func(t *rapid.T, b bridged.Binding) *bridged.Port {
		return &bridged.Port{Binding: b, Sandbox: drawID(t, "s"), Endpoint: drawID(t, "e"), ContainerPort: rapid.Uint16().Draw(t, "port")}
	})
	drawMap(t, &c.Links, func(t *rapid.T) bridged.LinkID {
		id := bridged.LinkID{Parent: drawID(t, "s"), Child: drawText(t)}
		if rapid.Bool().Draw(t, "between addresses") {
			id.ParentIP, id.ChildIP = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
		}
		return id
	}, func(t *rapid.T, id bridged.LinkID) *bridged.Link {
		return &bridged.Link{
			Parent: id.Parent, Child: id.Child, ParentIP: id.ParentIP, ChildIP: id.ChildIP, Alias: drawText(t), Created: drawTime(t),
			Ports: []bridged.ProtoPort{{Proto: bridged.UDP, Port: rapid.Uint16Min(1).Draw(t, "port")}}, Gone: rapid.Bool().Draw(t, "gone"),
		}
	})
	drawMap(t, &c.Pools, func(t *rapid.T) bridged.PoolID {
		return bridged.PoolID{Network: rapid.SampledFrom([]string{"n0", "n1", "10.0.0.0/24", "fd00::/64"}).Draw(t, "pool"), IPv6: rapid.Bool().Draw(t, "v6")}
	}, func(t *rapid.T, _ bridged.PoolID) *bridged.Pool { return drawPool(t) })
	drawMap(t, &c.Reservations, drawReservationID, func(t *rapid.T, id string) *bridged.Reservation {
		r := &bridged.Reservation{ID: id}
		r.Prefix, r.Range, _ = bridged.ParseReservationID(id)
		for range rapid.IntRange(0, 2).Draw(t, "lasting") {
			r.Lasting = append(r.Lasting, netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "byte")}))
		}
		return r
	})
	drawMap(t, &c.Reserved, func(t *rapid.T) bridged.PoolAddr {
		return bridged.PoolAddr{Pool: drawReservationID(t), Addr: netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "byte")})}
	}, func(*rapid.T, bridged.PoolAddr) *bridged.Reserved { return new(bridged.Reserved) })
	if rapid.Bool().Draw(t, "forwarding changes") {
		c.Forwarding = &bridged.Forwarding{IPv4: rapid.Bool().Draw(t, "v4"), IPv6: rapid.Bool().Draw(t, "v6")}
	}
	return c
}

func drawMap[K comparable, V any](t *rapid.T, m *map[K]*V, key func(*rapid.T) K, value func(*rapid.T, K) *V) {
	for range rapid.IntRange(0, 2).Draw(t, "objects") {
		if *m == nil {
			*m = make(map[K]*V)
		}
		k := key(t)
		(*m)[k] = nil
		if rapid.IntRange(0, 3).Draw(t, "0 removes") > 0 {
			(*m)[k] = value(t, k)
		}
	}
}
