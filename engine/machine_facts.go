package engine

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
)

// bridgeFilterNow says whether br_netfilter is on.
func bridgeFilterNow() bool {
	for _, path := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		if v, err := sysctl.Get(path); err == nil && v != "0" {
			return true
		}
	}
	return false
}

func forwardingNow() bridged.Forwarding {
	v4, _ := sysctl.Get(forward{}.sysctl().Path)
	v6, _ := sysctl.Get(forward{ipv6: true}.sysctl().Path)
	return bridged.Forwarding{IPv4: v4 == "1", IPv6: v6 == "1"}
}

func (m *machine) facts() (facts, error) {
	var f facts
	var err error
	if f.namespace, err = identity(m.ns); err != nil {
		return f, err
	}
	if f.links, err = m.links.List(); err != nil {
		return f, err
	}
	if f.addresses, err = m.addrs.Addresses(); err != nil {
		return f, err
	}
	routes, err := m.addrs.Routes()
	if err != nil {
		return f, err
	}
	f.taken = hostcheck.NewTaken(routes, f.links, nil)
	if f.taken.Nameservers, err = hostcheck.Nameservers(); err != nil {
		m.warnResolver(err)
	}
	f.mtu = defaultRouteMTU(f.taken.Routes, f.links)
	if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		f.machineID = []byte(strings.TrimSpace(string(id)))
	}
	err = m.ns.Do(func() error {
		f.forwarding = forwardingNow()
		if f.noIPv6 = m.less.ipv6; f.noIPv6 == nil {
			f.noIPv6 = hostcheck.AskIPv6()
		}
		f.bridgeFilter = bridgeFilterNow()
		return nil
	})
	return f, err
}

func (m *machine) settings(own hostcheck.Own) (h hostcheck.Host, err error) {
	err = m.ns.Do(func() error {
		h, err = hostcheck.Read(own)
		return err
	})
	return h, err
}

// nameservers are those that the resolver asks, as far as that can be read.
func (m *machine) nameservers() []netip.Addr {
	servers, err := hostcheck.Nameservers()
	if err != nil {
		m.log.Debug("cannot read the resolver's configuration", "error", err)
	}
	return servers
}

// taken is what addresses are in use. A resolver file that can't be read is none of the caller's business.
func (m *machine) taken() (t hostcheck.Taken, err error) {
	err = m.ns.Do(func() error {
		t, err = hostcheck.ReadTaken(nil)
		if t.Links == nil {
			return err
		}
		if err != nil {
			m.warnResolver(err)
		}
		return nil
	})
	return t, err
}

func (m *machine) warnResolver(err error) {
	m.log.Warn("cannot read the resolver's configuration", "error", err)
}

func defaultRouteMTU(routes []addr.Route, links []link.Link) int {
	for _, r := range routes {
		if r.Dst.Bits() != 0 || r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		if i := slices.IndexFunc(links, func(l link.Link) bool { return l.Index == r.Link }); i >= 0 {
			return links[i].MTU
		}
	}
	return 0
}
