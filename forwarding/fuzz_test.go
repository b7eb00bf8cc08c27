package forwarding_test

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// What the kernel has in the sets of links is read as a link only if that link has this very element.
func FuzzParseLink(f *testing.F) {
	ip := netip.MustParseAddr
	tcp80 := []nft.Value{nft.Byte(6), nft.Port(80)}
	f.Add(false, concat(tcp80, nft.Addr(ip("10.0.0.2")), nft.Addr(ip("10.0.0.3"))))
	f.Add(true, concat(tcp80, nft.Addr(ip("fd00::2")), nft.Addr(ip("fd00::3"))))
	f.Add(true, concat(tcp80, nft.Addr(ip("10.0.0.2")), nft.Addr(ip("10.0.0.3"))))
	f.Add(false, make([]byte, 17))
	f.Fuzz(func(t *testing.T, v6 bool, key []byte) {
		if len(key) > nft.MaxValue {
			t.Skip("no value")
		}
		e := nft.Element{Set: nft.SetID{Table: nat.Inet, Name: "links4"}, Key: nft.Raw(key)}
		if v6 {
			e.Set.Name = "links6"
		}
		parent, child, port, ok := forwarding.ParseLink(e)
		if !ok {
			return
		}
		network, from, to := bridged.Network{}, bridged.Endpoint{}, bridged.Endpoint{}
		if v6 {
			network.IPv6.Gateway, from.IPv6, to.IPv6 = parent, whole(parent), whole(child)
		} else {
			network.IPv4.Gateway, from.IPv4, to.IPv4 = parent, whole(parent), whole(child)
		}
		if again := forwarding.Link(network, from, to, []bridged.ProtoPort{port}); len(again) != 1 || again[0] != e {
			t.Fatalf("%x is read as %v -> %v:%v, whose elements are %v", key, parent, child, port, again)
		}
	})
}

func concat(end []nft.Value, addrs ...nft.Value) []byte {
	v := nft.Concat(append(addrs, end...)...)
	return v.Bytes()
}

func whole(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
