package engine

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
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
				if k.prepare != nil {
					k.prepare(w)
				}
				w.startWith(brNetfilter)
				w.equal("at the start")
				if s := w.engine.Status(); s.Protection != k.protection || s.ICCBy != k.iccBy {
					t.Errorf("the status says protection %s and ICC by %s", s.Protection, s.ICCBy)
				}
				wantWarning(t, w.engine, k.warns)
				w.checkFlows()
				w.stop()
				w.start()
				want := uint64(0)
				if k.protection == nft.ProtectionOwner {
					want = 1 // the adoption
				}
				if n := w.engine.Status().Transactions; n != want {
					t.Errorf("the restart took %d transactions, want %d", n, want)
				}
				w.equal("after the restart")
				w.checkFlows()
				w.checkLink()
				w.equal("after a link")
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
	// The one thing that isolated ports take away, where br_netfilter came later; nobody can join such a network any more.
	s := flow{to: "host", port: 8081, server: "a1"}
	if w.engine.iccBy() == "isolated ports" && w.engine.lacks.bridgeFilter {
		s.server, s.at = "", "a1"
		wantWarning(w.t, w.engine, "nobody can join network apart")
	}
	for _, s.from = range []string{"a1", "a2"} {
		w.check(s)
	}
	if !w.arrives(flow{from: "c1", to: "c2", at: "c2"}, "tcp", netip.AddrPortFrom(w.addr("c2", false), 80)) {
		w.t.Error("an observer does not see a connection that is made")
	}
}

// checkLink links a1 to a2, which nothing else lets it reach, and takes the link back.
func (w *world) checkLink() {
	w.t.Helper()
	way, back := flow{from: "a1", to: "a2", port: 80, server: "a2", as: "a1"}, flow{from: "a2", to: "a1", port: 80, at: "a1"}
	spec := bridged.LinkSpec{Parent: "a1", Child: "a2", Ports: protoPorts(w.t, "80/tcp", "80/udp")}
	if _, err := w.engine.AddLink(w.t.Context(), spec); err != nil {
		w.t.Fatal(err)
	}
	w.check(way)
	w.check(back)
	if err := w.engine.RemoveLink(w.t.Context(), "a1", "a2"); err != nil {
		w.t.Fatal(err)
	}
	way.server, way.at = "", "a2"
	w.check(way)
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
