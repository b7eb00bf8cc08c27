package link

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
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

func benchPair(i int) Pair {
	return Pair{
		Host: fmt.Sprintf("bv%012x", i), Inner: "eth0", Bridge: "br0", MAC: addr.MAC{2, 0x42, 10, 0, 0, byte(i + 2)}, MTU: 1500,
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

// attachAll runs attach once for each sandbox, over and over, and detaches all behind each round.
func attachAll(b *testing.B, c *Conn, prepare func(round int), attach func(i int)) {
	b.Helper()
	var names []string
	for i := range sandboxes {
		names = append(names, benchPair(i).Host)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%sandboxes == 0 {
			b.StopTimer()
			must(b, c.Delete(names...))
			prepare(n / sandboxes)
			b.StartTimer()
		}
		attach(n % sandboxes)
	}
	b.StopTimer()
	must(b, c.Delete(names...))
}

// BenchmarkAttach is what one attach costs: prebuilt datagrams on raw sockets (the floor), the same through Conns that are dialled
// already, and the whole of what the engine does, with a visit to the namespace.
func BenchmarkAttach(b *testing.B) {
	b.Run("floor", benchmarkFloor)
	b.Run("datagrams", func(b *testing.B) {
		_, c := benchHost(b)
		spaces, inner := benchSandboxes(b)
		attachAll(b, c, func(int) {}, func(i int) {
			_, index, err := c.CreatePair(benchPair(i), spaces[i].FD())
			must(b, err)
			must(b, inner[i].Configure(benchInner(i, index)))
		})
	})
	b.Run("whole", func(b *testing.B) {
		_, c := benchHost(b)
		var spaces [sandboxes]*netns.NS
		for i := range spaces {
			var err error
			spaces[i], err = netns.Open(nstest.New(b).Path())
			must(b, err)
			b.Cleanup(func() { spaces[i].Close() })
		}
		attachAll(b, c, func(int) {}, func(i int) {
			_, index, err := c.CreatePair(benchPair(i), spaces[i].FD())
			must(b, err)
			must(b, spaces[i].Do(func() error {
				if err := sysctl.Set("net/ipv6/conf/eth0/disable_ipv6", "1"); err != nil {
					return err
				}
				inner, err := Dial()
				if err != nil {
					return err
				}
				defer inner.Close()
				return inner.Configure(benchInner(i, index))
			}))
		})
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

func benchmarkFloor(b *testing.B) {
	n, c := benchHost(b)
	spaces, _ := benchSandboxes(b)
	open := func() (fd int) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		must(b, err)
		must(b, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1))
		b.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	var outer int
	n.Do(func() { outer = open() })
	var inner [sandboxes]int
	for i := range inner {
		spaces[i].Do(func() { inner[i] = open() })
	}
	bridge, err := c.ByName("br0")
	must(b, err)
	var first, second [sandboxes][]byte
	prepare := func(round int) {
		for i := range sandboxes {
			var one, two rtnl.Batch
			benchPair(i).create(&one, bridge.Index, spaces[i].FD())
			benchPair(i).port(&one)
			benchInner(i, 2+round).append(&two) // the kernel counts each namespace's links from lo, 1, on
			first[i], second[i] = one.Datagram(1, unix.NLM_F_ACK), two.Datagram(1, unix.NLM_F_ACK)
		}
	}
	answer := make([]byte, 8<<10)
	call := func(fd int, datagram []byte, answers int) {
		_, err := unix.Write(fd, datagram)
		must(b, err)
		for range answers {
			n, err := unix.Read(fd, answer)
			must(b, err)
			if kind := order.Uint16(answer[4:]); kind == unix.NLMSG_ERROR && int32(order.Uint32(answer[16:])) != 0 {
				b.Fatalf("the kernel answers %x", answer[:n])
			}
		}
	}
	attachAll(b, c, prepare, func(i int) {
		call(outer, first[i], 2) // echo and acknowledgement
		call(inner[i], second[i], 1)
	})
}

// BenchmarkDelete is 200 pairs at once.
func BenchmarkDelete(b *testing.B) {
	_, c := benchHost(b)
	s := nstest.New(b)
	var pairs []Pair
	var names []string
	for i := range 200 {
		p := benchPair(i)
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
		p := benchPair(i)
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
