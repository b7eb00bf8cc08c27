package engine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// podnet is a request as a usual CNI configuration makes it.
func podnet(container, netns string) bridged.AttachmentSpec {
	return bridged.AttachmentSpec{
		Key: bridged.AttachmentKey{Network: "podnet", Container: container, Interface: "eth0"}, NetNS: netns, DefaultRoute: true, Hairpin: true,
		Network: bridged.AttachmentNetwork{
			Bridge: "cni0", MTU: 1450, Gateway: true, Masquerade: true, SourceGuard: true,
			IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("10.88.0.0/16")},
			IPv6: bridged.Subnet{Prefix: netip.MustParsePrefix("fd00:88::/64")},
		},
	}
}

// changed is the request with something else in it.
func changed(spec bridged.AttachmentSpec, change func(*bridged.AttachmentSpec)) bridged.AttachmentSpec {
	change(&spec)
	return spec
}

// TestAttach: what the kernel holds of an attachment, and that nothing is left of it.
func TestAttach(t *testing.T) {
	host, inside := giveNamespace(t), giveNamespace(t)
	cfg := testConfig(t)
	e, stop := startIn(t, host, cfg)
	defer stop()
	spec := podnet("4f1c", inside)
	spec.Ports = specs(t, "8080:80", "5353:53/udp")
	spec.Inside.Routes = []bridged.Route{{Dst: netip.MustParsePrefix("10.99.0.0/16"), MTU: 1300, Priority: 7}, {Dst: netip.MustParsePrefix("10.98.0.0/16"), Gateway: netip.MustParseAddr("10.88.0.9"), Table: 500}}
	spec.Sysctls = map[string]string{"net.ipv4.conf.IFNAME.arp_filter": "1", "net/core/somaxconn": "500"}
	a, err := e.Attach(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.IPs) != 2 || a.IPs[0].Address != netip.MustParsePrefix("10.88.0.2/16") || a.IPs[0].Gateway != netip.MustParseAddr("10.88.0.1") ||
		a.IPs[1].Address != netip.MustParsePrefix("fd00:88::2/64") || a.Bridge.Name != "cni0" || a.Inner.Name != "eth0" || a.Inner.MTU != 1450 ||
		len(a.Routes) != 4 || a.Routes[3] != (bridged.Route{Dst: anyPrefix6, Gateway: netip.MustParseAddr("fd00:88::1")}) || len(a.Ports) != 4 {
		t.Errorf("attached: %+v", a)
	}
	for command, wants := range map[string][]string{
		"ip -o address show dev eth0":          {"10.88.0.2/16", "fd00:88::2/64"},
		"ip route":                             {"default via 10.88.0.1 dev eth0", "10.99.0.0/16 via 10.88.0.1 dev eth0", "metric 7 mtu 1300"},
		"ip -6 route":                          {"default via fd00:88::1 dev eth0"},
		"ip route show table 500":              {"10.98.0.0/16 via 10.88.0.9 dev eth0"},
		"ip -o link show eth0":                 {"mtu 1450", strings.ToLower(a.Inner.MAC.String())},
		"sysctl net.ipv4.conf.eth0.arp_filter": {"= 1"},
		"sysctl net.core.somaxconn":            {"= 500"},
	} {
		args := strings.Fields(command)
		out := in(t, inside, args[0], args[1:]...)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s shows no %q:\n%s", command, want, out)
			}
		}
	}
	if out := in(t, host, "ip", "-o", "address", "show", "dev", "cni0"); !strings.Contains(out, "10.88.0.1/16") || !strings.Contains(out, "fd00:88::1/64") {
		t.Errorf("the bridge has no gateway address:\n%s", out)
	}
	if out := in(t, host, "ip", "-o", "link", "show", a.Host.Name); !strings.Contains(out, a.Host.MAC.String()) {
		t.Errorf("the host's end is not %v:\n%s", a.Host, out)
	}
	if _, err := e.Attach(t.Context(), spec); !errors.Is(err, bridged.ErrConflict) {
		t.Errorf("a second attachment of the key: %v", err)
	}
	for range 2 { // a second time is no error
		if err := e.Detach(t.Context(), spec.Key); err != nil {
			t.Fatal(err)
		}
	}
	e.settle()
	if s := e.State(); len(s.Sandboxes)+len(s.Endpoints)+len(s.Ports) != 0 {
		t.Errorf("left: %+v", s)
	}
	if out := in(t, inside, "ip", "-o", "link"); strings.Contains(out, "eth0") {
		t.Errorf("left inside:\n%s", out)
	}
	if text, differs, err := e.Ruleset(t.Context(), bridged.RulesetDiff); err != nil || differs {
		t.Errorf("the kernel differs (%v):\n%s", err, text)
	}
}

// TestAttachInside: what a request says of the inner end is so.
func TestAttachInside(t *testing.T) {
	host := giveNamespace(t)
	e, stop := startIn(t, host, testConfig(t))
	defer stop()
	for name, tt := range map[string]struct {
		change func(*bridged.AttachmentSpec)
		// commands are run inside; each must show all its texts, and with "!" before it, not.
		shows map[string][]string
		// host is the same for the host.
		host map[string][]string
	}{
		"plain": {
			func(s *bridged.AttachmentSpec) { s.DefaultRoute, s.Network.MTU = false, 0 },
			map[string][]string{"ip route": {"10.88.0.0/16 dev eth0", "!default"}, "ip -6 route": {"!default"}, "ip -o link show eth0": {"mtu 1500", "!PROMISC"}},
			map[string][]string{"ip -d -o link": {"hairpin on"}, "ip -o link show cni0": {"!PROMISC"}},
		},
		"MTU and promiscuous mode of the inner end, no hairpin": {
			func(s *bridged.AttachmentSpec) { s.Inside.MTU, s.Inside.Promisc, s.Hairpin = 1300, true, false },
			map[string][]string{"ip -o link show eth0": {"mtu 1300", "PROMISC"}},
			map[string][]string{"ip -o link show cni0": {"mtu 1450"}, "ip -d -o link": {"hairpin off", "!hairpin on"}},
		},
		"bridge in promiscuous mode": {
			func(s *bridged.AttachmentSpec) { s.Network.Promisc, s.Hairpin = true, false },
			nil, map[string][]string{"ip -o link show cni0": {"PROMISC"}},
		},
		"gateway elsewhere": {
			func(s *bridged.AttachmentSpec) {
				s.Network.Gateway, s.Network.IPv4.Gateway = false, netip.MustParseAddr("10.88.9.9")
			},
			map[string][]string{"ip route": {"default via 10.88.9.9 dev eth0"}}, map[string][]string{"ip -o address show dev cni0": {"!10.88.", "!fd00:88:"}},
		},
		"no addresses, down": {
			func(s *bridged.AttachmentSpec) {
				s.Network.IPv4, s.Network.IPv6, s.Network.SourceGuard, s.DefaultRoute, s.Inside.Down = bridged.Subnet{}, bridged.Subnet{}, false, false, true
			},
			map[string][]string{"ip -o link show eth0": {"state DOWN"}, "ip -o address show dev eth0": {"!inet"}},
			map[string][]string{"ip -4 -o address show dev cni0": {"!inet"}},
		},
		"duplicate address detection": {
			func(s *bridged.AttachmentSpec) { s.Inside.DAD = true },
			map[string][]string{"ip -6 -o address show dev eth0": {"fd00:88::2/64", "!tentative", "!fd00:88::2/64 scope global nodad"}}, nil,
		},
		"addresses asked for, in ranges": {
			func(s *bridged.AttachmentSpec) {
				s.Network.IPv4.Ranges = []bridged.AddrRange{{First: netip.MustParseAddr("10.88.5.1"), Last: netip.MustParseAddr("10.88.5.9")}, {First: netip.MustParseAddr("10.88.7.1")}}
				s.Network.IPv6.Ranges = []bridged.AddrRange{{First: netip.MustParseAddr("fd00:88::7:1")}}
				s.IPs, s.MAC = []netip.Addr{netip.MustParseAddr("10.88.7.7")}, bridged.MAC{2, 0, 0, 0, 0, 7}
			},
			map[string][]string{"ip -o address show dev eth0": {"10.88.7.7/16", "fd00:88::7:1/64"}, "ip -o link show eth0": {"02:00:00:00:00:07"}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inside := giveNamespace(t)
			spec := changed(podnet("c", inside), tt.change)
			if _, err := e.Attach(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			mustShow(t, inside, tt.shows)
			mustShow(t, host, tt.host)
			if err := e.CheckAttachment(t.Context(), spec); err != nil {
				t.Errorf("the check finds: %v", err)
			}
			if err := e.Detach(t.Context(), spec.Key); err != nil {
				t.Fatal(err)
			}
			if err := e.RemoveNetwork(t.Context(), "podnet"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// mustShow runs commands in a namespace, and looks for texts in what they print; one behind "!" must not be in it.
func mustShow(t *testing.T, ns string, commands map[string][]string) {
	t.Helper()
	for command, texts := range commands {
		words := strings.Fields(command)
		out := in(t, ns, words[0], words[1:]...)
		for _, text := range texts {
			if absent, not := strings.CutPrefix(text, "!"); not == strings.Contains(out, absent) {
				t.Errorf("%s: want %q in\n%s", command, text, out)
			}
		}
	}
}
