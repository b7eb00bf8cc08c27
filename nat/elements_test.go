package nat_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nat"
	"github.com/bridged/bridged/nft"
)

// text is elements as "SET ELEMENT", in nft syntax.
func text(elements []nft.Element) []string {
	sets := make(map[string]nft.Set)
	for _, s := range nat.Sets() {
		sets[s.Name] = s
	}
	var lines []string
	for _, e := range elements {
		s, ok := sets[e.Set.Name]
		if !ok || e.Set.Table != nat.Inet {
			lines = append(lines, fmt.Sprintf("no such set: %s", e.Set))
			continue
		}
		lines = append(lines, s.Name+" "+nft.ElementText(&s, e))
	}
	return lines
}

func subnet(s string) bridged.Subnet { return bridged.Subnet{Prefix: netip.MustParsePrefix(s)} }

func TestNetwork(t *testing.T) {
	both := bridged.Network{
		Driver: bridged.DriverBridge, Bridge: "docker0", Masquerade: true,
		IPv4: subnet("172.17.0.0/16"), IPv6: subnet("fd00:17::/64"),
	}
	fixed := func(n *bridged.Network) {
		n.Source4, n.Source6 = netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	}
	with := func(change func(*bridged.Network)) bridged.Network {
		n := both
		change(&n)
		return n
	}
	tests := []struct {
		name    string
		network bridged.Network
		want    []string
	}{
		{"both families", both, []string{`masq4 "docker0"`, `masq6 "docker0"`}},
		{"IPv4 only", with(func(n *bridged.Network) { n.IPv6 = bridged.Subnet{} }), []string{`masq4 "docker0"`}},
		{"IPv6 only", with(func(n *bridged.Network) { n.IPv4 = bridged.Subnet{} }), []string{`masq6 "docker0"`}},
		{"no masquerade", with(func(n *bridged.Network) { n.Masquerade = false }), nil},
		{"internal", with(func(n *bridged.Network) { n.Internal = true }), nil},
		{"nat, by name", with(func(n *bridged.Network) { n.Gateway4, n.Gateway6 = bridged.GatewayNAT, bridged.GatewayNAT }), []string{`masq4 "docker0"`, `masq6 "docker0"`}},
		{"nat-unprotected", with(func(n *bridged.Network) {
			n.Gateway4, n.Gateway6 = bridged.GatewayUnprotected, bridged.GatewayUnprotected
		}), []string{`masq4 "docker0"`, `masq6 "docker0"`}},
		{"routed", with(func(n *bridged.Network) { n.Gateway4, n.Gateway6 = bridged.GatewayRouted, bridged.GatewayRouted }), nil},
		{"IPv6 routed", with(func(n *bridged.Network) { n.Gateway6 = bridged.GatewayRouted }), []string{`masq4 "docker0"`}},
		{"isolated", with(func(n *bridged.Network) {
			n.Internal, n.Gateway4, n.Gateway6 = true, bridged.GatewayIsolated, bridged.GatewayIsolated
		}), nil},
		{"fixed sources", with(fixed), []string{
			`masq4 "docker0"`, `snat4 "docker0" : 192.0.2.9`, `masq6 "docker0"`, `snat6 "docker0" : 2001:db8::9`,
		}},
		{"a fixed source of one family", with(func(n *bridged.Network) { fixed(n); n.Source4 = netip.Addr{} }), []string{
			`masq4 "docker0"`, `masq6 "docker0"`, `snat6 "docker0" : 2001:db8::9`,
		}},
		{"a fixed source of a family that is not there", with(func(n *bridged.Network) { fixed(n); n.IPv6 = bridged.Subnet{} }), []string{
			`masq4 "docker0"`, `snat4 "docker0" : 192.0.2.9`,
		}},
		{"fixed sources, no masquerade", with(func(n *bridged.Network) { fixed(n); n.Masquerade = false }), nil},
		{"fixed sources, internal", with(func(n *bridged.Network) { fixed(n); n.Internal = true }), nil},
		{"host", bridged.Network{Driver: bridged.DriverHost, Masquerade: true}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, text(nat.Network(tt.network))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPort(t *testing.T) {
	var (
		both = bridged.Endpoint{IPv4: netip.MustParsePrefix("172.17.0.2/16"), IPv6: netip.MustParsePrefix("fd00:17::2/64")}
		only = bridged.Endpoint{IPv4: both.IPv4}
	)
	tests := []struct {
		binding  string
		inside   uint16
		endpoint bridged.Endpoint
		want     []string
	}{
		{"0.0.0.0:8080/tcp", 80, both, []string{"publish4any tcp . 8080 : 172.17.0.2 . 80"}},
		{"[::]:8080/tcp", 80, both, []string{"publish6any tcp . 8080 : fd00:17::2 . 80"}},
		{"127.0.0.2:8081/tcp", 80, both, []string{"publish4 127.0.0.2 . tcp . 8081 : 172.17.0.2 . 80"}},
		{"[2001:db8::1]:8081/tcp", 80, both, []string{"publish6 2001:db8::1 . tcp . 8081 : fd00:17::2 . 80"}},
		{"0.0.0.0:53/udp", 5353, both, []string{"publish4any udp . 53 : 172.17.0.2 . 5353"}},
		{"[::]:65535/sctp", 1, both, []string{"publish6any sctp . 65535 : fd00:17::2 . 1"}},
		{"[::]:8080/tcp", 80, only, nil},
	}
	for _, tt := range tests {
		t.Run(tt.binding, func(t *testing.T) {
			p := bridged.Port{ContainerPort: tt.inside}
			if err := p.Binding.UnmarshalText([]byte(tt.binding)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, text(nat.Port(p, tt.endpoint))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPortsDoNotCollide: no two bindings have the same key, whatever they lead to. A set would refuse the second.
func TestPortsDoNotCollide(t *testing.T) {
	hosts := []netip.Addr{
		netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"),
		netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2"),
	}
	bindings := rapid.Custom(func(t *rapid.T) bridged.Binding {
		return bridged.Binding{
			HostIP:   rapid.SampledFrom(hosts).Draw(t, "host"),
			Proto:    rapid.SampledFrom([]bridged.Proto{bridged.TCP, bridged.UDP, bridged.SCTP}).Draw(t, "proto"),
			HostPort: rapid.Uint16Range(1, 3).Draw(t, "port"),
		}
	})
	endpoint := bridged.Endpoint{IPv4: netip.MustParsePrefix("172.17.0.2/16"), IPv6: netip.MustParsePrefix("fd00:17::2/64")}
	type key struct {
		set nft.SetID
		key nft.Value
	}
	rapid.Check(t, func(t *rapid.T) {
		seen := make(map[key]bridged.Binding)
		for _, b := range rapid.SliceOfDistinct(bindings, rapid.ID).Draw(t, "bindings") {
			elements := nat.Port(bridged.Port{Binding: b, ContainerPort: 80}, endpoint)
			if len(elements) != 1 {
				t.Fatalf("%s has %d elements", b, len(elements))
			}
			k := key{elements[0].Set, elements[0].Key}
			if other, ok := seen[k]; ok {
				t.Fatalf("%s and %s are both %v", b, other, text(elements))
			}
			seen[k] = b
			port, inside, ok := nat.ParsePort(elements[0])
			if want := (bridged.Port{Binding: b, ContainerPort: 80}); !ok || port != want || inside != endpoint.Addr(b.HostIP) {
				t.Fatalf("%v is read as %v to %s, %t", text(elements), port, inside, ok)
			}
		}
	})
}

// What Port would not make is no port.
func TestParsePortRefuses(t *testing.T) {
	element := nat.Port(bridged.Port{ContainerPort: 80, Binding: bridged.Binding{
		HostIP: netip.MustParseAddr("127.0.0.2"), Proto: bridged.TCP, HostPort: 8080,
	}}, bridged.Endpoint{IPv4: netip.MustParsePrefix("172.17.0.2/16")})[0]
	if _, _, ok := nat.ParsePort(element); !ok {
		t.Fatal("a port's element is refused")
	}
	with := func(change func(*nft.Element)) nft.Element {
		e := element
		change(&e)
		return e
	}
	for name, e := range map[string]nft.Element{
		"none":           {},
		"another set":    with(func(e *nft.Element) { e.Set.Name = "masq4" }),
		"another family": with(func(e *nft.Element) { e.Set.Name = "publish6" }),
		"any address":    with(func(e *nft.Element) { e.Set.Name = "publish4any" }),
		"a short key":    with(func(e *nft.Element) { e.Key = nft.Byte(6) }),
		"no data":        with(func(e *nft.Element) { e.Data = nft.Value{} }),
		"an interval":    with(func(e *nft.Element) { e.End = e.Key }),
		"bits in the gaps": with(func(e *nft.Element) {
			e.Key = nft.Concat(nft.Raw(e.Key.Bytes()[:4]), nft.Raw([]byte{6, 1}), nft.Port(8080))
		}),
	} {
		if p, inside, ok := nat.ParsePort(e); ok {
			t.Errorf("%s is read as %v to %s", name, p, inside)
		}
	}
}

// TestPortAllocates: publishing is the hot path.
func TestPortAllocates(t *testing.T) {
	p := bridged.Port{ContainerPort: 80, Binding: bridged.Binding{
		HostIP: netip.MustParseAddr("127.0.0.2"), Proto: bridged.TCP, HostPort: 8080,
	}}
	e := bridged.Endpoint{IPv4: netip.MustParsePrefix("172.17.0.2/16")}
	var sum int
	if n := testing.AllocsPerRun(100, func() {
		for _, element := range nat.Port(p, e) {
			sum += element.Key.Len()
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkPort(b *testing.B) {
	p := bridged.Port{ContainerPort: 80, Binding: bridged.Binding{
		HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: 8080,
	}}
	e := bridged.Endpoint{IPv4: netip.MustParsePrefix("172.17.0.2/16")}
	var sum int
	b.ReportAllocs()
	for b.Loop() {
		for _, element := range nat.Port(p, e) {
			sum += element.Key.Len()
		}
	}
}

// A port that is published on every IPv4 address of the host is one element of a map.
func ExamplePort() {
	port := bridged.Port{
		Binding:       bridged.Binding{HostIP: netip.IPv4Unspecified(), Proto: bridged.TCP, HostPort: 8080},
		ContainerPort: 80,
	}
	endpoint := bridged.Endpoint{IPv4: netip.MustParsePrefix("172.17.0.2/16")}
	for _, e := range nat.Port(port, endpoint) {
		for _, set := range nat.Sets() {
			if set.Name == e.Set.Name {
				fmt.Printf("add element %s { %s }\n", e.Set, nft.ElementText(&set, e))
			}
		}
	}
	// Output:
	// add element inet bridged publish4any { tcp . 8080 : 172.17.0.2 . 80 }
}
