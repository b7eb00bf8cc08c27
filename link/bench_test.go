package link

import (
	"cmp"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/benchtest"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/internal/rtnl"
	"github.com/bridged/bridged/internal/sysctl"
)

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// benchHost is a namespace with the bridge br0, up, and a Conn in it.
func benchHost(b *testing.B) (nstest.NS, *Conn) {
	b.Helper()
	n := nstest.New(b)
	var c *Conn
	n.Do(func() {
		var err error
		c, err = Dial()
		must(b, err)
	})
	b.Cleanup(func() { c.Close() })
	l, err := c.CreateBridge(Bridge{Name: "br0", MAC: addr.MAC{2, 0x42, 10, 0, 0, 1}, MTU: 1500})
	must(b, err)
	must(b, c.SetUp(l.Index))
	return n, c
}

// sandboxes is how many namespaces are attached before all of them are detached, off the clock.
const sandboxes = 64

func benchPair(prefix string, i int) Pair {
	return Pair{
		Host: fmt.Sprintf("%s%06x", prefix, i), Inner: "eth0", Bridge: "br0", MAC: addr.MAC{2, 0x42, 10, 0, 0, byte(i + 2)}, MTU: 1500,
	}
}

func benchInner(i, index int) Inner {
	ip := netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 2)})
	return Inner{
		Index: index, Name: "eth0",
		Addrs:    []netip.Prefix{netip.PrefixFrom(ip, 24)},
		Gateways: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, 1})},
	}
}

// BenchmarkAttach is the kernel's part of an attach: the two prebuilt datagrams of the floor; prebuilt datagrams with all that a pair of ours has
// besides (hairpin mode, no link-local address on the host's side, group); the same through Conns that are dialled already; and the whole of
// it, with a visit to the namespace and a setting there. Mark: 1.2 times the floor.
func BenchmarkAttach(b *testing.B) {
	n, c := benchHost(b)
	bridge, err := c.ByName("br0")
	must(b, err)
	floor := benchtest.NewAttach(b, func(f func() error) (err error) {
		n.Do(func() { err = f() })
		return err
	}, bridge.Index, "floor", sandboxes)
	settings := newPrebuilt(b, n, bridge.Index)
	spaces, conns := benchSandboxes(b)
	visited := benchSpaces(b)
	watch := benchtest.NewWatch("floor", "settings", "conns", "whole")
	b.ReportAllocs()
	for round := 0; b.Loop(); round++ {
		floor.Prepare()
		settings.prepare(round)
		for i := range sandboxes {
			benchtest.InTurn(
				func() { watch.Time(b, "floor", func() error { return floor.Attach(i) }) },
				func() { watch.Time(b, "settings", func() error { return settings.attach(i) }) },
				func() {
					watch.Time(b, "conns", func() error {
						_, index, err := c.CreatePair(benchPair("bvc", i), spaces[i].FD())
						return cmp.Or(err, conns[i].Configure(benchInner(i, index)))
					})
				},
				func() { watch.Time(b, "whole", func() error { return attachWhole(c, visited[i], i) }) },
			)
		}
		names := floor.Names()
		for i := range sandboxes {
			for _, prefix := range []string{"bvp", "bvc", "bvw"} {
				names = append(names, benchPair(prefix, i).Host)
			}
		}
		must(b, c.Delete(names...))
	}
	watch.Report(b)
	for _, column := range []string{"settings", "conns", "whole"} {
		watch.Ratio(b, column, "floor")
	}
}

// attachWhole opens nothing before.
func attachWhole(c *Conn, space *netns.NS, i int) error {
	if _, _, err := c.CreatePair(benchPair("bvw", i), space.FD()); err != nil {
		return err
	}
	return space.Do(func() error {
		if err := sysctl.Set("net/ipv6/conf/eth0/disable_ipv6", "1"); err != nil {
			return err
		}
		inner, err := DialBriefly(Options{})
		if err != nil {
			return err
		}
		defer inner.Close()
		return inner.Configure(benchInner(i, 0))
	})
}

// benchSandboxes are fresh namespaces, each with a Conn.
func benchSandboxes(b *testing.B) (spaces [sandboxes]nstest.NS, conns [sandboxes]*Conn) {
	b.Helper()
	for i := range spaces {
		spaces[i] = nstest.New(b)
		spaces[i].Do(func() {
			var err error
			conns[i], err = Dial()
			must(b, err)
		})
		b.Cleanup(func() { conns[i].Close() })
	}
	return spaces, conns
}

// benchSpaces are fresh namespaces, each opened.
func benchSpaces(b *testing.B) (spaces [sandboxes]*netns.NS) {
	b.Helper()
	for i := range spaces {
		var err error
		spaces[i], err = netns.Open(nstest.New(b).Path())
		must(b, err)
		b.Cleanup(func() { spaces[i].Close() })
	}
	return spaces
}

// prebuilt are the datagrams of attaches, built before, and raw sockets that are open.
type prebuilt struct {
	bridge        int
	spaces        [sandboxes]nstest.NS
	outer         int
	inner         [sandboxes]int
	first, second [sandboxes][]byte
	answer        [8 << 10]byte
}

func newPrebuilt(b *testing.B, n nstest.NS, bridge int) *prebuilt {
	b.Helper()
	p := &prebuilt{bridge: bridge}
	open := func() (fd int) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		must(b, err)
		must(b, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1))
		b.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	n.Do(func() { p.outer = open() })
	for i := range p.spaces {
		p.spaces[i] = nstest.New(b)
		p.spaces[i].Do(func() { p.inner[i] = open() })
	}
	return p
}

func (p *prebuilt) prepare(round int) {
	for i := range sandboxes {
		var one, two rtnl.Batch
		benchPair("bvp", i).create(&one, p.bridge, p.spaces[i].FD())
		benchPair("bvp", i).port(&one)
		benchPair("bvp", i).up(&one)
		benchInner(i, 2+round).append(&two) // the kernel counts each namespace's links from lo, 1, on
		p.first[i], p.second[i] = one.Datagram(1, unix.NLM_F_ACK), two.Datagram(1, unix.NLM_F_ACK)
	}
}

func (p *prebuilt) attach(i int) error {
	return cmp.Or(p.call(p.outer, p.first[i], 2), p.call(p.inner[i], p.second[i], 1)) // echo and acknowledgement; acknowledgement
}

func (p *prebuilt) call(fd int, datagram []byte, answers int) error {
	if _, err := unix.Write(fd, datagram); err != nil {
		return err
	}
	for range answers {
		n, err := unix.Read(fd, p.answer[:])
		if err != nil {
			return err
		}
		if kind := order.Uint16(p.answer[4:]); kind == unix.NLMSG_ERROR && int32(order.Uint32(p.answer[16:])) != 0 {
			return fmt.Errorf("the kernel answers %x", p.answer[:n])
		}
	}
	return nil
}

// BenchmarkDelete is 200 pairs at once.
func BenchmarkDelete(b *testing.B) {
	_, c := benchHost(b)
	s := nstest.New(b)
	var pairs []Pair
	var names []string
	for i := range 200 {
		p := benchPair("bv", i)
		p.Inner = fmt.Sprintf("eth%d", i)
		pairs, names = append(pairs, p), append(names, p.Host)
	}
	for b.Loop() {
		b.StopTimer()
		for _, p := range pairs {
			_, _, err := c.CreatePair(p, s.FD())
			must(b, err)
		}
		b.StartTimer()
		must(b, c.Delete(names...))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/200, "µs/pair")
}

// BenchmarkList is a namespace with 1,000 links.
func BenchmarkList(b *testing.B) {
	_, c := benchHost(b)
	s := nstest.New(b)
	for i := range 1000 - 2 {
		p := benchPair("bv", i)
		p.Inner = fmt.Sprintf("eth%d", i)
		_, _, err := c.CreatePair(p, s.FD())
		must(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		list, err := c.List()
		must(b, err)
		if len(list) != 1000 {
			b.Fatalf("%d links", len(list))
		}
	}
}

// BenchmarkDial is what a visit to a sandbox's namespace pays for its Conn.
func BenchmarkDial(b *testing.B) {
	for b.Loop() {
		c, err := Dial()
		must(b, err)
		must(b, c.Close())
	}
}
