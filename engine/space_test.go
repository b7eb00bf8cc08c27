package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/netns"
)

// patience is how long something that must happen may take on a busy machine; nothing that works waits for it.
const patience = 10 * time.Second

// space is a network namespace with a server on port 80 of TCP and UDP that says its name and whom it sees.
type space struct {
	t    testing.TB
	name string
	path string
	ns   *netns.NS
}

// newSpace opens the namespace at path.
func newSpace(t testing.TB, name, path string) space {
	t.Helper()
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	p := space{t, name, path, ns}
	p.run("ip link set lo up")
	return p
}

func (p space) run(words string) string {
	p.t.Helper()
	args := strings.Fields(words)
	return in(p.t, p.path, args[0], args[1:]...)
}

// do runs f in the namespace, on a thread whose packets arrive in the order of sending: all wait in the queue of the first CPU.
func (p space) do(f func() error) error {
	return p.ns.Do(func() error {
		var all, first unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			return err
		}
		for i := 0; first.Count() == 0; i++ {
			if all.IsSet(i) {
				first.Set(i)
			}
		}
		if err := unix.SchedSetaffinity(0, &first); err != nil {
			return err
		}
		return errors.Join(f(), unix.SchedSetaffinity(0, &all))
	})
}

func (p space) must(f func() error) {
	p.t.Helper()
	if err := p.do(f); err != nil {
		p.t.Fatalf("in %s: %v", p.name, err)
	}
}

func (p space) sysctl(path, value string) {
	p.t.Helper()
	p.must(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

// serve answers until the test ends.
func (p space) serve() {
	p.t.Helper()
	var tcp net.Listener
	var udp net.PacketConn
	p.must(func() (err error) {
		if tcp, err = net.Listen("tcp", ":80"); err != nil {
			return err
		}
		udp, err = net.ListenPacket("udp", ":80")
		return err
	})
	p.t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s\n", p.name, c.RemoteAddr())
			c.Close()
		}
	}()
	go func() {
		for buf := make([]byte, 2048); ; {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			udp.WriteTo(fmt.Appendf(nil, "%s %s\n", p.name, from), from)
		}
	}()
}

// ask connects, or sends a datagram with the text, and returns who answered and whom that one saw.
func (p space) ask(proto string, to netip.AddrPort, text string) (server string, saw netip.Addr, err error) {
	var c net.Conn
	err = p.do(func() (err error) {
		d := net.Dialer{Timeout: patience}
		if c, err = d.Dial(proto, to.String()); err == nil && proto == "udp" {
			_, err = c.Write([]byte(text))
		}
		return err
	})
	if err != nil {
		return "", saw, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", saw, err
	}
	server, from, _ := strings.Cut(strings.TrimSpace(line), " ")
	remote, err := netip.ParseAddrPort(from)
	return server, remote.Addr().Unmap(), err
}

// begin sends the first packet of a flow and does not wait for an answer; end closes its socket. The packet is one that match finds.
func (p space) begin(proto string, to netip.AddrPort) (match func(frame []byte) bool, end func(), err error) {
	mark := newMark()
	kind, match := unix.SOCK_STREAM, func(f []byte) bool { return isSYN(f, to.Addr().Is4()) }
	if proto == "udp" {
		kind, match = unix.SOCK_DGRAM, marked(mark)
	}
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	family := unix.AF_INET6
	if to.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	end = func() {}
	err = p.do(func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		end = func() { unix.Close(fd) }
		if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		if proto == "udp" {
			_, err = unix.Write(fd, []byte(mark))
		}
		return err
	})
	return match, end, err
}

// isSYN finds the first segment of a connection.
func isSYN(frame []byte, ipv4 bool) bool {
	const ethernet, syn, synACK = 14, 0x02, 0x12
	proto, header := ethernet+6, ethernet+40
	if ipv4 {
		proto, header = ethernet+9, ethernet+20
	}
	return len(frame) > header+13 && frame[proto] == unix.IPPROTO_TCP && frame[header+13]&synACK == syn
}

var lastMark atomic.Uint64

// newMark is a text that nothing else has in it.
func newMark() string { return fmt.Sprintf("<mark %d>", lastMark.Add(1)) }

func marked(mark string) func([]byte) bool {
	return func(frame []byte) bool { return bytes.Contains(frame, []byte(mark)) }
}

// observer sees what arrives at a space's eth0. It is open as long as the test: to close it waits for the kernel.
type observer struct {
	space
	fd int
}

func (p space) observe() observer {
	p.t.Helper()
	o := observer{p, -1}
	p.t.Cleanup(func() { unix.Close(o.fd) })
	p.must(func() (err error) {
		const all = unix.ETH_P_ALL << 8 // in network byte order: it is below 256
		if o.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return unix.Bind(o.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: eth0.Index})
	})
	return o
}

// saw says whether a frame came in that match finds. The datagrams of a control, which reaches the space at the address, push what
// was sent before them to where it goes: what has not arrived then never will.
func (o observer) saw(match func(frame []byte) bool, control space, at netip.Addr) bool {
	o.t.Helper()
	mark := newMark()
	const hops = 4 // each round trip empties one of the queues between two spaces
	for range hops {
		if server, _, err := control.ask("udp", netip.AddrPortFrom(at, 80), mark); err != nil || server != o.name {
			o.t.Fatalf("the control from %s to %s at %s: %q answered, %v", control.name, o.name, at, server, err)
		}
	}
	saw, sawControl := false, false
	o.each(func(frame []byte) {
		saw = saw || match(frame)
		sawControl = sawControl || marked(mark)(frame)
	})
	if !sawControl {
		o.t.Fatalf("the observer in %s does not see the control", o.name)
	}
	return saw
}

// each calls f with the frames that came in since the last call.
func (o observer) each(f func(frame []byte)) {
	o.t.Helper()
	for buf := make([]byte, 64<<10); ; {
		n, from, err := unix.Recvfrom(o.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			o.t.Fatal(err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			f(buf[:n])
		}
	}
}

// send writes frames to eth0.
func (p space) send(frames ...[]byte) {
	p.t.Helper()
	p.must(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Index}); err != nil {
				return err
			}
		}
		return nil
	})
}
