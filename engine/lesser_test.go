package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
	"github.com/bridged/bridged/nft/nfttest"
)

// lesserKernels are kernels that lack something that can be done without, and what the status says of them.
var lesserKernels = []struct {
	name string
	less
	prepare    func(w *world) // beside less
	noIPv6     bool
	protection string
	iccBy      string
	warns      string
}{
	{name: "everything", protection: nft.ProtectionOwner, iccBy: "bridge table"},
	{
		name: "no family bridge", less: less{refuse: nfttest.NoFamily(nft.Bridge)},
		protection: nft.ProtectionOwner, iccBy: "isolated ports", warns: "CONFIG_NF_TABLES_BRIDGE",
	},
	{
		name: "no family bridge, Linux 4.16 to 6.6", less: less{refuse: nfttest.NoFamilyHooks(nft.Bridge)},
		protection: nft.ProtectionOwner, iccBy: "isolated ports", warns: "CONFIG_NF_TABLES_BRIDGE",
	},
	{
		name: "no table flags", less: less{refuse: nfttest.NoTableFlags(nfttest.Owner | nfttest.Persist)},
		protection: nft.ProtectionMonitor, iccBy: "bridge table", warns: "Linux 6.9",
	},
	{
		name: "no table flag persist", less: less{refuse: nfttest.NoTableFlags(nfttest.Persist)},
		protection: nft.ProtectionMonitor, iccBy: "bridge table", warns: "Linux 6.9",
	},
	{
		name: "IPv6 switched off", noIPv6: true, prepare: func(w *world) { w.host.sysctl("net/ipv6/conf/all/disable_ipv6", "1") },
		protection: nft.ProtectionOwner, iccBy: "bridge table",
	},
	{
		name: "nothing optional", noIPv6: true,
		less: less{
			refuse: nfttest.Any(nfttest.NoFamily(nft.Bridge), nfttest.NoTableFlags(nfttest.Owner|nfttest.Persist)),
			ipv6:   fmt.Errorf("%w: cannot open an IPv6 socket: %w", hostcheck.ErrAbsent, unix.EAFNOSUPPORT),
		},
		protection: nft.ProtectionMonitor, iccBy: "isolated ports", warns: "CONFIG_NF_TABLES_BRIDGE",
	},
}

// TestLesserKernels: the promises about who reaches whom hold on kernels with less, whether bridged packets are shown to the IP rules or
// not, and after a restart.
func TestLesserKernels(t *testing.T) {
	for _, k := range lesserKernels {
		for _, brNetfilter := range []string{"0", "1"} {
			t.Run(k.name+"/br_netfilter="+brNetfilter, func(t *testing.T) {
				cfg := testConfig(t)
				cfg.IPv6 = !k.noIPv6
				w := newWorld(t, cfg, k.less)
				w.brNetfilter(brNetfilter)
				if k.prepare != nil {
					k.prepare(w)
				}
				w.start()
				w.populate()
				w.equal("at the start")
				if s := w.engine.Status(); s.Protection != k.protection || s.ICCBy != k.iccBy {
					t.Errorf("the status says protection %s and ICC by %s", s.Protection, s.ICCBy)
				}
				wantWarning(t, w.engine, k.warns)
				w.checkFlows()
				w.stop()
				w.start()
				if n := w.engine.Status().Transactions; n != uint64(len(w.adopted())) {
					t.Errorf("the restart took %d transactions, want only the adoption of %q", n, w.adopted())
				}
				w.equal("after the restart")
				w.checkFlows()
				w.end()
			})
		}
	}
}

// brNetfilter says whether bridged packets are shown to the IP rules.
func (w *world) brNetfilter(on string) {
	w.t.Helper()
	for _, name := range []string{"iptables", "ip6tables", "arptables"} {
		path := "net/bridge/bridge-nf-call-" + name
		if _, err := os.Stat("/proc/sys/" + path); err != nil {
			if on == "1" {
				w.t.Skip("br_netfilter is not there")
			}
			return
		}
		w.host.sysctl(path, on)
	}
}

// checkFlows tries the flows, each refusal beside one that works.
func (w *world) checkFlows() {
	w.t.Helper()
	for _, f := range []flow{
		{from: "lan", to: "host", port: 8080, server: "c1"},
		{from: "host", to: "host", port: 8080, server: "c1"},
		{from: "host", to: "loopback", port: 8080, server: "c1", only4: true},
		{from: "c1", to: "host", port: 8080, server: "c1"},
		{from: "c2", to: "host", port: 8080, server: "c1"},
		{from: "a2", to: "host", port: 8080, server: "c1"},
		{from: "lan", to: "host", port: 8081, server: "a1"},
		{from: "c1", to: "host", port: 8081, server: "a1"},
		{from: "host", to: "c1", port: 80, server: "c1"},
		{from: "host", to: "i1", port: 80, server: "i1"},
		{from: "c1", to: "lan", port: 80, server: "lan", as: "host"},
		{from: "a1", to: "lan", port: 80, server: "lan", as: "host"},
		{from: "i1", to: "lan", port: 80, at: "lan"},
		{from: "c1", to: "c2", port: 80, server: "c2", as: "c1"},
		{from: "a1", to: "a2", port: 80, at: "a2"},
		{from: "c1", to: "a1", port: 80, at: "a1"},
		{from: "a1", to: "c1", port: 80, at: "c1"},
		{from: "c1", to: "i1", port: 80, at: "i1"},
		{from: "lan", to: "c1", port: 80, at: "c1"},
	} {
		w.check(f)
	}
	// The one thing that isolated ports take away, which the status warns of.
	s := flow{to: "host", port: 8081, server: "a1"}
	if w.engine.iccBy() == "isolated ports" && w.engine.lacks.bridgeFilter {
		s.server, s.at = "", "a1"
		wantWarning(w.t, w.engine, "bridge-nf-call-iptables")
	}
	for _, s.from = range []string{"a1", "a2"} {
		w.check(s)
	}
	if !w.arrives(flow{from: "c1", to: "c2", at: "c2"}, "tcp", netip.AddrPortFrom(w.addr("c2", false), 80)) {
		w.t.Error("an observer does not see a connection that is made")
	}
}

// adopted is one transaction where the tables are protected.
func (w *world) adopted() []string {
	if protection, _ := w.engine.host.ownership(); protection == nft.ProtectionOwner {
		return []string{"the tables"}
	}
	return nil
}

// TestIsolatedPortsHoldFrames: without the family bridge, nothing that somebody writes to its interface reaches a sibling with ICC off. With ICC on
// the same frames do.
func TestIsolatedPortsHoldFrames(t *testing.T) {
	for _, brNetfilter := range []string{"0", "1"} {
		t.Run("br_netfilter="+brNetfilter, func(t *testing.T) {
			w := newWorld(t, testConfig(t), less{refuse: nfttest.NoFamily(nft.Bridge)})
			w.brNetfilter(brNetfilter)
			w.start()
			w.populate()
			for _, pair := range []struct {
				from, to string
				icc      bool
			}{{"c1", "c2", true}, {"a1", "a2", false}, {"a2", "a1", false}} {
				for name, arrived := range w.attack(pair.from, pair.to) {
					if arrived != pair.icc {
						t.Errorf("%s from %s at %s arrives: %t, want %t", name, pair.from, pair.to, arrived, pair.icc)
					}
				}
			}
			w.end()
		})
	}
}

// attack sends frames to a sibling and says which arrived there.
func (w *world) attack(from, to string) map[string]bool {
	w.t.Helper()
	own, sibling := w.joined(from), w.endpoint(to)
	mac, gateway, all := own.Endpoint.MAC, own.Network.BridgeMAC, bridged.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	unknown, forged := bridged.MAC{2, 0, 0, 0, 0, 1}, bridged.MAC{2, 0, 0, 0, 0, 2}
	src, dst := own.Endpoint.IPv4.Addr(), sibling.IPv4.Addr()
	src6, dst6 := own.Endpoint.IPv6.Addr(), sibling.IPv6.Addr()
	group, group6 := netip.AddrFrom4([4]byte{224, 0, 0, 251}), netip.MustParseAddr("ff02::1")
	tag := []byte{0, 7, unix.ETH_P_IP >> 8, 0}
	frames := map[string]func(mark string) []byte{
		"UDP":            func(m string) []byte { return ethernet(sibling.MAC, mac, unix.ETH_P_IP, udp(src, dst, m)) },
		"UDP over IPv6":  func(m string) []byte { return ethernet(sibling.MAC, mac, unix.ETH_P_IPV6, udp(src6, dst6, m)) },
		"a broadcast":    func(m string) []byte { return ethernet(all, mac, unix.ETH_P_IP, udp(src, dst, m)) },
		"IPv6 broadcast": func(m string) []byte { return ethernet(all, mac, unix.ETH_P_IPV6, udp(src6, dst6, m)) },
		"a multicast": func(m string) []byte {
			return ethernet(bridged.MAC{1, 0, 0x5e, 0, 0, 251}, mac, unix.ETH_P_IP, udp(src, group, m))
		},
		"an IPv6 multicast": func(m string) []byte {
			return ethernet(bridged.MAC{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6, udp(src6, group6, m))
		},
		"a flooded frame": func(m string) []byte { return ethernet(unknown, mac, unix.ETH_P_IP, udp(src, dst, m)) },
		"a VLAN's frame": func(m string) []byte {
			return ethernet(sibling.MAC, mac, unix.ETH_P_8021Q, append(tag, udp(src, dst, m)...))
		},
		"another kind":      func(m string) []byte { return ethernet(sibling.MAC, mac, 0x88b5, []byte(m)) },
		"another's MAC":     func(m string) []byte { return ethernet(sibling.MAC, forged, unix.ETH_P_IP, udp(src, dst, m)) },
		"the gateway's MAC": func(m string) []byte { return ethernet(sibling.MAC, gateway, unix.ETH_P_IP, udp(src, dst, m)) },
		"the gateway's address": func(m string) []byte {
			return ethernet(sibling.MAC, mac, unix.ETH_P_IP, udp(own.Network.IPv4.Gateway, dst, m))
		},
		"a packet through the host": func(m string) []byte { return ethernet(gateway, mac, unix.ETH_P_IP, udp(src, dst, m)) },
		"an IPv6 packet through it": func(m string) []byte { return ethernet(gateway, mac, unix.ETH_P_IPV6, udp(src6, dst6, m)) },
		"a lie about an address": func(m string) []byte {
			return ethernet(sibling.MAC, mac, unix.ETH_P_ARP, arpReply(mac, lan4, sibling.MAC, dst, m))
		},
		"a lie about it to everyone": func(m string) []byte {
			return ethernet(all, mac, unix.ETH_P_ARP, arpReply(mac, lan4, sibling.MAC, dst, m))
		},
	}
	marks, arrived := make(map[string]string), make(map[string]bool)
	o := w.observer(to)
	for name, frame := range frames {
		marks[name], arrived[name] = newMark(), false
		w.spaces[from].send(frame(marks[name]))
	}
	o.saw(func(f []byte) bool {
		for name, mark := range marks {
			arrived[name] = arrived[name] || marked(mark)(f)
		}
		return false
	}, w.host, sibling.IPv4.Addr())
	return arrived
}

// TestIsolationComesBack: what keeps siblings apart is not for others to take away, not for a moment.
func TestIsolationComesBack(t *testing.T) {
	w := newWorld(t, testConfig(t), less{refuse: nfttest.NoFamily(nft.Bridge)})
	w.brNetfilter("0")
	w.start()
	w.populate()
	port, network := w.endpoint("a1").HostInterface, w.joined("a1").Network
	for what, words := range map[string]string{
		"another ended it":           "bridge link set dev " + port + " isolated off",
		"another removed the bridge": "ip link delete " + network.Bridge,
	} {
		repaired := w.awaitRepair(port, func(l link.Link) bool { return l.Isolated && l.Up && l.Forwarding && l.Master != 0 })
		w.host.run(words)
		repaired()
		_ = w.engine.mends.wait(t.Context(), every[suspicion])
		w.equal(what)
		for name, arrived := range w.attack("a1", "a2") {
			if arrived {
				t.Errorf("%s: %s arrives", what, name)
			}
		}
	}
	w.end()
}

// awaitRepair begins to watch a link of the host. The function that it returns waits until it is again as it should be, after it was not.
func (w *world) awaitRepair(name string, holds func(link.Link) bool) (wait func()) {
	w.t.Helper()
	var watcher *link.Watcher
	w.host.must(func() (err error) { watcher, err = link.Watch(); return err })
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	done := make(chan error, 1)
	go func() {
		broken := false
		done <- watcher.Run(ctx, func(e link.Event) {
			switch {
			case e.Link.Name != name:
			case !holds(e.Link):
				broken = true
			case broken:
				cancel()
			}
		})
	}()
	return func() {
		w.t.Helper()
		if err := <-done; err != nil || !errors.Is(ctx.Err(), context.Canceled) {
			w.t.Fatalf("the link did not become what it should be: %v, %v", err, ctx.Err())
		}
	}
}

// TestRefusedKernels: on a kernel without what can't be done without, or without what was asked for, the start is refused by the name in the
// kernel's configuration, and nothing was changed.
func TestRefusedKernels(t *testing.T) {
	plain := func(*Config) {}
	for _, tt := range []struct {
		name    string
		less    less
		flags   func(*Config)
		prepare string
		says    []string
	}{
		{name: "nf_tables", less: less{refuse: nfttest.NoNFTables}, flags: plain, says: []string{"CONFIG_NF_TABLES"}},
		{name: "family inet", less: less{refuse: nfttest.NoFamily(nft.Inet)}, flags: plain, says: []string{"CONFIG_NF_TABLES_INET"}},
		{name: "family inet, Linux 4.16 to 6.6", less: less{refuse: nfttest.NoFamilyHooks(nft.Inet)}, flags: plain, says: []string{"CONFIG_NF_TABLES_INET"}},
		{name: "ct", less: less{refuse: nfttest.NoExpression("ct")}, flags: plain, says: []string{"CONFIG_NFT_CT"}},
		{name: "fib", less: less{refuse: nfttest.NoExpression("fib")}, flags: plain, says: []string{"CONFIG_NFT_FIB_INET"}},
		{name: "NAT", less: less{refuse: nfttest.NoChainType("nat")}, flags: plain, says: []string{"CONFIG_NFT_NAT", "CONFIG_NFT_MASQ"}},
		{name: "masquerade", less: less{refuse: nfttest.NoExpression("masq")}, flags: plain, says: []string{"CONFIG_NFT_MASQ"}},
		{
			name: "protection", less: less{refuse: nfttest.NoTableFlags(nfttest.Owner | nfttest.Persist)},
			flags: func(c *Config) { c.Protection = nft.ProtectionOwner }, says: []string{"owner and persist", "Linux 6.9"},
		},
		{
			name: "protection, no persist", less: less{refuse: nfttest.NoTableFlags(nfttest.Persist)},
			flags: func(c *Config) { c.Protection = nft.ProtectionOwner }, says: []string{"flag persist", "Linux 6.9"},
		},
		{name: "IPv6", prepare: "net/ipv6/conf/all/disable_ipv6", flags: plain, says: []string{"--ipv6", "disable_ipv6 = 1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := testConfig(t)
			host := newSpace(t, "host", giveNamespace(t))
			if tt.prepare != "" {
				host.sysctl(tt.prepare, "1")
			}
			everything := func() string {
				return host.run("nft list ruleset") + host.run("ip address") + host.run("ip rule") + host.run("sysctl net.ipv4.ip_forward")
			}
			before, lesser := everything(), cfg
			tt.flags(&lesser)
			e, err := openIn(t, host.path, lesser, tt.less)
			if err == nil {
				err = e.Run(t.Context())
			}
			wantUnavailable(t, "the start", err, tt.says...)
			if after := everything(); after != before {
				t.Errorf("the refused start left\n%s\nof\n%s", after, before)
			}
			cfg.IPv6 = tt.prepare == ""
			e, stop := startIn(t, host.path, cfg)
			wantWarning(t, e, "")
			stop()
		})
	}
}

// TestSmallMTU: IPv6 needs links of 1,280 bytes (RFC 8200), below there is none, nor are there its sysctls. A network with IPv4 alone works.
func TestSmallMTU(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.start()
	spec := bridged.NetworkSpec{Name: "small", Options: map[string]string{bridged.OptionMTU: "1000"}}
	if _, _, err := w.engine.CreateNetwork(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	sandbox := bridged.SandboxSpec{Name: "s1", Network: "small", NetNS: giveNamespace(t), Ports: specs(t, "8080:80", "8080:80/udp")}
	if _, err := w.engine.CreateSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
	w.spaces["s1"] = newSpace(t, "s1", sandbox.NetNS)
	w.spaces["s1"].serve()
	w.equal("with a small MTU")
	w.ipv6 = false
	w.check(flow{from: "lan", to: "host", port: 8080, server: "s1"})
	w.check(flow{from: "s1", to: "lan", port: 80, server: "lan", as: "host"})
	w.end()
}
