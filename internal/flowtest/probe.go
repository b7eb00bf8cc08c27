package flowtest

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Control is a flow that works: its datagrams push everything that was sent before them to where it goes.
type Control struct {
	from *Space
	to   netip.AddrPort
}

// Via is the control from a space to a server's UDP port.
func Via(from *Space, to netip.AddrPort) Control { return Control{from, to} }

// hops is more queues than any packet of a world passes between two namespaces: each round trip of a control empties one.
const hops = 6

// Settle sends the control's datagrams, each after the answer to the one before, and returns the mark of the last one. Then
// what was sent before has arrived, or never will.
func (c Control) Settle(t testing.TB) string {
	t.Helper()
	mark := ""
	for range hops {
		mark = NewMark()
		conn, err := Dial(c.from, "udp", c.to, mark)
		if err != nil {
			t.Fatalf("the control from %s to %s: %v", c.from.Name, c.to, err)
		}
		conn.SetDeadline(Deadline())
		_, err = ReadAnswer(conn, mark)
		conn.Close()
		if err != nil {
			t.Fatalf("the control from %s to %s is not answered: %v", c.from.Name, c.to, err)
		}
	}
	return mark
}

// Reaches asks, and ends the test unless this server answers.
func Reaches(t testing.TB, from *Space, proto string, to netip.AddrPort, server string) Answer {
	t.Helper()
	a, err := Ask(from, proto, to)
	if err != nil {
		t.Fatalf("%s does not reach %s/%s: %v", from.Name, to, proto, err)
	}
	if a.Server != server {
		t.Fatalf("%s asked %s/%s: %s answered, not %s", from.Name, to, proto, a.Server, server)
	}
	return a
}

// Lost tries a flow, and fails the test if its first packet arrives at the given port of a space. The control must arrive
// there.
func Lost(t testing.TB, from *Space, proto string, to netip.AddrPort, at *Space, port uint16, c Control) {
	t.Helper()
	o := Observe(t, at)
	a := Begin(from, proto, to)
	defer a.Close()
	mark := c.Settle(t)
	o.Until(t, "the control", Marked(mark))
	match := SynTo(port)
	if proto == "udp" {
		match = Marked(a.mark)
	}
	if f := o.Saw(match); a.err == nil && f != nil {
		t.Errorf("%s to %s/%s arrives in %s: % x", from.Name, to, proto, at.Name, f)
	}
	if a.Succeeded() {
		t.Errorf("%s to %s/%s is answered", from.Name, to, proto)
	}
}

// Unheard is lost for a destination that is the host itself, where an observer sees packets before they are filtered: the
// server must not hear them.
func Unheard(t testing.TB, from *Space, proto string, to netip.AddrPort, srv *Server, c Control) {
	t.Helper()
	a := Begin(from, proto, to)
	defer a.Close()
	c.Settle(t)
	if proto == "udp" && srv.Got(a.mark) || a.Succeeded() {
		t.Errorf("%s reaches %s/%s", from.Name, to, proto)
	}
}

// SynTo matches frames that open a TCP connection to a port.
func SynTo(port uint16) func([]byte) bool {
	const syn, ack = 0x02, 0x10
	return func(f []byte) bool {
		if len(f) < 14+40 {
			return false
		}
		segment := []byte(nil)
		switch kind, p := binary.BigEndian.Uint16(f[12:]), f[14:]; {
		case kind == unix.ETH_P_IP && p[9] == unix.IPPROTO_TCP:
			segment = p[int(p[0]&0xf)*4:]
		case kind == unix.ETH_P_IPV6 && p[6] == unix.IPPROTO_TCP:
			segment = p[40:]
		}
		return len(segment) >= 14 && binary.BigEndian.Uint16(segment[2:]) == port && segment[13]&(syn|ack) == syn
	}
}

// Ping sends an echo request, and waits for the reply.
func Ping(from *Space, to netip.Addr) error {
	family, proto, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	if to.Is6() {
		family, proto, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
	}
	return from.Do(func() error {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		wait := unix.NsecToTimeval(Patience.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		if err := unix.Sendto(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1}, 0, Sockaddr(netip.AddrPortFrom(to, 0))); err != nil {
			return err
		}
		_, _, err = unix.Recvfrom(fd, make([]byte, 64), 0)
		return err
	})
}
