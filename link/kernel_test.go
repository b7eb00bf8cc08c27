package link_test

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/sysctl"
	"github.com/bridged/bridged/link"
)

// The fields of "ip -j -d link" and "bridge -d -j link" that matter here.
type ipLink struct {
	Index     int      `json:"ifindex"`
	Name      string   `json:"ifname"`
	Flags     []string `json:"flags"`
	State     string   `json:"operstate"`
	MTU       int      `json:"mtu"`
	Master    string   `json:"master"`
	Group     string   `json:"group"`
	Address   string   `json:"address"`
	LinkIndex int      `json:"link_index"`
	Alias     string   `json:"ifalias"`
	LinkNSID  *int     `json:"link_netnsid"`
	AddrGen   string   `json:"inet6_addr_gen_mode"`
	TxQueues  int      `json:"num_tx_queues"`
	RxQueues  int      `json:"num_rx_queues"`
	Info      struct {
		Kind      string `json:"info_kind"`
		SlaveKind string `json:"info_slave_kind"`
		Data      struct {
			ForwardDelay   int `json:"forward_delay"`
			STP            int `json:"stp_state"`
			VLANFiltering  int `json:"vlan_filtering"`
			Snooping       int `json:"mcast_snooping"`
			NoLLLearn      int `json:"no_linklocal_learn"`
			AgeingTime     int `json:"ageing_time"`
			GroupForwarded any `json:"group_fwd_mask"`
		} `json:"info_data"`
		SlaveData struct {
			State    string `json:"state"`
			Hairpin  bool   `json:"hairpin"`
			Isolated bool   `json:"isolated"`
		} `json:"info_slave_data"`
	} `json:"linkinfo"`
}

func (l ipLink) flag(name string) bool {
	for _, f := range l.Flags {
		if f == name {
			return true
		}
	}
	return false
}

// ipLinks is "ip -j -d link" by name.
func ipLinks(n nstest.NS) map[string]ipLink {
	m := map[string]ipLink{}
	for _, l := range nstest.Read[ipLink](n, "ip -j -d link") {
		m[l.Name] = l
	}
	return m
}

var (
	bridgeMAC = addr.MAC{0x02, 0x42, 0xac, 0x11, 0, 1}
	br0       = link.Bridge{Name: "br0", MAC: bridgeMAC, MTU: 1500}
)

// dial opens a Conn in a namespace for the length of the test.
func dial(t testing.TB, n nstest.NS) *link.Conn {
	t.Helper()
	var c *link.Conn
	n.Do(func() {
		var err error
		if c, err = link.Dial(); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// host is a namespace with the bridge br0, up.
func host(t testing.TB) (nstest.NS, *link.Conn) {
	t.Helper()
	n := nstest.New(t)
	c := dial(t, n)
	l, err := c.CreateBridge(br0)
	check(t, err)
	check(t, c.SetUp(l.Index))
	return n, c
}

// pairOf is a pair for an inner address.
func pairOf(name string, ip netip.Addr) link.Pair {
	return link.Pair{Host: name, Inner: "eth0", Bridge: "br0", MAC: addr.MACOf(ip), MTU: 1400}
}

// sandbox attaches a fresh namespace to br0, as the engine does, with a gateway of each family of its prefixes.
func sandbox(t testing.TB, c *link.Conn, name string, prefixes ...string) nstest.NS {
	t.Helper()
	n := nstest.New(t)
	in := link.Inner{Name: "eth0"}
	for _, p := range prefixes {
		prefix := netip.MustParsePrefix(p)
		in.Addrs = append(in.Addrs, prefix)
		in.Gateways = append(in.Gateways, prefix.Masked().Addr().Next())
		in.IPv6 = in.IPv6 || prefix.Addr().Is6()
	}
	pair := pairOf(name, in.Addrs[0].Addr())
	pair.Alias = "of " + in.Addrs[0].String()
	var err error
	_, in.Index, err = c.CreatePair(pair, n.FD())
	check(t, err)
	n.Do(func() {
		if !in.IPv6 {
			check(t, sysctl.Set("net/ipv6/conf/eth0/disable_ipv6", "1"))
		}
		inner, err := link.Dial()
		check(t, err)
		defer inner.Close()
		check(t, inner.Configure(in))
	})
	return n
}
