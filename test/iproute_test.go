package test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// link is an interface with its addresses, as `ip -j -d addr` shows it.
type link struct {
	Name    string `json:"ifname"`
	Index   int    `json:"ifindex"`
	MTU     int    `json:"mtu"`
	Address string `json:"address"`
	Master  string `json:"master"`
	State   string `json:"operstate"`
	Group   string `json:"group"`
	Flags   []string
	// LinkLocal is how an IPv6 link-local address is made: "eui64", "none", …; "" where there is no IPv6.
	LinkLocal string `json:"inet6_addr_gen_mode"`
	LinkInfo  struct {
		Kind      string `json:"info_kind"`
		SlaveData struct {
			Hairpin bool `json:"hairpin"`
		} `json:"info_slave_data"`
	} `json:"linkinfo"`
	AddrInfo []struct {
		Family    string
		Local     string
		PrefixLen int
		Scope     string
		Tentative bool
	} `json:"addr_info"`
}

// linksOf are the interfaces of a space, by name.
func linksOf(t testing.TB, s *flowtest.Space) map[string]link {
	t.Helper()
	var all []link
	if err := json.Unmarshal([]byte(s.Output(t, "ip", "-j", "-d", "addr")), &all); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]link)
	for _, l := range all {
		byName[l.Name] = l
	}
	return byName
}

// route is a line of `ip -j route`.
type route struct {
	Dst, Gateway, Dev string
}

// routesOf are the main table's routes of a space, family "-4" or "-6".
func routesOf(t testing.TB, s *flowtest.Space, family string) []route {
	t.Helper()
	var all []route
	if err := json.Unmarshal([]byte(s.Output(t, "ip", "-j", family, "route")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// neighbours are the MACs that the host knows, by address.
func (w *world) neighbours(t testing.TB) map[string]string {
	t.Helper()
	var all []struct{ Dst, LLAddr string }
	if err := json.Unmarshal([]byte(w.host.Output(t, "ip", "-j", "neigh")), &all); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]string)
	for _, n := range all {
		known[n.Dst] = n.LLAddr
	}
	return known
}

// portOf is the bridge port behind which the host's bridges believe a MAC.
func (w *world) portOf(t testing.TB, m mac) string {
	t.Helper()
	var all []struct{ MAC, IfName string }
	if err := json.Unmarshal([]byte(w.host.Output(t, "bridge", "-j", "fdb")), &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.MAC == m.String() {
			return e.IfName
		}
	}
	return ""
}

// linkLocalOf is an interface's own link-local address.
func linkLocalOf(t testing.TB, s *flowtest.Space, name string) netip.Addr {
	t.Helper()
	for _, a := range linksOf(t, s)[name].AddrInfo {
		if addr := addrOrNone(a.Local); addr.IsLinkLocalUnicast() && addr.Is6() {
			return addr
		}
	}
	t.Fatalf("%s in %s has no link-local address", name, s.Name)
	return netip.Addr{}
}
