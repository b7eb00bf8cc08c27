package test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// control is a flow that works: its datagrams push everything that was sent before them to where it goes.
type control struct {
	from *space
	to   netip.AddrPort
}

// hops is more queues than any packet of a world passes between two namespaces: each round trip of a control empties one.
const hops = 6

// settle sends the control's datagrams, each after the answer to the one before, and returns the mark of the last one. Then
// what was sent before has arrived, or never will.
func (c control) settle(t testing.TB) string {
	t.Helper()
	mark := ""
	for range hops {
		mark = newMark()
		conn, err := dial(c.from, "udp", c.to, mark)
		if err != nil {
			t.Fatalf("the control from %s to %s: %v", c.from.name, c.to, err)
		}
		conn.SetDeadline(deadline())
		_, err = readAnswer(conn, mark)
		conn.Close()
		if err != nil {
			t.Fatalf("the control from %s to %s is not answered: %v", c.from.name, c.to, err)
		}
	}
	return mark
}

// reaches asks, and ends the test unless this server answers.
func reaches(t testing.TB, from *space, proto string, to netip.AddrPort, server string) answer {
	t.Helper()
	a, err := ask(from, proto, to)
	if err != nil {
		t.Fatalf("%s does not reach %s/%s: %v", from.name, to, proto, err)
	}
	if a.server != server {
		t.Fatalf("%s asked %s/%s: %s answered, not %s", from.name, to, proto, a.server, server)
	}
	return a
}

// lost tries a flow, and fails the test if its first packet arrives at the given port of a space. The control must arrive
// there.
func lost(t testing.TB, from *space, proto string, to netip.AddrPort, at *space, port uint16, c control) {
	t.Helper()
	o := observe(t, at)
	a := begin(from, proto, to)
	defer a.close()
	mark := c.settle(t)
	o.until(t, "the control", marked(mark))
	match := synTo(port)
	if proto == "udp" {
		match = marked(a.mark)
	}
	if f := o.saw(match); a.err == nil && f != nil {
		t.Errorf("%s to %s/%s arrives in %s: % x", from.name, to, proto, at.name, f)
	}
	if a.succeeded() {
		t.Errorf("%s to %s/%s is answered", from.name, to, proto)
	}
}

// unheard is lost for a destination that is the host itself, where an observer sees packets before they are filtered: the
// server must not hear them.
func unheard(t testing.TB, from *space, proto string, to netip.AddrPort, srv *server, c control) {
	t.Helper()
	a := begin(from, proto, to)
	defer a.close()
	c.settle(t)
	if proto == "udp" && srv.got(a.mark) || a.succeeded() {
		t.Errorf("%s reaches %s/%s", from.name, to, proto)
	}
}

// synTo matches frames that open a TCP connection to a port.
func synTo(port uint16) func([]byte) bool {
	return func(f []byte) bool {
		if len(f) < 14+40 {
			return false
		}
		segment := []byte(nil)
		switch kind, p := binary.BigEndian.Uint16(f[12:]), f[14:]; {
		case kind == typeIPv4 && p[9] == protoTCP:
			segment = p[int(p[0]&0xf)*4:]
		case kind == typeIPv6 && p[6] == protoTCP:
			segment = p[40:]
		}
		return len(segment) >= 14 && binary.BigEndian.Uint16(segment[2:]) == port && segment[13]&(flagSYN|flagACK) == flagSYN
	}
}

// ping sends an echo request, and waits for the reply.
func ping(from *space, to netip.Addr) error {
	family, proto, request := unix.AF_INET, unix.IPPROTO_ICMP, byte(8)
	if to.Is6() {
		family, proto, request = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
	}
	return from.do(func() error {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		wait := unix.NsecToTimeval(patience.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		if err := unix.Sendto(fd, []byte{request, 0, 0, 0, 0, 0, 0, 1}, 0, sockaddr(netip.AddrPortFrom(to, 0))); err != nil {
			return err
		}
		_, _, err = unix.Recvfrom(fd, make([]byte, 64), 0)
		return err
	})
}
