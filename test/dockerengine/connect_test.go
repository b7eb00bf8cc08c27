package dockerengine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Containers join further networks while they run, with addresses that they choose, and leave them; their ports stay where they can.
func TestConnect(t *testing.T) {
	w := newPluginWorld(t)
	w.network("--subnet", "172.28.0.0/24", "--subnet", "fd00:28::/64", "n1")
	w.network("--subnet", "172.29.0.0/24", "--subnet", "fd00:29::/64", "n2")
	c1, c2 := w.run("c1", "--network", "n1", "-p", "8080:80"), w.run("c2", "--network", "n2")
	flowtest.Serve(t, c1.Space, 80)
	published := bothFamilies("c1", "80/tcp", 8080)
	w.published(published...)

	for range 3 {
		w.docker("network", "connect", "--ip", "172.29.0.77", "--ip6", "fd00:29::77", "n2", "c1")
		inside := links(t, c1.Space)[2] // the engine counts its name up
		if inside.AddrInfo[0].Local != "172.29.0.77" || inside.AddrInfo[1].Local != "fd00:29::77" {
			t.Errorf("c1 has %+v", inside)
		}
		for _, f := range families {
			flowtest.Reaches(t, c2.Space, "tcp", netip.AddrPortFrom(pick(f, netip.MustParseAddr("172.29.0.77"), netip.MustParseAddr("fd00:29::77")), 80), "c1")
			flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(pick(f, host4, host6), 8080), "c1")
			flowtest.Reaches(t, c1.Space, "tcp", netip.AddrPortFrom(pick(f, lan4, lan6), 80), "lan")
		}
		w.published(published...)
		w.docker("network", "disconnect", "n2", "c1")
		if all := links(t, c1.Space); len(all) != 2 {
			t.Errorf("c1 has the links %v", all)
		}
	}

	// The network that had the ports goes first: they come to the other one.
	w.docker("network", "connect", "n2", "c1")
	w.docker("network", "disconnect", "n1", "c1")
	w.published(published...)
	for _, f := range families {
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(pick(f, host4, host6), 8080), "c1")
		flowtest.Reaches(t, c1.Space, "tcp", netip.AddrPortFrom(pick(f, lan4, lan6), 80), "lan")
	}
	w.refuses("endpoint", "network", "connect", "n2", "c1")
	w.docker("network", "disconnect", "-f", "n2", "c1")
	w.published()
	w.docker("rm", "-f", "c1", "c2")
	w.docker("network", "rm", "n1", "n2")
	w.nothingLeft()
}

// A container on a network of ours and on the engine's own.
func TestConnectOwnBridge(t *testing.T) {
	w := newWorld(t)
	w.ours = w.daemon()
	w.engines = w.engine("", "--iptables=false", "--ip6tables=false", "--bip", "172.31.0.1/24", "--userland-proxy=false")
	w.importImage()
	w.network("n1")
	c1 := w.run("c1", "-p", "8080:80")
	flowtest.Serve(t, c1.Space, 80)
	w.docker("network", "connect", "n1", "c1")
	flowtest.Reaches(t, w.host, "tcp", netip.AddrPortFrom(w.container("c1").on("n1").addr(families[0]), 80), "c1")
	w.docker("network", "disconnect", "bridge", "c1")
	w.published(bothFamilies("c1", "80/tcp", 8080)...)
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host4, 8080), "c1")
	w.docker("rm", "-f", "c1")
	w.docker("network", "rm", "n1")
}

// What stops and starts a container: its ports go and come, and its address if it is its own.
func TestRestartContainer(t *testing.T) {
	w := newPluginWorld(t)
	w.network("--subnet", "172.28.0.0/24", "--subnet", "fd00:28::/64", "n1")
	w.run("c1", "--network", "n1", "--ip", "172.28.0.9", "--mac-address", "02:42:ca:fe:00:01", "-p", "8080:80", "-p", "8080:80/udp")
	published := slices.Concat(bothFamilies("c1", "80/tcp", 8080), bothFamilies("c1", "80/udp", 8080))
	check := func() {
		t.Helper()
		c1 := w.container("c1")
		flowtest.Serve(t, c1.Space, 80)
		w.published(published...)
		if e := c1.on("n1"); e.IPAddress != "172.28.0.9" || e.MacAddress != "02:42:ca:fe:00:01" {
			t.Errorf("c1 has %+v", e)
		}
		for _, f := range families {
			for _, proto := range []string{"tcp", "udp"} {
				flowtest.Reaches(t, w.lan, proto, netip.AddrPortFrom(pick(f, host4, host6), 8080), "c1")
			}
		}
	}
	check()
	for range 2 {
		w.docker("restart", "c1")
		check()
	}
	w.docker("stop", "c1")
	w.published()
	w.docker("start", "c1")
	check()
	w.docker("kill", "c1")
	w.published()
	w.docker("start", "c1")
	check()
	w.docker("rename", "c1", "c9")
	w.docker("restart", "c9")
	w.published(slices.Concat(bothFamilies("c9", "80/tcp", 8080), bothFamilies("c9", "80/udp", 8080))...)
	w.docker("rm", "-f", "c9")
	w.docker("network", "rm", "n1")
	w.nothingLeft()
}
