package test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Without masquerade the world sees a sandbox's own address.
func TestNoMasquerade(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6", "--ip-masq=false")
	m := w.member("c1", "bridge", "-p", "8080:80")
	flowtest.Serve(t, m.Space, 80)
	flowtest.Serve(t, w.lan, 80)
	seen := func() [2]netip.Addr {
		return [2]netip.Addr{
			flowtest.Reaches(t, m.Space, "tcp", netip.AddrPortFrom(lan4, 80), "lan").Source.Addr(),
			flowtest.Reaches(t, m.Space, "udp", netip.AddrPortFrom(lan6, 80), "lan").Source.Addr(),
		}
	}
	if got := seen(); got != [2]netip.Addr{m.ip4, m.ip6} {
		t.Errorf("the LAN saw %v", got)
	}
	flowtest.Reaches(t, m.Space, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1") // hairpin needs its masquerade all the same
	d.Stop()
	// The flag that changed is applied at once.
	w.daemon("--ipv6")
	if got := seen(); got != [2]netip.Addr{hostLAN4, hostLAN6} {
		t.Errorf("with masquerade the LAN saw %v", got)
	}
	w.settled()
}

// ICC that was switched off, and on again, holds for the sandboxes that are there.
func TestICCChanged(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	c1, c2 := w.member("c1", "bridge", "-p", "8080:80/udp"), w.member("c2", "bridge")
	flowtest.Serve(t, c1.Space, 80)
	check := func(icc bool) {
		t.Helper()
		for _, f := range families {
			for _, proto := range []string{"tcp", "udp"} {
				to := netip.AddrPortFrom(c1.addr(f), 80)
				if icc {
					flowtest.Reaches(t, c2.Space, proto, to, "c1")
				} else {
					flowtest.Lost(t, c2.Space, proto, to, c1.Space, 80, flowtest.Via(c2.Space, netip.AddrPortFrom(pick(f, hostLAN4, hostLAN6), 8080)))
				}
			}
		}
		w.settled()
	}
	check(true)
	d.Stop()
	d = w.daemon("--ipv6", "--icc=false")
	check(false)
	d.Kill()
	w.daemon("--ipv6")
	check(true)
}

// ICC off on a network of its own.
func TestNetworkICC(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	w.bridged("network", "create", "--ipv6", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
	c1, c2 := w.member("c1", "apart", "-p", "8080:80/udp"), w.member("c2", "apart")
	flowtest.Serve(t, c1.Space, 80)
	for _, f := range families {
		flowtest.Lost(t, c2.Space, "tcp", netip.AddrPortFrom(c1.addr(f), 80), c1.Space, 80,
			flowtest.Via(c2.Space, netip.AddrPortFrom(pick(f, hostLAN4, hostLAN6), 8080)))
	}
}

// The source guard can be switched off for a network: then its members may claim to be anybody, and still be heard nowhere else.
func TestSourceGuardOff(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	w.bridged("network", "create", "-o", "bridged.source-guard=false", "free")
	c1, c2 := w.member("c1", "free"), w.member("c2", "free")
	flowtest.Serve(t, c1.Space, 80)
	o, in := flowtest.Observe(t, c1.Space), flowtest.Injector(t, c2.Space, "eth0")
	mark := flowtest.NewMark()
	in.Send(t, datagram(mustMAC("02:42:de:ad:be:ef"), c1.mac, netip.MustParseAddr("10.11.12.13"), c1.ip4, 80, mark))
	o.Until(t, "a frame with a MAC and an address that were not given", flowtest.Marked(mark))
	w.settled()
}

// The default bridge by its flags.
func TestBridgeFlags(t *testing.T) {
	w := newWorld(t)
	w.daemon("--bridge-name", "br-own", "--bip", "10.77.3.1/24", "--bip6", "2001:db8:77::1/64", "--ipv6", "--mtu", "1300",
		"--fixed-cidr", "10.77.3.128/25")
	m := w.member("c1", "bridge")
	if !netip.MustParsePrefix("10.77.3.128/25").Contains(m.ip4) || !netip.MustParsePrefix("2001:db8:77::/64").Contains(m.ip6) ||
		m.gw4.String() != "10.77.3.1" || m.gw6.String() != "2001:db8:77::1" || m.IPPrefixLen != 24 {
		t.Errorf("got %+v", m.endpointJSON)
	}
	bridge := linksOf(t, w.host)["br-own"]
	if bridge.MTU != 1300 || bridge.LinkInfo.Kind != "bridge" || bridge.State != "UP" {
		t.Errorf("the bridge is %+v", bridge)
	}
	if linksOf(t, m.Space)["eth0"].MTU != 1300 {
		t.Errorf("inside: %+v", linksOf(t, m.Space)["eth0"])
	}
	flowtest.Serve(t, w.lan, 80)
	flowtest.Reaches(t, m.Space, "tcp", netip.AddrPortFrom(lan4, 80), "lan")
	flowtest.Reaches(t, m.Space, "tcp", netip.AddrPortFrom(lan6, 80), "lan")
}

// What would move running sandboxes is refused while there are any, and the data path stays as it is.
func TestFlagsThatMoveSandboxes(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "8080:80")
	flowtest.Serve(t, m.Space, 80)
	d.Stop()
	for _, flags := range []string{"--ipv6 --bip 10.1.0.1/24", "", "-b none", "--ipv6 --bip6 2001:db8:99::1/64"} {
		r := w.once(nil, append([]string{"daemon", "--state-dir", w.dir}, strings.Fields(flags)...)...)
		if r.code <= 0 {
			t.Errorf("should be refused with a sandbox there: %v", r)
		}
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1")
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN6, 8080), "c1")
	}
	d = w.daemon("--ipv6", "--mtu", "1400")
	if got := w.member("c2", "bridge"); linksOf(t, got.Space)["eth0"].MTU != 1400 {
		t.Errorf("a new sandbox has %+v", linksOf(t, got.Space)["eth0"])
	}
	w.bridged("sandbox", "rm", "c1", "c2")
	d.Stop()
	w.daemon("--bip", "10.1.0.1/24")
	if m := w.member("c3", "bridge"); m.gw4.String() != "10.1.0.1" || m.ip6.IsValid() {
		t.Errorf("got %+v", m.endpointJSON)
	}
	w.consistent(t)
}

// A restart finds its own bridge's routes, and does not take them for an overlap.
func TestOwnAddressIsKept(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	first := linksOf(t, w.host)["docker0"].AddrInfo
	d.Stop()
	w.daemon("--ipv6")
	second := linksOf(t, w.host)["docker0"].AddrInfo
	if len(first) != len(second) || first[0] != second[0] {
		t.Errorf("the bridge had %v, and has %v", first, second)
	}
}
