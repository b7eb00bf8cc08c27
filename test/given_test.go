package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Addresses on the bridge that somebody made: the host's, and those of two of its own machines.
var (
	givenHost4, givenHost6 = netip.MustParseAddr("10.5.0.1"), netip.MustParseAddr("fd00:5::1")
	theirs4                = []netip.Addr{netip.MustParseAddr("10.5.0.11"), netip.MustParseAddr("10.5.0.12")}
	theirs6                = []netip.Addr{netip.MustParseAddr("fd00:5::11"), netip.MustParseAddr("fd00:5::12")}
)

// given is a world whose host has a bridge with machines that are not ours.
type given struct {
	*world
	their [2]*flowtest.Space // machines on the bridge
}

func newGiven(t *testing.T) *given {
	t.Helper()
	g := &given{world: newWorld(t, "link add br0 type bridge", "link set br0 up",
		"addr add 10.5.0.1/24 dev br0", "addr add fd00:5::1/64 dev br0 nodad")}
	for i := range g.their {
		name := fmt.Sprintf("their%d", i+1)
		g.their[i] = flowtest.NewSpace(t, name, false)
		g.host.IP(t,
			fmt.Sprintf("link add %s type veth peer name %speer", name, name),
			fmt.Sprintf("link set %speer netns %s name eth0", name, g.their[i].Path()),
			fmt.Sprintf("link set %s master br0 up", name),
		)
		g.their[i].IP(t, "link set eth0 up",
			fmt.Sprintf("addr add %s/24 dev eth0", theirs4[i]), fmt.Sprintf("addr add %s/64 dev eth0 nodad", theirs6[i]),
			"route add default via 10.5.0.1", "route add default via fd00:5::1")
	}
	return g
}

// A bridge with machines of its own: they go on as before, in both directions, while our sandboxes on the same bridge are fenced.
func TestGivenBridge(t *testing.T) {
	for _, c := range []struct{ nf, icc bool }{{false, true}, {true, true}, {false, false}} {
		t.Run(fmt.Sprintf("nf=%t,icc=%t", c.nf, c.icc), func(t *testing.T) {
			g := newGiven(t)
			g.bridgeNetfilter(c.nf)
			flags := []string{"-b", "br0", "--ipv6", "--fixed-cidr", "10.5.0.128/25", "--fixed-cidr-v6", "fd00:5::8:0/112", fmt.Sprintf("--icc=%t", c.icc)}
			d := g.daemon(flags...)
			g.bridged("network", "create", "--ipv6", "second")
			const publish = "8080:80"
			c1, c2 := g.member("c1", "bridge", "-p", publish, "-p", publish+"/udp"), g.member("c2", "bridge")
			c3 := g.member("c3", "second")
			for _, s := range []*flowtest.Space{g.lan, g.far, c1.Space, c2.Space, c3.Space, g.their[0], g.their[1]} {
				flowtest.Serve(t, s, 80)
			}
			flowtest.Serve(t, g.host, 90)
			check := func(t *testing.T) {
				for _, f := range families {
					for _, proto := range []string{"tcp", "udp"} {
						t.Run(familyName(f)+"/"+proto, func(t *testing.T) {
							g.theyGoOn(t, f, proto, c3)
							g.oursAreFenced(t, f, proto, c1, c2, c3, c.icc)
						})
					}
				}
			}
			t.Run("running", check)
			d.Stop()
			t.Run("stopped", check)
			g.daemon(flags...)
			g.settled()
			t.Run("again", check)
		})
	}
}

// theyGoOn: the bridge's own machines reach everybody that they reached, and are reached.
func (g *given) theyGoOn(t *testing.T, f netip.Addr, proto string, c3 member) {
	t.Helper()
	at := func(v4, v6 netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(pick(f, v4, v6), port) }
	for _, r := range []struct {
		from   *flowtest.Space
		to     netip.AddrPort
		answer string
		source netip.Addr
	}{
		{g.their[0], at(theirs4[1], theirs6[1], 80), "their2", pick(f, theirs4[0], theirs6[0])},
		{g.their[0], at(lan4, lan6, 80), "lan", pick(f, hostLAN4, hostLAN6)},
		{g.their[0], at(givenHost4, givenHost6, 90), "host", pick(f, theirs4[0], theirs6[0])},
		{g.their[0], at(givenHost4, givenHost6, 8080), "c1", pick(f, givenHost4, givenHost6)},
		{g.their[0], at(hostLAN4, hostLAN6, 8080), "c1", pick(f, givenHost4, givenHost6)},
		{g.lan, at(theirs4[0], theirs6[0], 80), "their1", pick(f, lan4, lan6)},
		{g.far, at(theirs4[1], theirs6[1], 80), "their2", pick(f, far4, far6)},
		{g.host, at(theirs4[0], theirs6[0], 80), "their1", pick(f, givenHost4, givenHost6)},
		{c3.Space, at(theirs4[0], theirs6[0], 80), "their1", netip.Addr{}},
		{g.lan, at(hostLAN4, hostLAN6, 8080), "c1", pick(f, lan4, lan6)},
	} {
		if a := flowtest.Reaches(t, r.from, proto, r.to, r.answer); r.source.IsValid() && a.Source.Addr() != r.source {
			t.Errorf("%s to %s: %s saw %s, not %s", r.from.Name, r.to, a.Server, a.Source.Addr(), r.source)
		}
	}
}

// oursAreFenced: what is not published of our own sandboxes is reached by nobody from outside the bridge, nor on it when ICC is off.
func (g *given) oursAreFenced(t *testing.T, f netip.Addr, proto string, c1, c2, c3 member, icc bool) {
	t.Helper()
	at := func(v4, v6 netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(pick(f, v4, v6), port) }
	to1, to2, published := netip.AddrPortFrom(c1.addr(f), 80), netip.AddrPortFrom(c2.addr(f), 80), at(hostLAN4, hostLAN6, 8080)
	flowtest.Lost(t, g.lan, proto, to1, c1.Space, 80, flowtest.Via(g.lan, published))
	flowtest.Lost(t, g.lan, proto, to2, c2.Space, 80, flowtest.Via(g.host, to2))
	flowtest.Lost(t, g.far, proto, to1, c1.Space, 80, flowtest.Via(g.far, published))
	flowtest.Lost(t, c3.Space, proto, to1, c1.Space, 80, flowtest.Via(c3.Space, published))
	flowtest.Lost(t, g.their[0], proto, netip.AddrPortFrom(c3.addr(f), 80), c3.Space, 80, flowtest.Via(g.host, netip.AddrPortFrom(c3.addr(f), 80)))
	theirs := at(theirs4[0], theirs6[0], 80)
	flowtest.Reaches(t, c1.Space, proto, at(lan4, lan6, 80), "lan")
	flowtest.Reaches(t, c2.Space, proto, published, "c1")
	if icc {
		flowtest.Reaches(t, c1.Space, proto, to2, "c2")
		flowtest.Reaches(t, c1.Space, proto, theirs, "their1")
		flowtest.Reaches(t, g.their[0], proto, to2, "c2")
		return
	}
	flowtest.Lost(t, c1.Space, proto, to2, c2.Space, 80, flowtest.Via(g.host, to2))
	flowtest.Lost(t, c1.Space, proto, theirs, g.their[0], 80, flowtest.Via(g.host, theirs))
}

// Without masquerade they are seen with their own addresses.
func TestGivenBridgeNoMasquerade(t *testing.T) {
	g := newGiven(t)
	g.daemon("-b", "br0", "--ipv6", "--ip-masq=false")
	flowtest.Serve(t, g.lan, 80)
	for _, f := range families {
		a := flowtest.Reaches(t, g.their[0], "tcp", netip.AddrPortFrom(pick(f, lan4, lan6), 80), "lan")
		if want := pick(f, theirs4[0], theirs6[0]); a.Source.Addr() != want {
			t.Errorf("the LAN saw %s, not %s", a.Source.Addr(), want)
		}
	}
}

// The bridge's MAC is what it was, whoever comes and goes: the last of its own ports, and a sandbox with the lowest MAC of all.
func TestGivenBridgeMAC(t *testing.T) {
	g := newGiven(t)
	g.bridgeNetfilter(false)
	before := linksOf(t, g.host)["br0"].Address
	g.daemon("-b", "br0", "--icc=false")
	c1 := g.member("c1", "bridge", "--mac-address", "00:00:00:00:00:02")
	g.host.IP(t, "link del their1", "link del their2")
	if err := pingGateways(c1); err != nil {
		t.Error(err)
	}
	g.create("c2")
	g.bridged("sandbox", "rm", "c1")
	if after := linksOf(t, g.host)["br0"].Address; after != before {
		t.Errorf("the bridge's MAC was %s, and is %s", before, after)
	}
}

// A bridge that is down is not brought up: that is its owner's business, and a warning says so.
func TestGivenBridgeDown(t *testing.T) {
	w := newWorld(t, "link add br0 type bridge", "addr add 10.5.0.1/24 dev br0")
	w.daemon("-b", "br0")
	if s := decode[statusJSON](w, "status", "--json"); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "bridge br0 is down") {
		t.Errorf("the warnings are %q", s.Warnings)
	}
	c1 := w.member("c1", "bridge")
	if slices.Contains(linksOf(t, w.host)["br0"].Flags, "UP") {
		t.Error("the bridge is up")
	}
	w.host.IP(t, "link set br0 up")
	if err := pingGateways(c1); err != nil {
		t.Error(err)
	}
}
