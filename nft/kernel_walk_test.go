package nft

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// loopbackFIB is a host without addresses of its own.
type loopbackFIB struct{}

func (loopbackFIB) AddrType(a netip.Addr, _ string) uint32 {
	if a.IsLoopback() {
		return RTNLocal
	}
	return unix.RTN_UNICAST
}

func (loopbackFIB) Leads(netip.Addr, string) bool { return true }

// What Walk says of a packet is what the kernel does with it: sending one that is dropped in output is not permitted.
func TestWalkAgreesWithTheKernel(t *testing.T) {
	newNamespace(t)
	drawsTheSame(t, 100)
	loopbackUp(t)
	w := must(Dial(Options{Protection: ProtectionMonitor}))(t)
	defer w.Close()
	have := Ruleset{}
	dropped := 0
	rapid.Check(t, func(t *rapid.T) {
		want := drawFilter(t)
		if err := w.Commit(context.Background(), Diff(have, want)); err != nil {
			t.Fatalf("%v\n%s", err, want)
		}
		have = want
		for range 8 {
			p := sendPacket(t)
			trace := want.Walk(Inet, Output, p.Packet)
			if p.dropped != (trace.Verdict == VerdictDrop) {
				t.Fatalf("the kernel dropped %+v: %v, the walk is\n%s\nthrough\n%s", p.Packet, p.dropped, trace.String(), want)
			}
			if p.dropped {
				dropped++
			}
		}
	})
	if dropped == 0 {
		t.Error("no packet was dropped: nothing was tested")
	}
}

// drawFilter draws a program at the output hook, over the sets and elements of inetTable.
func drawFilter(t *rapid.T) Ruleset {
	whole := inetTable()
	table := Table{ID: whole.ID, Sets: whole.Sets, Chains: []Chain{
		{Name: "other"}, {Name: "first", Hook: &Hook{FilterChain, Output, PriorityFilter}},
		{Name: "second", Hook: &Hook{FilterChain, Output, PriorityFilter + 1}}}}
	for i := range table.Chains {
		c := &table.Chains[i]
		for range rapid.IntRange(1, 8).Draw(t, "rules") {
			r := drawRule(t, &table)
			text := r.String()
			without := []string{"nat ip", "masquerade", ". iif ", "ct status "} // in other hooks, or not for us to know
			if i == 0 {
				without = append(without, "jump ", "goto ") // there are no loops
			}
			if !slices.ContainsFunc(without, func(word string) bool { return strings.Contains(text, word) }) {
				c.Rules = append(c.Rules, r)
			}
		}
	}
	return Ruleset{Tables: []Table{table}, Elements: someElements(table.ID)}
}

// sentPacket is a packet, and whether the kernel dropped it.
type sentPacket struct {
	Packet
	dropped bool
}

// sendPacket sends a UDP packet to the loopback interface.
func sendPacket(t *rapid.T) sentPacket {
	dst := netip.MustParseAddr(rapid.SampledFrom([]string{"127.0.0.1", "127.0.0.53", "::1"}).Draw(t, "dst"))
	p := sentPacket{Packet: Packet{OIFName: "lo", Src: netip.MustParseAddr("127.0.0.1"), Dst: dst, Protocol: unix.IPPROTO_UDP,
		DPort: rapid.SampledFrom([]uint16{53, 80, 1024, 2047}).Draw(t, "dport"),
		Mark:  rapid.SampledFrom([]uint32{0, 1, 0x100, 0x1fe}).Draw(t, "mark"), FIB: loopbackFIB{}}}
	var from, to unix.Sockaddr
	family := unix.AF_INET
	if dst.Is6() {
		p.Src, family = dst, unix.AF_INET6
		from, to = &unix.SockaddrInet6{Addr: dst.As16()}, &unix.SockaddrInet6{Addr: dst.As16(), Port: int(p.DPort)}
	} else {
		from, to = &unix.SockaddrInet4{Addr: p.Src.As4()}, &unix.SockaddrInet4{Addr: dst.As4(), Port: int(p.DPort)}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)), unix.Bind(fd, from)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		p.SPort = uint16(name.Port)
	case *unix.SockaddrInet6:
		p.SPort = uint16(name.Port)
	}
	err = unix.Sendto(fd, []byte{0}, 0, to)
	if p.dropped = errors.Is(err, unix.EPERM); err != nil && !p.dropped {
		t.Fatal(err)
	}
	return p
}

// loopbackUp sets the namespace's loopback interface up.
func loopbackUp(tb testing.TB) {
	tb.Helper()
	fd := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(tb)
	defer unix.Close(fd)
	request := must(unix.NewIfreq("lo"))(tb)
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		tb.Fatal(err)
	}
}
