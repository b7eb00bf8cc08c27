package bridged

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "web-1.x_y": true, "0": true, strings.Repeat("a", 255): true,
		"": false, "-a": false, ".a": false, "_a": false, "a/b": false, "a b": false, "ä": false, "a\n": false, "..": false,
		strings.Repeat("a", 256): false,
	} {
		if err := CheckName("sandbox", name); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for name, ok := range map[string]bool{
		"docker0": true, "br-a.5": true, "fifteen-bytes-x": true,
		"": false, ".": false, "..": false, "sixteen-bytes-xx": false, "a/b": false, "a b": false, "a:b": false, "a%d": false, "a\xff": false,
	} {
		if err := CheckLinkName(name); (err == nil) != ok {
			t.Errorf("interface name %q: %v", name, err)
		}
	}
}

func TestErrorKinds(t *testing.T) {
	cause := errors.New("cause")
	for code, kind := range map[string]error{
		"invalid": ErrInvalid, "not-found": ErrNotFound, "conflict": ErrConflict, "denied": ErrDenied, "unavailable": ErrUnavailable,
	} {
		err := fmt.Errorf("outer: %w", Errorf(kind, "text %d: %w", 1, cause))
		if got := err.Error(); got != "outer: text 1: cause" {
			t.Errorf("%s prints as %q", code, got)
		}
		if !errors.Is(err, kind) || !errors.Is(err, cause) || Code(err) != code {
			t.Errorf("%s: kind or cause is lost; code %s", code, Code(err))
		}
		if back := FromCode(code, "text"); !errors.Is(back, kind) || back.Error() != "text" {
			t.Errorf("%s comes back as %v", code, back)
		}
	}
	if Code(cause) != "internal" || Code(FromCode("internal", "text")) != "internal" {
		t.Error("an error without a kind is not internal")
	}
}

func TestBindingString(t *testing.T) {
	for want, b := range map[string]Binding{
		"0.0.0.0:8080/tcp":   {HostIP: netip.IPv4Unspecified(), Proto: TCP, HostPort: 8080},
		"[::1]:65535/sctp":   {HostIP: netip.IPv6Loopback(), Proto: SCTP, HostPort: 65535},
		"invalid AddrPort/0": {},
	} {
		if got := b.String(); got != want {
			t.Errorf("%#v is %q, want %q", b, got, want)
		}
	}
}

func TestBindingsOverlap(t *testing.T) {
	b := func(s string) Binding {
		var b Binding
		if err := b.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"0.0.0.0:80/tcp", "0.0.0.0:80/tcp", true},
		{"0.0.0.0:80/tcp", "10.0.0.1:80/tcp", true},
		{"10.0.0.1:80/tcp", "10.0.0.1:80/tcp", true},
		{"10.0.0.1:80/tcp", "10.0.0.2:80/tcp", false},
		{"0.0.0.0:80/tcp", "0.0.0.0:81/tcp", false},
		{"0.0.0.0:80/tcp", "0.0.0.0:80/udp", false},
		{"0.0.0.0:80/tcp", "[::]:80/tcp", false},
		{"[::]:80/tcp", "[fd00::1]:80/tcp", true},
	} {
		if got := b(c.a).Overlaps(b(c.b)); got != c.want {
			t.Errorf("%s overlaps %s: %v, want %v", c.a, c.b, got, c.want)
		}
		if got := b(c.b).Overlaps(b(c.a)); got != c.want {
			t.Errorf("%s overlaps %s: %v, want %v", c.b, c.a, got, c.want)
		}
	}
}

// state draws a small State; few ids, so that changes meet what is there.
func state(t *rapid.T) State {
	var s State
	for range rapid.IntRange(0, 6).Draw(t, "changes") {
		s.Apply(change(t))
	}
	return s
}

func change(t *rapid.T) Change {
	id := rapid.SampledFrom([]string{"a", "b", "c"})
	gone := rapid.Bool()
	c := Change{}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		c.Networks = map[string]*Network{id.Draw(t, "id"): {ID: "n", Name: id.Draw(t, "name"), BridgeMAC: MAC{2, 1},
			IPv4: Subnet{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}}}
	case 1:
		c.Sandboxes = map[string]*Sandbox{id.Draw(t, "id"): {Name: id.Draw(t, "name"), NSID: NamespaceID{Dev: 1, Ino: 2, Cookie: 3}}}
	case 2:
		c.Endpoints = map[string]*Endpoint{id.Draw(t, "id"): {Sandbox: id.Draw(t, "sandbox"), IPv4: netip.MustParsePrefix("10.0.0.2/24")}}
	case 3:
		b := Binding{HostIP: netip.IPv6Unspecified(), Proto: UDP, HostPort: uint16(rapid.IntRange(1, 3).Draw(t, "port"))}
		c.Ports = map[Binding]*Port{b: {Binding: b, ContainerPort: 80}}
	case 4:
		l := Link{Parent: id.Draw(t, "parent"), Child: "a lease/of 1% ü", Ports: []ProtoPort{{UDP, 53}}, Alias: id.Draw(t, "alias")}
		if gone.Draw(t, "between addresses") {
			l.ParentIP, l.ChildIP = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
		}
		c.Links = map[LinkID]*Link{l.ID(): &l}
	case 5:
		c.Forwarding = &Forwarding{IPv4: gone.Draw(t, "on")}
		c.Pools = map[PoolID]*Pool{{Network: id.Draw(t, "id"), IPv6: true}: {Next: netip.MustParseAddr("fd00::2")}}
	}
	if gone.Draw(t, "gone") {
		for k := range c.Networks {
			c.Networks[k] = nil
		}
		for k := range c.Sandboxes {
			c.Sandboxes[k] = nil
		}
		for k := range c.Endpoints {
			c.Endpoints[k] = nil
		}
		for k := range c.Ports {
			c.Ports[k] = nil
		}
		for k := range c.Links {
			c.Links[k] = nil
		}
	}
	return c
}

var values = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestInverseTakesAChangeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := state(t)
		before := s.Clone()
		c := change(t)
		inverse := s.Inverse(c)
		s.Apply(c)
		s.Apply(inverse)
		if d := cmp.Diff(before, s, values); d != "" {
			t.Fatalf("(-before +after):\n%s", d)
		}
	})
}

func TestWholeIsTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := state(t)
		var again State
		again.Apply(s.Whole())
		if d := cmp.Diff(s, again, values); d != "" {
			t.Fatalf("(-state +again):\n%s", d)
		}
	})
}

func TestChangeSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := change(t)
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var again Change
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, again, values); d != "" {
			t.Fatalf("%s (-change +again):\n%s", text, d)
		}
	})
}

func TestOptions(t *testing.T) {
	var n Network
	err := n.SetOptions(map[string]string{
		OptionICC: "false", OptionMasquerade: "true", OptionBridgeName: "br7", OptionMTU: "9000", OptionHostBinding: "10.0.0.1", OptionSourceGuard: "true",
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.ICC || !n.Masquerade || n.Bridge != "br7" || n.MTU != 9000 || n.HostIP != netip.MustParseAddr("10.0.0.1") || !n.SourceGuard {
		t.Errorf("options gave %+v", n)
	}
	err = n.SetOptions(map[string]string{
		OptionGatewayMode4: "routed", OptionGatewayMode6: "nat-unprotected", OptionTrusted: "eth1:eth2", OptionInhibitIPv4: "true", OptionAllowOverlap: "true",
		OptionInterfacePrefix: "net", OptionSource6: "2001:db8::1", "com.example.anything": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	if n.Gateway(false) != GatewayRouted || n.Gateway(true) != GatewayUnprotected || !slices.Equal(n.Trusted, []string{"eth1", "eth2"}) || !n.InhibitIPv4 ||
		!n.AllowOverlap || n.InterfacePrefix != "net" || n.Source6 != netip.MustParseAddr("2001:db8::1") || n.Options["com.example.anything"] != "x" {
		t.Errorf("options gave %+v", n)
	}
	for key, value := range map[string]string{
		OptionGatewayMode4: "isolated", OptionGatewayMode6: "open", OptionTrusted: "eth1::eth2", OptionSource4: "::1", OptionSource6: "192.0.2.1",
		OptionInterfacePrefix: "twelve-bytes", OptionDefaultBridge: "true", OptionAllowOverlap: "perhaps",
		"com.docker.network.bridge.nosuch": "1", "bridged.nosuch": "1", OptionICC: "maybe", OptionMTU: "67", OptionBridgeName: "a/b", OptionHostBinding: "::1",
	} {
		if err := n.SetOptions(map[string]string{key: value}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), key) {
			t.Errorf("option %s=%s gives %v; want ErrInvalid that names it", key, value, err)
		}
	}
}

func TestEndpointOptions(t *testing.T) {
	var e Endpoint
	err := e.SetOptions(map[string]string{
		OptionInterface: "lan0", OptionMAC: "02:00:00:00:00:01", "com.example.anything": "x",
		OptionSysctls: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.IFNAME.base_reachable_time_ms=20000",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Endpoint{Interface: "lan0", MAC: MAC{0: 2, 5: 1}, Sysctls: map[string]string{
		"net/ipv4/conf/IFNAME/log_martians": "1", "net/ipv6/neigh/IFNAME/base_reachable_time_ms": "20000",
	}}
	if d := cmp.Diff(want, e, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	for key, values := range map[string][]string{
		OptionInterface: {"", "a/b", "lo", "sixteen-bytes-xx"},
		OptionMAC:       {"02:00", ""},
		OptionSysctls: {"", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.forwarding=1", "net.ipv4.conf.IFNAME.../../x=1", "kernel.panic=1",
			"net.ipv4.conf.IFNAME.log_martians", "net.ipv4.conf.IFNAME.log_martians=1\n"},
		"com.docker.network.endpoint.nosuch": {"1"},
	} {
		for _, value := range values {
			var e Endpoint
			if err := e.SetOptions(map[string]string{key: value}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), key) {
				t.Errorf("option %s=%q gives %v; want ErrInvalid that names it", key, value, err)
			}
		}
	}
}

// TestGateway: by priority, then by the network's name; internal networks last.
func TestGateway(t *testing.T) {
	four, both := netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")
	joined := func(name string, priority int, internal, ipv6 bool) Joined {
		j := Joined{Endpoint: Endpoint{ID: name, Priority: priority, IPv4: four}, Network: Network{Name: name, Internal: internal}}
		if ipv6 {
			j.Endpoint.IPv6 = both
		}
		return j
	}
	for _, tt := range []struct {
		joined    []Joined
		four, six string
	}{
		{nil, "", ""},
		{[]Joined{joined("b", 0, false, false), joined("a", 0, false, false)}, "a", ""},
		{[]Joined{joined("a", 0, false, false), joined("b", 1, false, true)}, "b", "b"},
		{[]Joined{joined("a", 0, false, false), joined("b", -1, false, true)}, "a", "b"},
		{[]Joined{joined("a", 9, true, true), joined("b", 0, false, false)}, "b", "a"},
	} {
		four, _ := Gateway(tt.joined, false)
		six, _ := Gateway(tt.joined, true)
		if four.Endpoint.ID != tt.four || six.Endpoint.ID != tt.six {
			t.Errorf("of %v the gateways are %q and %q, want %q and %q", tt.joined, four.Endpoint.ID, six.Endpoint.ID, tt.four, tt.six)
		}
	}
}

func ExampleParsePortSpec() {
	specs, _ := ParsePortSpec("127.0.0.1:8000-8001:80-81/udp")
	for _, s := range specs {
		fmt.Println(s)
	}
	// Output:
	// 127.0.0.1:8000:80/udp
	// 127.0.0.1:8001:81/udp
}

func ExampleState_Inverse() {
	s := State{Sandboxes: map[string]Sandbox{"1": {ID: "1", Name: "web"}}}
	gone := Change{Sandboxes: map[string]*Sandbox{"1": nil}}
	back := s.Inverse(gone)
	s.Apply(gone)
	fmt.Println(len(s.Sandboxes))
	s.Apply(back)
	fmt.Println(s.Sandboxes["1"].Name)
	// Output:
	// 0
	// web
}
