package forwarding_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
)

func lines(sysctls []forwarding.Sysctl) []string {
	var s []string
	for _, c := range sysctls {
		s = append(s, c.String())
	}
	return s
}

func TestSysctls(t *testing.T) {
	ipv4 := []string{
		"net/ipv4/conf/docker0/accept_redirects = 0", "net/ipv4/conf/docker0/route_localnet = 1",
		"net/ipv4/conf/docker0/rp_filter = 2", "net/ipv4/conf/docker0/send_redirects = 0",
	}
	ipv6 := []string{
		"net/ipv6/conf/docker0/accept_dad = 0", "net/ipv6/conf/docker0/accept_ra = 0",
		"net/ipv6/conf/docker0/accept_redirects = 0", "net/ipv6/conf/docker0/disable_ipv6 = 0",
	}
	tests := []struct {
		name    string
		sysctls []forwarding.Sysctl
		want    []string
	}{
		{"both families", forwarding.Sysctls(docker0()), slices.Concat(ipv4, ipv6)},
		{
			"IPv4 only", forwarding.Sysctls(changed(docker0(), func(n *bridged.Network) { n.IPv6 = bridged.Subnet{} })),
			append(slices.Clone(ipv4), "net/ipv6/conf/docker0/disable_ipv6 = 1"),
		},
		{"given", forwarding.Sysctls(changed(docker0(), func(n *bridged.Network) { n.Given = true })), []string{"net/ipv4/conf/docker0/route_localnet = 1"}},
		{"host", forwarding.Sysctls(bridged.Network{Driver: bridged.DriverHost}), nil},
		{"forwarding, none", forwarding.HostSysctls(bridged.Forwarding{}), nil},
		{
			"forwarding, both", forwarding.HostSysctls(bridged.Forwarding{IPv4: true, IPv6: true}),
			[]string{"net/ipv4/ip_forward = 1", "net/ipv6/conf/all/forwarding = 1"},
		},
		{
			"router advertisements", []forwarding.Sysctl{forwarding.AcceptRA("eth0.5")},
			[]string{"net/ipv6/conf/eth0.5/accept_ra = 2"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(tt.sysctls)
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !slices.IsSorted(got) {
				t.Error("not in the order of paths")
			}
		})
	}
}

// TestSysctlsOfBridge: the kernel has each of them, and a bridge without a port comes to have a link-local address that can be used,
// or has none at all.
func TestSysctlsOfBridge(t *testing.T) {
	_, err := exec.LookPath("ip")
	need(t, err == nil, "ip")
	makeBridge := func(n bridged.Network) {
		ip(t, "link", "add", n.Bridge, "type", "bridge")
		set(t, forwarding.Sysctls(n))
		set(t, forwarding.HostSysctls(bridged.Forwarding{IPv4: true, IPv6: true}))
		ip(t, "link", "set", n.Bridge, "up")
	}
	t.Run("IPv6", func(t *testing.T) {
		inNamespace(t, func() {
			updates, done := make(chan netlink.AddrUpdate, 100), make(chan struct{})
			defer close(done)
			if err := netlink.AddrSubscribe(updates, done); err != nil {
				t.Error(err)
				return
			}
			makeBridge(docker0())
			deadline := time.After(10 * time.Second)
			for {
				select {
				case u := <-updates:
					if u.LinkAddress.IP.IsLinkLocalUnicast() && u.Flags&unix.IFA_F_TENTATIVE == 0 {
						return
					}
				case <-deadline:
					t.Error("no link-local address that can be used")
					return
				}
			}
		})
	})
	t.Run("IPv4 only", func(t *testing.T) {
		inNamespace(t, func() {
			n := changed(docker0(), func(n *bridged.Network) { n.IPv6 = bridged.Subnet{} })
			makeBridge(n)
			if addrs := ip(t, "-6", "address", "show", "dev", n.Bridge); addrs != "" {
				t.Errorf("it has IPv6:\n%s", addrs)
			}
		})
	})
}

// ip runs ip in the calling thread's namespace.
func ip(t *testing.T, args ...string) string {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Errorf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// set writes sysctls in the calling thread's namespace, and reads them back.
func set(t *testing.T, sysctls []forwarding.Sysctl) {
	for _, s := range sysctls {
		file := filepath.Join("/proc/sys", s.Path)
		if err := os.WriteFile(file, []byte(s.Value), 0); err != nil {
			t.Error(err)
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(got)) != s.Value {
			t.Errorf("%s reads %q, %v", s, got, err)
		}
	}
}
