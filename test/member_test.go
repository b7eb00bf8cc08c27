package test

import (
	"net/netip"
	"strings"

	"github.com/bridged/bridged/internal/flowtest"
)

// member is a sandbox on a network, as `sandbox inspect` describes it.
type member struct {
	*flowtest.Space
	endpointJSON
	mac        mac
	ip4, ip6   netip.Addr
	gw4, gw6   netip.Addr
	gatewayMAC mac // of its bridge
}

// member makes a sandbox on a network; args are further arguments of `sandbox create`.
func (w *world) member(name, network string, args ...string) member {
	w.t.Helper()
	s := w.create(append(append([]string{"--network", network}, args...), name)...)
	m := member{Space: s, endpointJSON: w.endpoint(name, network)}
	m.mac = mustMAC(m.MacAddress)
	m.ip4, m.ip6 = addrOrNone(m.IPAddress), addrOrNone(m.GlobalIPv6Address)
	m.gw4, m.gw6 = addrOrNone(m.Gateway), addrOrNone(m.IPv6Gateway)
	if bridge := w.masterOf(m.HostInterface); bridge != "" {
		m.gatewayMAC = mustMAC(linksOf(w.t, w.host)[bridge].Address)
	}
	return m
}

// ip is the address of the family of like.
func (m member) addr(like netip.Addr) netip.Addr { return pick(like, m.ip4, m.ip6) }

// gateway is the gateway's address of the family of like.
func (m member) gateway(like netip.Addr) netip.Addr { return pick(like, m.gw4, m.gw6) }

func pick(like, v4, v6 netip.Addr) netip.Addr {
	if like.Is4() {
		return v4
	}
	return v6
}

// addrOrNone reads an address of the command line's JSON, where an empty text is none.
func addrOrNone(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// masterOf is the bridge that an interface of the host is a port of.
func (w *world) masterOf(link string) string { return linksOf(w.t, w.host)[link].Master }

// gatewayOf is the address of a network's bridge, also for internal networks, whose sandboxes have no gateway.
func (w *world) gatewayOf(m member) (v4, v6 netip.Addr) {
	w.t.Helper()
	for _, a := range linksOf(w.t, w.host)[w.masterOf(m.HostInterface)].AddrInfo {
		addr := addrOrNone(a.Local)
		switch {
		case addr.Is4():
			v4 = addr
		case !addr.IsLinkLocalUnicast():
			v6 = addr
		}
	}
	return v4, v6
}

// sandboxLinks are the host ends of pairs that exist.
func (w *world) sandboxLinks() []string {
	w.t.Helper()
	var names []string
	for name := range linksOf(w.t, w.host) {
		if strings.HasPrefix(name, "bv") {
			names = append(names, name)
		}
	}
	return names
}
