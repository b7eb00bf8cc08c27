package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/nstest"
)

const (
	tcp = uint8(bridged.TCP)
	udp = uint8(bridged.UDP)
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// tracked is a namespace that tracks connections, with a few more addresses on its loopback.
func tracked(t testing.TB) nstest.NS {
	t.Helper()
	nstest.NeedTool(t, "conntrack")
	ns := nstest.New(t)
	ns.Run("ip link set lo up")
	ns.Run("nft add table inet t")
	ns.Run("nft add chain inet t track { type filter hook output priority 0; ct state new accept; }")
	ns.Run("nft add chain inet t publish { type nat hook output priority -100; }")
	return ns
}

// entries are the entries of the namespace by the conntrack program, as "udp 127.0.0.1:5000>127.0.0.1:8080" (the original
// direction), sorted.
func entries(ns nstest.NS) []string {
	var list []string
	for _, family := range []string{"ipv4", "ipv6"} {
		for line := range strings.Lines(ns.Run("conntrack -L -f " + family)) {
			words := strings.Fields(line)
			if len(words) == 0 || words[0] != "udp" && words[0] != "tcp" {
				continue // the count at the end
			}
			v := make(map[string]string)
			for _, w := range words {
				key, value, found := strings.Cut(w, "=")
				if _, second := v[key]; found && !second {
					v[key] = value
				}
			}
			list = append(list, fmt.Sprintf("%s %s:%s>%s:%s", words[0], v["src"], v["sport"], v["dst"], v["dport"]))
		}
	}
	slices.Sort(list)
	return list
}

func sockaddr(ap netip.AddrPort) (family int, sa unix.Sockaddr) {
	if ap.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// listen is a UDP socket in the namespace of the thread.
func listen(t testing.TB, at string) int {
	t.Helper()
	family, sa := sockaddr(netip.MustParseAddrPort(at))
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, sa); err != nil {
		t.Fatal(err)
	}
	return fd
}

func send(t testing.TB, fd int, to string) {
	t.Helper()
	_, sa := sockaddr(netip.MustParseAddrPort(to))
	if err := unix.Sendto(fd, []byte("x"), 0, sa); err != nil {
		t.Fatal(err)
	}
}

// received reports whether a packet has come; over the loopback it has when send returns.
func received(fd int) bool {
	_, _, err := unix.Recvfrom(fd, make([]byte, 10), unix.MSG_DONTWAIT)
	return err == nil
}

func mustPurge(t testing.TB, flows []Flow, addrs []netip.Addr) int {
	t.Helper()
	var p Purger
	defer p.Close()
	n, err := p.Purge(flows, addrs)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What a purge is for: a UDP flow that began before the publication follows it, and one that is translated stops when
// the publication goes.
func TestFlowFollowsPublication(t *testing.T) {
	for _, tt := range []struct{ family, client, host, container, wildcard string }{
		{"ip", "127.0.0.1:5000", "127.0.0.1", "127.0.0.1:9000", "0.0.0.0"},
		{"ip6", "[::1]:5000", "::1", "[::1]:9000", "::"},
	} {
		t.Run(tt.family, func(t *testing.T) {
			ns := tracked(t)
			hostPort := netip.AddrPortFrom(addr(tt.host), 8080).String()
			var client, before, container int
			ns.Do(func() {
				client, before, container = listen(t, tt.client), listen(t, hostPort), listen(t, tt.container)
				send(t, client, hostPort)
			})
			if !received(before) {
				t.Fatal("no packet before the publication")
			}
			ns.Run(fmt.Sprintf("nft add rule inet t publish %s daddr %s udp dport 8080 dnat %s to %s", tt.family, tt.host, tt.family, tt.container))
			ns.Do(func() { send(t, client, hostPort) })
			if received(container) || !received(before) {
				t.Fatal("the flow follows by itself: nothing to purge in this kernel")
			}
			flows := []Flow{{Proto: udp, HostIP: addr(tt.wildcard), HostPort: 8080}}
			ns.Do(func() {
				if n := mustPurge(t, flows, nil); n != 1 {
					t.Errorf("%d entries purged, want 1", n)
				}
				send(t, client, hostPort)
			})
			if !received(container) || received(before) {
				t.Error("the flow did not follow the publication")
			}
			ns.Run("nft flush chain inet t publish")
			ns.Do(func() {
				if n := mustPurge(t, flows, nil); n != 1 {
					t.Errorf("%d entries purged, want 1", n)
				}
				send(t, client, hostPort)
			})
			if received(container) || !received(before) {
				t.Error("the flow outlives the publication")
			}
		})
	}
}

func TestPurgeSelects(t *testing.T) {
	all := []string{
		"udp 127.0.0.1:5000>127.0.0.1:53",
		"udp 127.0.0.1:5000>127.0.0.1:8080",
		"udp 127.0.0.1:5000>127.0.0.2:8080",
		"udp 127.0.0.1:5000>198.51.100.1:8080", // of another host
		"udp ::1:5000>::1:8080",
		"udp ::1:8080>::1:5001",             // the port is the source's
		"udp fd00::1:5002>2001:db8::1:8080", // of another host
	}
	for name, tt := range map[string]struct {
		flows []Flow
		addrs []netip.Addr
		gone  []int // of all
	}{
		"nothing":              {},
		"IPv4":                 {flows: []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, gone: []int{1, 2}},
		"IPv6":                 {flows: []Flow{{Proto: udp, HostIP: addr("::"), HostPort: 8080}}, gone: []int{4}},
		"both":                 {flows: []Flow{{Proto: udp, HostIP: netip.Addr{}, HostPort: 8080}}, gone: []int{1, 2, 4}},
		"one address":          {flows: []Flow{{Proto: udp, HostIP: addr("127.0.0.2"), HostPort: 8080}}, gone: []int{2}},
		"a foreign address":    {flows: []Flow{{Proto: udp, HostIP: addr("198.51.100.1"), HostPort: 8080}}, gone: []int{3}},
		"another port":         {flows: []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8081}}},
		"another protocol":     {flows: []Flow{{Proto: tcp, HostIP: addr("0.0.0.0"), HostPort: 8080}}},
		"several in one sweep": {flows: []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 53}, {Proto: udp, HostIP: addr("127.0.0.2"), HostPort: 8080}, {Proto: udp, HostIP: addr("::"), HostPort: 8080}}, gone: []int{0, 2, 4}},
		"from somebody":        {flows: []Flow{{Source: addr("127.0.0.1"), Proto: udp, HostIP: addr("127.0.0.2"), HostPort: 8080}}, gone: []int{2}},
		"from another":         {flows: []Flow{{Source: addr("127.0.0.3"), Proto: udp, HostIP: addr("127.0.0.2"), HostPort: 8080}}},
		"the other way":        {flows: []Flow{{Source: addr("127.0.0.2"), Proto: udp, HostIP: addr("127.0.0.1"), HostPort: 5000}}},
		"from IPv6":            {flows: []Flow{{Source: addr("fd00::1"), Proto: udp, HostIP: addr("2001:db8::1"), HostPort: 8080}}, gone: []int{6}},
		"a destination":        {addrs: []netip.Addr{addr("127.0.0.2")}, gone: []int{2}},
		"a source":             {addrs: []netip.Addr{addr("127.0.0.1")}, gone: []int{0, 1, 2, 3}},
		"a port, an address":   {flows: []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 53}}, addrs: []netip.Addr{addr("::1")}, gone: []int{0, 4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			ns := tracked(t)
			ns.Run("ip route add default dev lo")
			ns.Run("ip address add fd00::1/128 dev lo nodad")
			ns.Run("ip link add v0 type veth peer name v1")
			ns.Run("ip link set v0 up")
			ns.Run("ip link set v1 up")
			ns.Run("ip -6 route add 2001:db8::/64 dev v0")
			ns.Run("ip -6 neigh add 2001:db8::1 dev v0 lladdr 02:00:00:00:00:01 nud permanent")
			ns.Do(func() {
				v4, v6, server := listen(t, "127.0.0.1:5000"), listen(t, "[::1]:5000"), listen(t, "[::1]:8080")
				listen(t, "[::1]:5001")
				for _, to := range []string{"127.0.0.1:53", "127.0.0.1:8080", "127.0.0.2:8080", "198.51.100.1:8080"} {
					// What nobody listens on refuses the next packet, so one each.
					_ = unix.Sendto(v4, []byte("x"), 0, mustSockaddr(to))
					_, _ = unix.GetsockoptInt(v4, unix.SOL_SOCKET, unix.SO_ERROR) // clears it
				}
				send(t, listen(t, "[fd00::1]:5002"), "[2001:db8::1]:8080")
				send(t, v6, "[::1]:8080")
				send(t, server, "[::1]:5001")
			})
			if got := entries(ns); !slices.Equal(got, all) {
				t.Fatalf("before:\n%s", strings.Join(got, "\n"))
			}
			ns.Do(func() {
				if n := mustPurge(t, tt.flows, tt.addrs); n != len(tt.gone) {
					t.Errorf("%d purged, want %d", n, len(tt.gone))
				}
			})
			var want []string
			for i, e := range all {
				if !slices.Contains(tt.gone, i) {
					want = append(want, e)
				}
			}
			if got := entries(ns); !slices.Equal(got, want) {
				t.Errorf("after:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func mustSockaddr(s string) unix.Sockaddr {
	_, sa := sockaddr(netip.MustParseAddrPort(s))
	return sa
}

// An address that is given back takes translated flows with it, whichever side of the translation it is on.
func TestPurgeTranslatedAddress(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "127.0.0.9", "127.0.0.2"} {
		ns := tracked(t)
		ns.Run("nft add rule inet t publish ip daddr 127.0.0.2 udp dport 8080 dnat ip to 127.0.0.9:80")
		ns.Do(func() {
			server := listen(t, "127.0.0.9:80")
			send(t, listen(t, "127.0.0.1:5000"), "127.0.0.2:8080")
			if !received(server) {
				t.Fatal("the packet was not translated")
			}
			if n := mustPurge(t, nil, []netip.Addr{addr(a), addr("192.0.2.77")}); n != 1 {
				t.Errorf("%s: %d purged, want 1", a, n)
			}
		})
		if left := entries(ns); len(left) > 0 {
			t.Errorf("%s: left: %q", a, left)
		}
	}
}

// A TCP connection goes too.
func TestPurgeTCP(t *testing.T) {
	ns := tracked(t)
	ns.Do(func() {
		listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(listener)
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(client)
		to := mustSockaddr("127.0.0.1:8080")
		for _, err := range []error{unix.Bind(listener, to), unix.Listen(listener, 1), unix.Connect(client, to)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := mustPurge(t, []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, nil); n != 0 {
			t.Errorf("%d purged as UDP", n)
		}
		if n := mustPurge(t, []Flow{{Proto: tcp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, nil); n != 1 {
			t.Errorf("%d purged, want 1", n)
		}
	})
}

func TestOtherZonesStay(t *testing.T) {
	ns := tracked(t)
	ns.Run("nft add chain inet t zone { type filter hook output priority -300; ip daddr 127.0.0.2 ct zone set 7; ip daddr 127.0.0.3 ct original zone set 7; }")
	ns.Do(func() {
		client := listen(t, "127.0.0.1:5000")
		for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
			listen(t, host+":8080")
			send(t, client, host+":8080")
		}
		if n := mustPurge(t, []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, nil); n != 1 {
			t.Errorf("%d purged, want 1", n)
		}
	})
	if left := entries(ns); len(left) != 2 {
		t.Errorf("left: %q", left)
	}
}

// fill makes n entries by packets to port 8080 of addresses where nobody listens.
func fill(client, n int) {
	to := &unix.SockaddrInet4{Port: 8080}
	for i := range n {
		to.Addr = [4]byte{127, byte(1 + i>>16), byte(i >> 8), byte(i)}
		_ = unix.Sendto(client, nil, 0, to) // an error is the answer to the packet before
		_, _ = unix.GetsockoptInt(client, unix.SOL_SOCKET, unix.SO_ERROR)
	}
}

// More entries than a batch of deletions and a datagram of the dump hold.
func TestPurgeMany(t *testing.T) {
	const n = 1000
	ns := tracked(t)
	ns.Do(func() {
		client := listen(t, "127.0.0.1:5000")
		fill(client, n)
		listen(t, "127.0.0.1:8081")
		send(t, client, "127.0.0.1:8081")
		if got := mustPurge(t, []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, nil); got != n {
			t.Errorf("%d purged, want %d", got, n)
		}
		if got := mustPurge(t, []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, nil); got != 0 {
			t.Errorf("%d purged the second time", got)
		}
	})
	if left := entries(ns); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// A purge whose answers the kernel has no room for ends, and the next one does what is left.
func TestPurgeOverrun(t *testing.T) {
	const n = 3 * deleteBatch
	flows := []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}
	ns := tracked(t)
	ns.Do(func() {
		client := listen(t, "127.0.0.1:5000")
		fill(client, n)
		listen(t, "127.0.0.1:8081")
		send(t, client, "127.0.0.1:8081")
		var p Purger
		defer p.Close()
		if err := p.Open(); err != nil {
			t.Fatal(err)
		}
		if err := p.conn.SetReadBuffer(8 << 10); err != nil {
			t.Fatal(err)
		}
		if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil { // for a purge that waits for good
			t.Fatal(err)
		}
		if _, err := p.Purge(flows, nil); !errors.Is(err, unix.ENOBUFS) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("without room for the answers: %v, want %v", err, unix.ENOBUFS)
		}
		// The first batch went, answered or not.
		if got, want := len(entries(ns)), n-deleteBatch+1; got != want {
			t.Errorf("%d entries are left, want %d", got, want)
		}
		if got, err := p.Purge(flows, nil); got != n-deleteBatch || err != nil {
			t.Errorf("again: %d purged, %v, want %d", got, err, n-deleteBatch)
		}
	})
	if left := entries(ns); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// TestAnswersFit: a batch's answers are all there when it is sent, and take a small part of the buffer that a purger asks for.
func TestAnswersFit(t *testing.T) {
	nstest.New(t).Do(func() {
		var p Purger
		defer p.Close()
		if err := p.Open(); err != nil {
			t.Fatal(err)
		}
		e, ok := parseEntry(message(t, "fd00::1", "fd00::2", 53, false))
		if !ok {
			t.Fatal("malformed")
		}
		batch := make([]netlink.Message, deleteBatch)
		for i := range batch { // each is refused, and an error repeats what was asked for
			batch[i] = netlink.Message{Header: netlink.Header{Type: deleteConntrack, Flags: netlink.Request | netlink.Acknowledge}, Data: e.deletion()}
		}
		if _, err := p.conn.SendMessages(batch); err != nil {
			t.Fatal(err)
		}
		all, room := memory(t, p.conn)
		if _, err := p.conn.Receive(); !errors.Is(err, unix.ENOENT) {
			t.Fatalf("the first answer is %v", err)
		}
		if rest, _ := memory(t, p.conn); all != deleteBatch*(all-rest) {
			t.Errorf("the answers took %d bytes, and %d without the first: they were not all there", all, rest)
		}
		if room != 2*answersSize || room < 4*all { // the kernel doubles what it is asked for
			t.Errorf("the answers took %d bytes of %d", all, room)
		}
	})
}

// memory is what lies in a socket's receive buffer, and what has room there, in bytes as the kernel counts them.
func memory(t *testing.T, c *netlink.Conn) (used, room uint32) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info uint64 // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_RCVBUF of linux/sock_diag.h
	control := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MEMINFO) })
	if err := errors.Join(control, err); err != nil {
		t.Fatal(err)
	}
	b := binary.NativeEndian.AppendUint64(nil, info)
	return binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
}

// A namespace where nothing ever asked for tracking.
func TestNothingTracked(t *testing.T) {
	nstest.New(t).Do(func() {
		if n := mustPurge(t, []Flow{{Proto: udp, HostIP: addr("0.0.0.0"), HostPort: 8080}}, []netip.Addr{addr("10.0.0.2")}); n != 0 {
			t.Errorf("%d purged", n)
		}
	})
}
