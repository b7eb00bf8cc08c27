package forwarding_test

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nft"
)

// TestLinkElements: one for each port in each family that both ends have, and each can be read back.
func TestLinkElements(t *testing.T) {
	w := newWorld(false, iccOff)
	n, c1, c2 := w.networks[0], w.sandboxes["c1"].endpoint, w.sandboxes["c2"].endpoint
	ports := []bridged.ProtoPort{{Proto: bridged.TCP, Port: 80}, {Proto: bridged.UDP, Port: 53000}}
	only4 := c2
	only4.IPv6 = netip.Prefix{}
	withICC, noGateway4, isolated := n, n, n
	withICC.ICC = true
	noGateway4.IPv4.Gateway = netip.Addr{}
	isolated.IPv4.Gateway, isolated.IPv6.Gateway = netip.Addr{}, netip.Addr{}
	for _, tt := range []struct {
		name    string
		network bridged.Network
		child   bridged.Endpoint
		ports   []bridged.ProtoPort
		want    []netip.Addr // the child's, once for each port
	}{
		{"both families", n, c2, ports, []netip.Addr{c2.IPv4.Addr(), c2.IPv6.Addr()}},
		{"a child without IPv6", n, only4, ports, []netip.Addr{c2.IPv4.Addr()}},
		{"no gateway in IPv4", noGateway4, c2, ports, []netip.Addr{c2.IPv6.Addr()}},
		{"no gateway", isolated, c2, ports, nil},
		{"ICC", withICC, c2, ports, nil},
		{"no ports", n, c2, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			elements := forwarding.Link(tt.network, c1, tt.child, tt.ports)
			if len(elements) != len(tt.want)*len(tt.ports) {
				t.Fatalf("%d elements: %v", len(elements), elements)
			}
			for i, to := range tt.want {
				for j, port := range tt.ports {
					parent, child, p, ok := forwarding.ParseLink(elements[i*len(tt.ports)+j])
					if !ok || parent != c1.Addr(to) || child != to || p != port {
						t.Errorf("element %d reads as %s -> %s:%s, %t", i, parent, child, p, ok)
					}
				}
			}
		})
	}
	if _, _, _, ok := forwarding.ParseLink(nft.Element{Set: nft.SetID{Table: forwarding.Bridge, Name: "icc"}, Key: nft.Name("bv0")}); ok {
		t.Error("an element that is none of a link's reads as one")
	}
}
