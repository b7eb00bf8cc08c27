package cni

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// TestChainedPlugins: reference plugins after ours find in its result what they look for, and what they change is no damage.
func TestChainedPlugins(t *testing.T) {
	reference, err := exec.LookPath("host-local")
	if err != nil {
		t.Skip("the reference plugins are not there")
	}
	h, _ := bridgedHost(t)
	h.path += ":" + filepath.Dir(reference)
	h.list("podnet", "1.0.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64"),
		`{"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1300, "sysctl": {"net.core.somaxconn": "99"}}`,
		`{"type": "bandwidth", "ingressRate": 80000000, "ingressBurst": 8000000, "egressRate": 80000000, "egressBurst": 8000000}`)
	p1 := h.pod("p1")
	made := h.must("add", "podnet", "p1")
	if len(made.Interfaces) != 4 || made.Interfaces[2].MAC != "02:00:00:00:00:77" || !strings.HasPrefix(made.Interfaces[3].Name, "bwp") {
		t.Errorf("got %+v", made.Interfaces)
	}
	flowtest.Serve(t, h.lan, 80)
	flowtest.Reaches(t, p1, "tcp", netip.AddrPortFrom(lan4, 80), "lan")
	if link := p1.Output(t, "ip", "link", "show", "dev", "eth0"); !strings.Contains(link, "mtu 1300") {
		t.Error(link)
	}
	h.must("check", "podnet", "p1")
	h.must("del", "podnet", "p1")
	h.empty("after the chain's DEL")
}
