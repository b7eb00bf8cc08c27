package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// What a specification publishes, as `port ls` shows it.
func TestPortSpecifications(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.create("c1")
	for _, c := range []struct {
		spec string
		want []string
	}{
		{"8080:80", []string{"80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"}},
		{"8080:80/tcp", []string{"80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"}},
		{"8080:80/udp", []string{"80/udp -> 0.0.0.0:8080", "80/udp -> [::]:8080"}},
		{"0.0.0.0:8080:80", []string{"80/tcp -> 0.0.0.0:8080"}},
		{"[::]:8080:80", []string{"80/tcp -> [::]:8080"}},
		{"192.0.2.1:8080:80", []string{"80/tcp -> 192.0.2.1:8080"}},
		{"[2001:db8:1::1]:8080:80", []string{"80/tcp -> [2001:db8:1::1]:8080"}},
		{"127.0.0.2:8080:80", []string{"80/tcp -> 127.0.0.2:8080"}},
		{"127.0.0.1:7000-7001:80-81/udp", []string{"80/udp -> 127.0.0.1:7000", "81/udp -> 127.0.0.1:7001"}},
		{"7000-7001:80-81", []string{"80/tcp -> 0.0.0.0:7000", "80/tcp -> [::]:7000", "81/tcp -> 0.0.0.0:7001", "81/tcp -> [::]:7001"}},
	} {
		before := w.filter()
		w.bridged("port", "add", "c1", c.spec)
		got := lines(w.bridged("port", "ls", "c1"))
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s publishes %q, want %q", c.spec, got, c.want)
		}
		for _, p := range decode[[]portJSON](w, "port", "ls", "--json") {
			if err := w.reserved(p); err != nil {
				t.Errorf("%s: %v", c.spec, err)
			}
		}
		w.bridged("port", "rm", "c1", c.spec)
		if got := w.bridged("port", "ls"); got != "" {
			t.Errorf("after port rm %s there is %s", c.spec, got)
		}
		same(t, c.spec+" and back", before, w.filter())
	}
	for _, p := range []string{"8080", "7000", "7001"} {
		for _, proto := range []string{"tcp", "udp"} {
			for _, ip := range []string{"0.0.0.0:", "[::]:"} {
				if !w.released(proto, netip.MustParseAddrPort(ip+p)) {
					t.Errorf("%s%s/%s is still reserved", ip, p, proto)
				}
			}
		}
	}
	w.settled()
}

// A port that is left to be chosen: one number for both families, of the ephemeral range, and never one that is taken.
func TestChosenPorts(t *testing.T) {
	w := newWorld(t)
	w.host.Sysctl(t, "net/ipv4/ip_local_port_range", "40000 40005")
	w.host.Sysctl(t, "net/ipv4/ip_local_reserved_ports", "40002")
	flowtest.ServeAt(t, w.host, netip.MustParseAddrPort("[::1]:40003")) // keeps the wildcard from being reserved
	w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "80", "-p", "81", "-p", "82", "-p", "83")
	flowtest.Serve(t, m.Space, 80, 81, 82, 83)
	var chosen []string
	for spec, bindings := range w.inspect("c1").Ports {
		if len(bindings) != 2 || bindings[0].HostPort != bindings[1].HostPort {
			t.Errorf("%s has %v", spec, bindings)
		}
		chosen = append(chosen, bindings[0].HostPort)
		port, _ := strconv.Atoi(bindings[0].HostPort)
		for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
			flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, uint16(port)), "c1")
		}
	}
	slices.Sort(chosen)
	if !slices.Equal(chosen, []string{"40000", "40001", "40004", "40005"}) {
		t.Errorf("chosen were %v", chosen)
	}
	w.create("c2")
	r := w.try("port", "add", "c2", "80")
	if r.code == 0 {
		t.Errorf("a fifth port of four: %v", r)
	}
	// Of a range, the one that is free.
	w.bridged("port", "add", "c2", "40005-40007:80")
	if got := w.inspect("c2").Ports["80/tcp"]; len(got) != 2 || got[0].HostPort != "40006" {
		t.Errorf("of 40005-40007 was chosen %v", got)
	}
	w.consistent(t)
}

// Where a port is published: on all addresses of a family, or on one.
func TestHostAddresses(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "192.0.2.1:8001:80", "-p", "[2001:db8:1::1]:8001:80",
		"-p", "0.0.0.0:8002:80", "-p", "[::]:8003:80", "-p", "8004:80", "-p", "8004:80/udp")
	flowtest.Serve(t, m.Space, 80)
	far4Side, far6Side := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:2::1")
	for _, c := range []struct {
		to   netip.Addr
		port uint16
		want bool
	}{
		{hostLAN4, 8001, true}, {hostLAN6, 8001, true}, {far4Side, 8001, false}, {far6Side, 8001, false},
		{hostLAN4, 8002, true}, {far4Side, 8002, true}, {hostLAN6, 8002, false},
		{hostLAN6, 8003, true}, {far6Side, 8003, true}, {hostLAN4, 8003, false},
	} {
		to := netip.AddrPortFrom(c.to, c.port)
		if c.want {
			flowtest.Reaches(t, w.lan, "tcp", to, "c1")
		} else if err := flowtest.Refused(w.lan, to); err != nil {
			t.Error(err)
		}
	}
	// A new address of the host is served at once.
	w.host.IP(t, "addr add 192.0.2.77/24 dev lan0")
	flowtest.Reaches(t, w.lan, "tcp", netip.MustParseAddrPort("192.0.2.77:8004"), "c1")
}

// The flag for the host address of ports that name none.
func TestDefaultHostAddress(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6", "--ip", "192.0.2.1")
	w.create("-p", "8080:80", "c1")
	if got := w.bridged("port", "ls", "c1"); got != "80/tcp -> 192.0.2.1:8080" {
		t.Errorf("got %q", got)
	}
}

// Ports of ours that exclude one another.
func TestPortConflicts(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.create("c1")
	w.create("c2")
	for _, c := range []struct {
		first, second string
		conflict      bool
	}{
		{"8080:80", "8080:80", true},
		{"8080:80", "8080:81", true},
		{"8080:80", "192.0.2.1:8080:80", true},
		{"192.0.2.1:8080:80", "8080:80", true},
		{"127.0.0.2:8080:80", "0.0.0.0:8080:80", true},
		{"[::]:8080:80", "[2001:db8:1::1]:8080:80", true},
		{"8079-8081:80-82", "8081:80", true},
		{"8080:80", "8080:80/udp", false},
		{"0.0.0.0:8080:80", "[::]:8080:80", false},
		{"192.0.2.1:8080:80", "127.0.0.2:8080:80", false},
		{"8080:80", "8081:80", false},
	} {
		w.bridged("port", "add", "c1", c.first)
		before := w.filter()
		r := w.try("port", "add", "c2", c.second)
		if conflict := r.code == 4; conflict != c.conflict || !conflict && r.code != 0 {
			t.Errorf("%s, then: %v", c.first, r)
		}
		if c.conflict {
			if !strings.Contains(r.stderr, "port is already allocated") {
				t.Errorf("no explanation: %v", r)
			}
			same(t, "a conflict", before, w.filter())
		} else {
			w.bridged("port", "rm", "c2", c.second)
		}
		w.bridged("port", "rm", "c1", c.first)
	}
	// The sandbox's own ports are no exception, and of several ports none is published.
	r := w.try("sandbox", "create", "-p", "8080:80", "-p", "8081:81", "-p", "8080:82", "c3")
	if r.code == 0 {
		t.Errorf("twice the same port: %v", r)
	}
	w.consistent(t)
}

// A process of the host holds the port: it is refused, with what holds it; and a published port is refused to processes.
func TestPortReservation(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	srv := flowtest.ServeAt(t, w.host, netip.MustParseAddrPort("0.0.0.0:8080"))
	for _, spec := range []string{"8080:80", "8080:80/udp", "192.0.2.1:8080:80", "0.0.0.0:8080:80"} {
		r := w.try("sandbox", "create", "-p", spec, "c1")
		if r.code != 4 || !strings.Contains(r.stderr, "8080") {
			t.Errorf("%s is taken: %v", spec, r)
		}
		if !strings.Contains(r.stderr, fmt.Sprint(os.Getpid())) {
			t.Errorf("the message does not say that process %d has it: %v", os.Getpid(), r)
		}
		w.consistent(t)
	}
	w.create("-p", "[::]:8080:80", "c1") // the other family is free
	w.bridged("sandbox", "rm", "c1")
	srv.Close()
	w.create("-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.2:81:81", "c1")
	for _, p := range decode[[]portJSON](w, "port", "ls", "--json") {
		if err := w.reserved(p); err != nil {
			t.Error(err)
		}
	}
	if !w.free("tcp", netip.MustParseAddrPort("127.0.0.1:81")) {
		t.Error("a port of 127.0.0.2 is reserved on 127.0.0.1 too")
	}
	w.bridged("sandbox", "rm", "c1")
	for _, proto := range []string{"tcp", "udp"} {
		for _, at := range []string{"0.0.0.0:8080", "[::]:8080", "127.0.0.2:81"} {
			if !w.released(proto, netip.MustParseAddrPort(at)) {
				t.Errorf("%s/%s is still reserved", at, proto)
			}
		}
	}
}

// A port that a process took while the daemon was down stays published, with a warning.
func TestPortTakenMeanwhile(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "8080:80")
	flowtest.Serve(t, m.Space, 80)
	d.Kill()
	flowtest.ServeAt(t, w.host, netip.MustParseAddrPort("0.0.0.0:8080"))
	w.daemon("--ipv6")
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1")
	s := decode[statusJSON](w, "status", "--json")
	if !slices.ContainsFunc(s.Warnings, func(text string) bool { return strings.Contains(text, "8080") }) {
		t.Errorf("no warning in %+v", s)
	}
	w.settled()
}

// talker is a UDP client that keeps its source port.
type talker struct{ conn net.Conn }

func newTalker(t testing.TB, from *flowtest.Space, to netip.AddrPort) talker {
	t.Helper()
	c, err := flowtest.Dial(from, "udp", to, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return talker{c}
}

// ask sends datagrams as a client does that repeats its question, until this server answers.
func (c talker) ask(t testing.TB, want string) {
	t.Helper()
	var last string
	for end := flowtest.Deadline(); time.Now().Before(end); {
		mark := flowtest.NewMark()
		if _, err := c.conn.Write([]byte(mark)); err != nil {
			last = err.Error()
			continue
		}
		c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		a, err := flowtest.ReadAnswer(c.conn, mark)
		if err == nil && a.Server == want {
			return
		}
		last = fmt.Sprint(a.Server, err)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			// A refusal comes at once: let the next question wait for as long as an answer would.
			c.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			flowtest.ReadAnswer(c.conn, mark)
		}
	}
	t.Errorf("%s does not answer %s: %s", want, c.conn.LocalAddr(), last)
}

// A UDP flow that conntrack knows follows the publication: from nowhere to a sandbox, to another one, and back to the host.
func TestKnownFlows(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	flowtest.Serve(t, w.create("c1"), 53)
	flowtest.Serve(t, w.create("c2"), 53)
	var clients []talker
	for _, from := range []*flowtest.Space{w.lan, w.host} {
		for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
			c := newTalker(t, from, netip.AddrPortFrom(host, 5353))
			c.conn.Write([]byte("is anybody there?"))
			clients = append(clients, c)
		}
	}
	for _, step := range [][]string{{"add", "c1"}, {"rm", "c1"}, {"add", "c2"}, {"rm", "c2"}} {
		w.bridged("port", step[0], step[1], "5353:53/udp")
		if step[0] == "add" {
			for _, c := range clients {
				c.ask(t, step[1])
			}
		}
	}
	for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
		w.released("udp", netip.AddrPortFrom(host, 5353))
		flowtest.ServeAt(t, w.host, netip.AddrPortFrom(host, 5353))
	}
	for _, c := range clients {
		c.ask(t, "host")
	}
}

// Removing a sandbox cuts its UDP flows: the port's next owner gets them.
func TestKnownFlowsOfARemovedSandbox(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	flowtest.Serve(t, w.create("-p", "5353:53/udp", "c1"), 53)
	c := newTalker(t, w.lan, netip.AddrPortFrom(hostLAN4, 5353))
	c.ask(t, "c1")
	w.bridged("sandbox", "rm", "c1")
	flowtest.Serve(t, w.create("-p", "5353:53/udp", "c2"), 53)
	c.ask(t, "c2")
}

// Many ports at once.
func TestPortRange(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "20000-20999:10000-10999")
	flowtest.Serve(t, m.Space, 10000, 10500, 10999)
	for _, p := range []uint16{20000, 20500, 20999} {
		for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
			flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, p), "c1")
		}
	}
	if n := len(decode[[]portJSON](w, "port", "ls", "--json")); n != 2000 {
		t.Errorf("%d ports", n)
	}
	w.consistent(t)
	w.bridged("sandbox", "rm", "c1")
	w.consistent(t)
}

// Publishing SCTP: the kernel of this machine may not speak it, the packet filter does.
func TestSCTP(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "9900:80/sctp")
	if got := lines(w.bridged("port", "ls", "c1")); !slices.Equal(got, []string{"80/sctp -> 0.0.0.0:9900", "80/sctp -> [::]:9900"}) {
		t.Errorf("published: %q", got)
	}
	o, in := flowtest.Observe(t, m.Space), flowtest.Injector(t, w.lan, "eth0")
	src, dst := mustMAC(linksOf(t, w.lan)["eth0"].Address), mustMAC(linksOf(t, w.host)["lan0"].Address)
	for _, f := range families {
		from, to := pick(f, lan4, lan6), pick(f, hostLAN4, hostLAN6)
		in.Send(t, ethernet(src, dst, typeOf(f), packet(from, to, 132, sctpInit(40000, 9900))))
		o.Until(t, "an INIT", func(b []byte) bool {
			header := 14 + 40
			if f.Is4() {
				header = 14 + 20
			}
			return len(b) > header+4 && binary.BigEndian.Uint16(b[12:]) == typeOf(f) && binary.BigEndian.Uint16(b[header+2:]) == 80 &&
				(f.Is4() && b[14+9] == 132 || f.Is6() && b[14+6] == 132)
		})
	}
	w.settled()
}

// sctpInit is an SCTP packet that opens an association (RFC 9260, 3.3.2).
func sctpInit(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, make([]byte, 8)...)        // verification tag, checksum
	b = append(b, 1, 0, 0, 20, 1, 2, 3, 4)   // INIT, initiate tag
	b = append(b, 0, 0, 0x20, 0, 0, 1, 0, 1) // window, streams
	b = append(b, 1, 2, 3, 4)                // first TSN
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[8:], sum)
	return b
}
