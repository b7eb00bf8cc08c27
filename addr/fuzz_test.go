package addr

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bridged/bridged/internal/rtnl"
)

// What the kernel says of an address or a route is a valid one, which is written as it was read. And whatever can be written is read as
// it was written. The seeds with "kernel" in their names are answers of Linux 6.18.
func FuzzDecode(f *testing.F) {
	f.Add(body(func(b *rtnl.Batch) { Address{Link: 3, Prefix: netip.MustParsePrefix("10.0.0.1/24")}.Append(b) }))
	f.Add(body(func(b *rtnl.Batch) { Default(netip.MustParseAddr("10.0.0.1"), 3).Append(b) }))
	drawn := rapid.MakeFuzz(roundTrip)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := slices.Clone(b)
		if a, ok := decodeAddress(b); ok {
			writtenAsRead(t, a)
		}
		routes := decodeRoutes(b)
		if len(routes) > len(b)/unix.SizeofRtNexthop {
			t.Fatalf("%d bytes are %d routes", len(b), len(routes))
		}
		for _, r := range routes {
			routeWrittenAsRead(t, r)
		}
		if !slices.Equal(before, b) {
			t.Fatal("the message was changed")
		}
		drawn(t, b)
	})
}

func writtenAsRead(t *testing.T, a Address) {
	if !a.Prefix.IsValid() || a.Link < 0 {
		t.Fatalf("address %v", a)
	}
	want := a
	want.Tentative, want.Failed = false, false           // are never written
	want.NoDAD = a.NoDAD && a.Prefix.Addr().Is6()        // nor is this of IPv4
	encoded := body(func(b *rtnl.Batch) { a.Append(b) }) // with the broadcast address, which is not read
	if got, ok := decodeAddress(encoded); !ok || got != want {
		t.Fatalf("%+v is written as %x, and read as %+v, %v", a, encoded, got, ok)
	}
}

func routeWrittenAsRead(t *testing.T, r Route) {
	if !r.Dst.IsValid() || r.Link < 0 || r.Table < 0 || r.Priority < 0 || r.String() == "" {
		t.Fatalf("route %+v", r)
	}
	want := r
	if want.Table == 0 {
		want.Table = unix.RT_TABLE_MAIN
	}
	encoded := body(func(b *rtnl.Batch) { r.append(b, unix.RTM_NEWROUTE, 0) })
	if got := decodeRoutes(encoded); len(got) != 1 || got[0] != want {
		t.Fatalf("%+v is written as %x, and read as %+v", r, encoded, got)
	}
}

func drawAddr(t *rapid.T, v6 bool) netip.Addr {
	n := 4
	if v6 {
		n = 16
	}
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	return a
}

func drawPrefix(t *rapid.T, v6 bool, least int) netip.Prefix {
	a := drawAddr(t, v6)
	return netip.PrefixFrom(a, rapid.IntRange(least, a.BitLen()).Draw(t, "bits"))
}

func roundTrip(t *rapid.T) {
	v6 := rapid.Bool().Draw(t, "IPv6")
	link := int(rapid.Uint32Range(1, 1<<31-1).Draw(t, "link"))
	a := Address{Link: link, Prefix: drawPrefix(t, v6, 1), NoDAD: v6 && rapid.Bool().Draw(t, "no DAD")}
	if got, ok := decodeAddress(body(func(b *rtnl.Batch) { a.Append(b) })); !ok || got != a {
		t.Fatalf("%+v is read as %+v, %v", a, got, ok)
	}
	r := Route{
		Dst: drawPrefix(t, v6, 0).Masked(), Table: int(rapid.Uint32Range(1, 1<<20).Draw(t, "table")), Type: int(rapid.Uint8Range(1, 11).Draw(t, "type")),
		Protocol: int(rapid.Uint8Range(1, 255).Draw(t, "protocol")), Scope: int(rapid.Uint8Range(1, 255).Draw(t, "scope")),
		Priority: int(rapid.Uint32().Draw(t, "priority")),
	}
	if rapid.Bool().Draw(t, "source") {
		r.Source = drawAddr(t, v6)
	}
	hops := make([]Route, rapid.IntRange(1, 3).Draw(t, "hops"))
	for i := range hops {
		hops[i] = r
		hops[i].Link = int(rapid.Uint32Range(1, 1<<31-1).Draw(t, "link"))
		if rapid.Bool().Draw(t, "gateway") {
			hops[i].Gateway = drawAddr(t, rapid.Bool().Draw(t, "IPv6"))
		}
	}
	if got := decodeRoutes(body(func(b *rtnl.Batch) { hops[0].Append(b) })); !slices.Equal(got, hops[:1]) {
		t.Fatalf("%+v is read as %+v", hops[0], got)
	}
	if got := decodeRoutes(body(func(b *rtnl.Batch) { appendMultipath(b, r, hops) })); !slices.Equal(got, hops) {
		t.Fatalf("%+v are read as %+v", hops, got)
	}
}

// appendMultipath adds a route with several next hops as the kernel sends one.
func appendMultipath(b *rtnl.Batch, r Route, hops []Route) {
	r.append(b, unix.RTM_NEWROUTE, 0)
	var list []byte
	for _, h := range hops {
		hop := body(func(b *rtnl.Batch) {
			b.Begin(unix.RTM_NEWROUTE, 0)
			if h.Gateway.IsValid() && h.Gateway.Is4() == h.Dst.Addr().Is4() {
				b.Bytes(unix.RTA_GATEWAY, h.Gateway.AsSlice())
			} else if h.Gateway.IsValid() {
				b.Bytes(unix.RTA_VIA, append(binary.NativeEndian.AppendUint16(nil, uint16(family(h.Gateway))), h.Gateway.AsSlice()...))
			}
		})
		list = order.AppendUint16(list, uint16(unix.SizeofRtNexthop+len(hop)))
		list = order.AppendUint32(append(list, 0, 0), uint32(h.Link))
		list = append(list, hop...)
	}
	b.Bytes(unix.RTA_MULTIPATH, list)
}
