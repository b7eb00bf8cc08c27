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
