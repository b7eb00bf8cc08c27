package forwarding_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/nft"
)

// text is elements as "TABLE SET ELEMENT", in nft syntax.
func text(elements []nft.Element) []string {
	sets := make(map[nft.SetID]nft.Set)
	for _, t := range program() {
		for _, s := range t.Sets {
			sets[nft.SetID{Table: t.ID, Name: s.Name}] = s
		}
	}
	var lines []string
	for _, e := range elements {
		s, ok := sets[e.Set]
		if !ok {
			lines = append(lines, fmt.Sprintf("no such set: %s", e.Set))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", e.Set.Table.Family, s.Name, nft.ElementText(&s, e)))
	}
	return lines
}

// docker0 has both families and everything at its default.
func docker0() bridged.Network {
	return bridged.Network{
		Driver: bridged.DriverBridge, Bridge: "docker0", BridgeMAC: bridged.MAC{0x02, 0x42, 1, 2, 3, 4},
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.0.1")},
		IPv6: bridged.Subnet{Prefix: netip.MustParsePrefix("fd00:17::/64"), Gateway: netip.MustParseAddr("fd00:17::1")},
		ICC:  true, Masquerade: true, SourceGuard: true,
	}
}

// endpoint2 is docker0's first.
func endpoint2() bridged.Endpoint {
	return bridged.Endpoint{
		HostInterface: "bv0000000000a1", MAC: bridged.MAC{0x02, 0x42, 0xac, 0x11, 0x00, 0x02},
		IPv4: netip.MustParsePrefix("172.17.0.2/16"), IPv6: netip.MustParsePrefix("fd00:17::2/64"),
	}
}

func changed[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func TestBaseAndHost(t *testing.T) {
	tests := []struct {
		name     string
		elements []nft.Element
		want     []string
	}{
		{"base", forwarding.Base(), []string{`inet loopbacks "lo"`}},
		{"no family", forwarding.Host(bridged.Forwarding{}), nil},
		{"IPv4", forwarding.Host(bridged.Forwarding{IPv4: true}), []string{"inet norouter ipv4"}},
		{"both", forwarding.Host(bridged.Forwarding{IPv4: true, IPv6: true}), []string{"inet norouter ipv4", "inet norouter ipv6"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := gocmp.Diff(tt.want, text(tt.elements)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	base := []string{`inet bridges "docker0"`, `inet same "docker0" . "docker0"`, `inet icc "docker0"`}
	tests := []struct {
		name    string
		network bridged.Network
		want    []string
	}{
		{"default", docker0(), []string{
			`inet bridges "docker0"`, `inet same "docker0" . "docker0"`, `inet icc "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`,
		}},
		{"ICC off, IPv4 only", changed(docker0(), func(n *bridged.Network) { n.ICC, n.IPv6 = false, bridged.Subnet{} }), []string{
			`inet bridges "docker0"`, `inet same "docker0" . "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`,
		}},
		{"IPv6 only", changed(docker0(), func(n *bridged.Network) { n.IPv4 = bridged.Subnet{} }), []string{
			`inet bridges "docker0"`, `inet same "docker0" . "docker0"`, `inet icc "docker0"`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`,
		}},
		{"internal", changed(docker0(), func(n *bridged.Network) { n.Internal = true }), []string{
			`inet bridges "docker0"`, `inet same "docker0" . "docker0"`, `inet icc "docker0"`, `inet internal "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`, `inet internal4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`, `inet internal6 fd00:17::/64`,
		}},
		{"source guard off", changed(docker0(), func(n *bridged.Network) { n.SourceGuard = false }), []string{
			`inet bridges "docker0"`, `inet same "docker0" . "docker0"`, `inet icc "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`, `inet nested4 "docker0" . 0.0.0.0/0`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`, `inet nested6 "docker0" . ::/0`,
		}},
		{"given", changed(docker0(), func(n *bridged.Network) { n.Given, n.IPv6 = true, bridged.Subnet{} }), []string{
			`inet bridges "docker0"`, `inet same "docker0" . "docker0"`, `inet icc "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet unprotected4 "docker0"`,
		}},
		{"nat, by name", changed(docker0(), modes(bridged.GatewayNAT, bridged.GatewayNAT)), slices.Concat(base, []string{
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`,
		})},
		{"nat-unprotected", changed(docker0(), modes(bridged.GatewayUnprotected, bridged.GatewayUnprotected)), slices.Concat(base, []string{
			`inet subnets4 172.17.0.0/16`, `inet unprotected4 "docker0"`,
			`inet subnets6 fd00:17::/64`, `inet unprotected6 "docker0"`,
		})},
		{"routed", changed(docker0(), modes(bridged.GatewayRouted, bridged.GatewayRouted)), slices.Concat(base, []string{
			`inet subnets4 172.17.0.0/16`, `inet routed4 "docker0"`,
			`inet subnets6 fd00:17::/64`, `inet routed6 "docker0"`,
		})},
		{"IPv6 routed", changed(docker0(), modes("", bridged.GatewayRouted)), slices.Concat(base, []string{
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet routed6 "docker0"`,
		})},
		{"isolated", changed(docker0(), internalAnd(modes(bridged.GatewayIsolated, bridged.GatewayIsolated))), slices.Concat(base, []string{
			`inet internal "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`, `inet isolated4 "docker0"`, `inet internal4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`, `inet isolated6 "docker0"`, `inet internal6 fd00:17::/64`,
		})},
		{"IPv4 isolated, internal", changed(docker0(), internalAnd(modes(bridged.GatewayIsolated, ""))), slices.Concat(base, []string{
			`inet internal "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`, `inet isolated4 "docker0"`, `inet internal4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`, `inet internal6 fd00:17::/64`,
		})},
		{"routed, but internal: nobody gets in", changed(docker0(), internalAnd(modes(bridged.GatewayRouted, bridged.GatewayUnprotected))), slices.Concat(base, []string{
			`inet internal "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`, `inet internal4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`, `inet internal6 fd00:17::/64`,
		})},
		{"trusted", changed(docker0(), trusting), slices.Concat(base, []string{
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`,
			`inet trusted4 "eth0" . 172.17.0.0/16`, `inet trusted4 "wg0" . 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`,
			`inet trusted6 "eth0" . fd00:17::/64`, `inet trusted6 "wg0" . fd00:17::/64`,
		})},
		{"trusted, IPv6 only", changed(docker0(), func(n *bridged.Network) { trusting(n); n.IPv4 = bridged.Subnet{} }), slices.Concat(base, []string{
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`,
			`inet trusted6 "eth0" . fd00:17::/64`, `inet trusted6 "wg0" . fd00:17::/64`,
		})},
		{"trusted, but internal: nobody gets in", changed(docker0(), internalAnd(trusting)), slices.Concat(base, []string{
			`inet internal "docker0"`,
			`inet subnets4 172.17.0.0/16`, `inet protected4 172.17.0.0/16`, `inet internal4 172.17.0.0/16`,
			`inet subnets6 fd00:17::/64`, `inet protected6 fd00:17::/64`, `inet internal6 fd00:17::/64`,
		})},
		{"host", bridged.Network{Driver: bridged.DriverHost}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := gocmp.Diff(tt.want, text(forwarding.Network(tt.network))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// modes sets the gateway modes of both families.
func modes(v4, v6 bridged.GatewayMode) func(*bridged.Network) {
	return func(n *bridged.Network) { n.Gateway4, n.Gateway6 = v4, v6 }
}

func trusting(n *bridged.Network) { n.Trusted = []string{"eth0", "wg0"} }

func internalAnd(change func(*bridged.Network)) func(*bridged.Network) {
	return func(n *bridged.Network) {
		n.Internal = true
		change(n)
	}
}

// A published port is reached at the sandbox's own address where somebody may address it.
func TestPort(t *testing.T) {
	tests := []struct {
		name     string
		network  bridged.Network
		binding  string
		endpoint bridged.Endpoint
		want     []string
	}{
		{"nat", docker0(), "0.0.0.0:8080/tcp", endpoint2(), nil},
		{"nat-unprotected: open anyway", changed(docker0(), modes(bridged.GatewayUnprotected, "")), "0.0.0.0:8080/tcp", endpoint2(), nil},
		{"routed", changed(docker0(), modes(bridged.GatewayRouted, bridged.GatewayRouted)), "0.0.0.0:8080/tcp", endpoint2(),
			[]string{"inet open4 172.17.0.2 . tcp . 80"}},
		{"routed, by an address of the host", changed(docker0(), modes(bridged.GatewayRouted, "")), "192.0.2.1:53/udp", endpoint2(),
			[]string{"inet open4 172.17.0.2 . udp . 80"}},
		{"routed, IPv6", changed(docker0(), modes("", bridged.GatewayRouted)), "[::]:8080/sctp", endpoint2(),
			[]string{"inet open6 fd00:17::2 . sctp . 80"}},
		{"IPv6 routed, IPv4", changed(docker0(), modes("", bridged.GatewayRouted)), "0.0.0.0:8080/tcp", endpoint2(), nil},
		{"routed, without an address", changed(docker0(), modes("", bridged.GatewayRouted)), "[::]:8080/tcp",
			changed(endpoint2(), func(e *bridged.Endpoint) { e.IPv6 = netip.Prefix{} }), nil},
		{"routed, waiting for a network", changed(docker0(), modes(bridged.GatewayRouted, "")), "0.0.0.0:8080/tcp", bridged.Endpoint{}, nil},
		{"trusted", changed(docker0(), trusting), "0.0.0.0:8080/tcp", endpoint2(), []string{"inet open4 172.17.0.2 . tcp . 80"}},
		{"trusted, IPv6", changed(docker0(), trusting), "[2001:db8::1]:8080/tcp", endpoint2(), []string{"inet open6 fd00:17::2 . tcp . 80"}},
		{"trusted, internal", changed(docker0(), internalAnd(trusting)), "0.0.0.0:8080/tcp", endpoint2(), nil},
		{"routed, internal", changed(docker0(), internalAnd(modes(bridged.GatewayRouted, ""))), "0.0.0.0:8080/tcp", endpoint2(), nil},
		{"host", bridged.Network{Driver: bridged.DriverHost}, "0.0.0.0:8080/tcp", bridged.Endpoint{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := bridged.Port{ContainerPort: 80}
			if err := p.Binding.UnmarshalText([]byte(tt.binding)); err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(tt.want, text(forwarding.Port(tt.network, p, tt.endpoint))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Two publications of one port of a sandbox open it by the same element: an engine must keep it until both are gone.
func TestPortIsShared(t *testing.T) {
	n := changed(docker0(), modes(bridged.GatewayRouted, ""))
	open := func(binding string) []nft.Element {
		p := bridged.Port{ContainerPort: 80}
		if err := p.Binding.UnmarshalText([]byte(binding)); err != nil {
			t.Fatal(err)
		}
		return forwarding.Port(n, p, endpoint2())
	}
	first := open("0.0.0.0:8080/tcp")
	if !slices.Equal(first, open("0.0.0.0:9090/tcp")) || !slices.Equal(first, open("127.0.0.1:8080/tcp")) {
		t.Error("publications of the same port differ")
	}
	if slices.Equal(first, open("0.0.0.0:8080/udp")) {
		t.Error("TCP and UDP are the same")
	}
}

func TestEndpoint(t *testing.T) {
	const (
		port = `"bv0000000000a1"`
		mac  = "02:42:ac:11:00:02"
		own6 = "0xfd000017000000000000000000000002"
		ll6  = "0xfe800000000000000042acfffe110002"
	)
	var (
		gateway = "bridge gateways " + port + " . 02:42:01:02:03:04"
		icc     = "bridge icc " + port
		macs    = "bridge macs " + port + " . " + mac
		source4 = "bridge source4 " + port + " . " + mac + " . 172.17.0.2"
		ipv6    = []string{
			"bridge source6 " + port + " . " + mac + " . fd00:17::2", "bridge targets6 " + port + " . " + own6,
			"bridge source6 " + port + " . " + mac + " . fe80::42:acff:fe11:2", "bridge targets6 " + port + " . " + ll6,
		}
	)
	elsewhere := bridged.Endpoint{
		HostInterface: "bv0000000000b1", MAC: bridged.MAC{0x02, 0x42, 0xac, 0x12, 0x00, 0x05},
		IPv4: netip.MustParsePrefix("172.18.0.5/16"), IPv6: netip.MustParsePrefix("fd00:18::5/64"),
	}
	sibling := changed(elsewhere, func(e *bridged.Endpoint) {
		e.IPv4, e.IPv6 = netip.MustParsePrefix("172.17.0.3/24"), netip.MustParsePrefix("fd00:17::3/96")
	})
	tests := []struct {
		name     string
		network  bridged.Network
		endpoint bridged.Endpoint
		others   []bridged.Endpoint
		want     []string
	}{
		{"default", docker0(), endpoint2(), nil, slices.Concat([]string{gateway, icc, macs, source4}, ipv6)},
		{
			"given", changed(docker0(), func(n *bridged.Network) { n.Given = true }), endpoint2(), nil,
			slices.Concat([]string{gateway, "inet protected4 172.17.0.2", "inet protected6 fd00:17::2", icc, macs, source4}, ipv6),
		},
		{
			"ICC off", changed(docker0(), func(n *bridged.Network) { n.ICC = false }), endpoint2(), nil,
			slices.Concat([]string{gateway, macs, source4}, ipv6),
		},
		{
			"IPv4 only", docker0(), changed(endpoint2(), func(e *bridged.Endpoint) { e.IPv6 = netip.Prefix{} }), nil,
			[]string{gateway, icc, macs, source4},
		},
		{
			"IPv6 only", docker0(), changed(endpoint2(), func(e *bridged.Endpoint) { e.IPv4 = netip.Prefix{} }), nil,
			slices.Concat([]string{gateway, icc, macs}, ipv6),
		},
		{
			"source guard off", changed(docker0(), func(n *bridged.Network) { n.SourceGuard = false }), endpoint2(),
			[]bridged.Endpoint{elsewhere}, []string{gateway, icc, "bridge unguarded " + port},
		},
		{
			"in another network, too", docker0(), endpoint2(), []bridged.Endpoint{elsewhere},
			slices.Concat([]string{gateway, icc, macs, source4}, ipv6, []string{
				`inet sources4 "docker0" . 172.18.0.5`, "bridge source4 " + port + " . " + mac + " . 172.18.0.5",
				`inet sources6 "docker0" . fd00:18::5`, "bridge source6 " + port + " . " + mac + " . fd00:18::5",
			}),
		},
		{
			"in another network that overlaps: a sibling's addresses", docker0(), endpoint2(), []bridged.Endpoint{sibling},
			slices.Concat([]string{gateway, icc, macs, source4}, ipv6),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := gocmp.Diff(tt.want, text(forwarding.Endpoint(tt.network, tt.endpoint, tt.others))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// networks draws networks whose bridges differ and whose subnets don't overlap, with endpoints in them.
func networks(t *rapid.T) []bridged.Network {
	var all []bridged.Network
	for _, i := range rapid.SliceOfNDistinct(rapid.ByteRange(0, 9), 1, 6, rapid.ID).Draw(t, "networks") {
		n := docker0()
		n.ID, n.Bridge = fmt.Sprint(i), fmt.Sprintf("br%d", i)
		n.IPv4, n.IPv6 = bridged.Subnet{}, bridged.Subnet{}
		families := rapid.IntRange(1, 3).Draw(t, "families")
		if families&1 != 0 {
			n.IPv4.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, i}), 16)
		}
		if families&2 != 0 {
			n.IPv6.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 7: i}), 64)
		}
		n.ICC, n.Internal = rapid.Bool().Draw(t, "icc"), rapid.Bool().Draw(t, "internal")
		n.SourceGuard, n.Given = rapid.Bool().Draw(t, "source guard"), rapid.Bool().Draw(t, "given")
		n.Trusted = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"eth0", "wg0"}), 0, 2, rapid.ID).Draw(t, "trusted")
		ways := []bridged.GatewayMode{"", bridged.GatewayNAT, bridged.GatewayUnprotected, bridged.GatewayRouted}
		if n.Internal {
			ways = append(ways, bridged.GatewayIsolated)
		}
		n.Gateway4, n.Gateway6 = rapid.SampledFrom(ways).Draw(t, "IPv4"), rapid.SampledFrom(ways).Draw(t, "IPv6")
		all = append(all, n)
	}
	return all
}

// TestElementsAreApart: whatever networks there are, and whatever sandboxes in them, no two objects have an element in common, nor
// intervals that overlap. So each object can come and go without a look at the others.
func TestElementsAreApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := slices.Concat(forwarding.Base(), forwarding.Host(bridged.Forwarding{IPv4: true, IPv6: true}))
		nets := networks(t)
		for _, n := range nets {
			all = append(all, forwarding.Network(n)...)
		}
		for sandbox := range rapid.ByteRange(1, 5).Draw(t, "sandboxes") {
			var joined []bridged.Endpoint
			var in []bridged.Network
			for i, n := range nets {
				if !rapid.Bool().Draw(t, "joins") {
					continue
				}
				e := bridged.Endpoint{HostInterface: fmt.Sprintf("bv%d-%d", i, sandbox), MAC: bridged.MAC{2, 0, byte(i), 0, 0, sandbox}}
				if n.IPv4.Valid() {
					a := n.IPv4.Prefix.Addr().As4()
					a[3] = 2 + sandbox
					e.IPv4 = netip.PrefixFrom(netip.AddrFrom4(a), 16)
				}
				if n.IPv6.Valid() {
					a := n.IPv6.Prefix.Addr().As16()
					a[15] = 2 + sandbox
					e.IPv6 = netip.PrefixFrom(netip.AddrFrom16(a), 64)
				}
				joined, in = append(joined, e), append(in, n)
			}
			for i, e := range joined {
				others := slices.Delete(slices.Clone(joined), i, i+1)
				all = append(all, forwarding.Endpoint(in[i], e, others)...)
			}
		}
		checkApart(t, all)
	})
}

// checkApart fails when two elements of a set have the same key, or intervals that overlap.
func checkApart(t *rapid.T, elements []nft.Element) {
	for i, a := range elements {
		for _, b := range elements[:i] {
			if a.Set == b.Set && overlap(a, b) {
				t.Fatalf("in each other's way:\n%s", strings.Join(text([]nft.Element{a, b}), "\n"))
			}
		}
	}
}

// overlap is true of two elements of a set when a key is in both. Only the last field of ours is ever a range.
func overlap(a, b nft.Element) bool {
	if a.End.Len() == 0 {
		return a.Key == b.Key
	}
	return slices.Compare(a.Key.Bytes(), b.End.Bytes()) <= 0 && slices.Compare(b.Key.Bytes(), a.End.Bytes()) <= 0
}

// TestElementsAreIntervalsWhereSetsAre: the kernel refuses an element of the wrong shape, and with it the whole transaction.
func TestElementsAreIntervalsWhereSetsAre(t *testing.T) {
	sets := make(map[string]nft.Set)
	for _, s := range forwarding.Sets() {
		sets[s.Name] = s
	}
	for _, change := range []func(*bridged.Network){
		func(*bridged.Network) {},
		func(n *bridged.Network) { n.Internal, n.SourceGuard = true, false },
		trusting,
		modes(bridged.GatewayRouted, bridged.GatewayUnprotected),
		internalAnd(modes(bridged.GatewayIsolated, bridged.GatewayIsolated)),
	} {
		for _, e := range forwarding.Network(changed(docker0(), change)) {
			if got := e.End.Len() != 0; got != sets[e.Set.Name].Interval {
				t.Errorf("%v: an interval: %t, the set has intervals: %t", text([]nft.Element{e}), got, sets[e.Set.Name].Interval)
			}
		}
	}
}

// TestElementsLoad: the kernel takes the elements, and nft reads them as they were meant.
func TestElementsLoad(t *testing.T) {
	internal := changed(docker0(), func(n *bridged.Network) {
		n.Bridge, n.Internal, n.SourceGuard = "br-internal", true, false
		n.IPv4.Prefix, n.IPv6.Prefix = netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("fd00:18::/64")
	})
	inside := bridged.Endpoint{
		HostInterface: "bv0000000000b1", MAC: bridged.MAC{0x02, 0x42, 0xac, 0x12, 0x00, 0x05},
		IPv4: netip.MustParsePrefix("172.18.0.5/16"), IPv6: netip.MustParsePrefix("fd00:18::5/64"),
	}
	rs := nft.Ruleset{Tables: program(), Elements: make(nft.Elements)}
	for _, e := range slices.Concat(
		forwarding.Base(), forwarding.Host(bridged.Forwarding{IPv4: true, IPv6: true}),
		forwarding.Network(docker0()), forwarding.Network(internal),
		forwarding.Endpoint(docker0(), endpoint2(), []bridged.Endpoint{inside}),
		forwarding.Endpoint(internal, inside, []bridged.Endpoint{endpoint2()}),
	) {
		rs.Elements[e] = struct{}{}
	}
	golden(t, "elements.golden", rs.String())
	var written, asText string
	inNamespace(t, func() {
		load(t, rs)
		written = nftTool(t, "", "-s", "list", "ruleset")
	})
	inNamespace(t, func() {
		nftTool(t, rs.String(), "-f", "-")
		asText = nftTool(t, "", "-s", "list", "ruleset")
	})
	if diff := gocmp.Diff(elementLines(asText), elementLines(written)); diff != "" {
		t.Errorf("(-as text +written):\n%s", diff)
	}
}

// elementLines are the sets of a listing with their elements sorted: the kernel lists them in the order of a hash.
func elementLines(listing string) [][]string {
	all := blocks(listing)
	for _, b := range all {
		for i, line := range b {
			b[i] = strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "elements = {"), " ,}")
		}
		slices.Sort(b)
	}
	return all
}

// TestEndpointAllocates: an attach is the hot path.
func TestEndpointAllocates(t *testing.T) {
	n, e := docker0(), endpoint2()
	var sum int
	if allocs := testing.AllocsPerRun(100, func() {
		for _, element := range forwarding.Endpoint(n, e, nil) {
			sum += element.Key.Len()
		}
	}); allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func BenchmarkEndpoint(b *testing.B) {
	n, e := docker0(), endpoint2()
	var sum int
	b.ReportAllocs()
	for b.Loop() {
		for _, element := range forwarding.Endpoint(n, e, nil) {
			sum += element.Key.Len()
		}
	}
}
