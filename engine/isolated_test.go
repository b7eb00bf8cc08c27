package engine

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
	"github.com/bridged/bridged/nft/nfttest"
)

// TestIsolatedPortsHoldFrames: without the family bridge, nothing that somebody writes to its interface reaches a sibling with ICC off. With ICC on
// the same frames do.
func TestIsolatedPortsHoldFrames(t *testing.T) {
	for _, brNetfilter := range []string{"0", "1"} {
		t.Run("br_netfilter="+brNetfilter, func(t *testing.T) {
			w := newWorld(t, testConfig(t), less{refuse: nfttest.NoFamily(nft.Bridge)})
			w.startWith(brNetfilter)
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

// shot is a frame with a mark in it.
type shot struct {
	name, mark string
	frame      []byte
}

// attack sends frames to a sibling and says which arrived there.
func (w *world) attack(from, to string) map[string]bool {
	w.t.Helper()
	shots, arrived := w.shots(from, to), make(map[string]bool)
	o := w.observer(to)
	for _, s := range shots {
		arrived[s.name] = false
		w.spaces[from].send(s.frame)
	}
	o.saw(func(f []byte) bool {
		for _, s := range shots {
			arrived[s.name] = arrived[s.name] || marked(s.mark)(f)
		}
		return false
	}, w.host, w.addr(to, false))
	return arrived
}

// shots are all kinds of frame by which a sibling can be addressed.
func (w *world) shots(from, to string) (shots []shot) {
	w.t.Helper()
	own, network, sibling := w.endpoint(from), w.joined(from).Network, w.endpoint(to)
	src, dst, src6, dst6 := own.IPv4.Addr(), sibling.IPv4.Addr(), own.IPv6.Addr(), sibling.IPv6.Addr()
	shoot := func(name string, dst, src bridged.MAC, kind uint16, payload func(mark string) []byte) {
		s := shot{name: name, mark: newMark()}
		s.frame = ethernet(dst, src, kind, payload(s.mark))
		shots = append(shots, s)
	}
	packet := func(src, dst netip.Addr) func(string) []byte {
		return func(mark string) []byte { return udp(src, dst, mark) }
	}
	lie := func(mark string) []byte { return arpReply(own.MAC, lan4, sibling.MAC, dst, mark) }
	tagged := func(mark string) []byte { return append([]byte{0, 7, unix.ETH_P_IP >> 8, 0}, udp(src, dst, mark)...) }
	plain := func(mark string) []byte { return []byte(mark) }

	all := bridged.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	shoot("UDP", sibling.MAC, own.MAC, unix.ETH_P_IP, packet(src, dst))
	shoot("UDP over IPv6", sibling.MAC, own.MAC, unix.ETH_P_IPV6, packet(src6, dst6))
	shoot("a broadcast", all, own.MAC, unix.ETH_P_IP, packet(src, dst))
	shoot("a broadcast of IPv6", all, own.MAC, unix.ETH_P_IPV6, packet(src6, dst6))
	shoot("a multicast", bridged.MAC{1, 0, 0x5e, 0, 0, 251}, own.MAC, unix.ETH_P_IP, packet(src, netip.MustParseAddr("224.0.0.251")))
	shoot("a multicast of IPv6", bridged.MAC{0x33, 0x33, 0, 0, 0, 1}, own.MAC, unix.ETH_P_IPV6, packet(src6, netip.MustParseAddr("ff02::1")))
	shoot("a frame to nobody", bridged.MAC{2, 0, 0, 0, 0, 1}, own.MAC, unix.ETH_P_IP, packet(src, dst))
	shoot("another's MAC", sibling.MAC, bridged.MAC{2, 0, 0, 0, 0, 2}, unix.ETH_P_IP, packet(src, dst))
	shoot("the gateway's MAC", sibling.MAC, network.BridgeMAC, unix.ETH_P_IP, packet(src, dst))
	shoot("the gateway's address", sibling.MAC, own.MAC, unix.ETH_P_IP, packet(network.IPv4.Gateway, dst))
	shoot("by way of the gateway", network.BridgeMAC, own.MAC, unix.ETH_P_IP, packet(src, dst))
	shoot("IPv6 by way of the gateway", network.BridgeMAC, own.MAC, unix.ETH_P_IPV6, packet(src6, dst6))
	shoot("a VLAN's frame", sibling.MAC, own.MAC, unix.ETH_P_8021Q, tagged)
	shoot("another kind of frame", sibling.MAC, own.MAC, 0x88b5, plain) // for experiments (IEEE 802)
	shoot("an ARP reply", sibling.MAC, own.MAC, unix.ETH_P_ARP, lie)
	shoot("an ARP reply to all", all, own.MAC, unix.ETH_P_ARP, lie)
	return shots
}

// TestForeignSources: without the family bridge there is no source guard, and yet nobody sends from addresses outside its subnet through the host.
func TestForeignSources(t *testing.T) {
	w := newWorld(t, testConfig(t), less{refuse: nfttest.NoFamily(nft.Bridge)})
	w.startWith("0")
	own, network := w.endpoint("c1"), w.joined("c1").Network
	o := w.observer("lan")
	for _, tt := range []struct {
		src  netip.Addr
		dst  netip.Addr
		want bool
	}{
		{own.IPv4.Addr(), lan4, true},
		{own.IPv6.Addr(), lan6, true},
		{netip.MustParseAddr("198.51.100.7"), lan4, false},
		{netip.MustParseAddr("2001:db8:1::7"), lan6, false},
		{host4, lan4, false},
		{netip.MustParseAddr("127.0.0.1"), lan4, false},
		{w.addr("a1", false), lan4, false},
		{w.addr("a1", true), lan6, false},
	} {
		mark, kind := newMark(), uint16(unix.ETH_P_IP)
		if tt.src.Is6() {
			kind = unix.ETH_P_IPV6
		}
		w.spaces["c1"].send(ethernet(network.BridgeMAC, own.MAC, kind, udp(tt.src, tt.dst, mark)))
		if got := o.saw(marked(mark), w.host, tt.dst); got != tt.want {
			t.Errorf("a datagram from %s arrives at %s: %t, want %t", tt.src, tt.dst, got, tt.want)
		}
	}
	w.end()
}

// TestIsolationComesBack: what keeps siblings apart is not for others to take away, not for a moment.
func TestIsolationComesBack(t *testing.T) {
	w := newWorld(t, testConfig(t), less{refuse: nfttest.NoFamily(nft.Bridge)})
	w.startWith("0")
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
