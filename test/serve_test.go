package test

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// server answers on TCP and UDP ports of a space: with its name, and the source address that it saw.
type server struct {
	name string

	mu   sync.Mutex
	seen map[string]netip.AddrPort // source of each datagram, by its text
	open []io.Closer
	wg   sync.WaitGroup
}

// answer is what a server said.
type answer struct {
	server string
	source netip.AddrPort // as the server saw it
}

// serve opens the ports of every address of the space.
func serve(t testing.TB, s *space, ports ...uint16) *server {
	t.Helper()
	var at []netip.AddrPort
	for _, p := range ports {
		at = append(at, netip.AddrPortFrom(netip.IPv6Unspecified(), p))
	}
	return serveAt(t, s, at...)
}

// serveAt opens TCP and UDP ports of the space; :: stands for IPv4 too.
func serveAt(t testing.TB, s *space, at ...netip.AddrPort) *server {
	t.Helper()
	srv := &server{name: s.name, seen: make(map[string]netip.AddrPort)}
	for _, ap := range at {
		var l net.Listener
		var p net.PacketConn
		suffix := "" // Go takes 0.0.0.0 for every address of both families
		if ap.Addr().Is4() {
			suffix = "4"
		}
		err := s.do(func() (err error) {
			if l, err = net.Listen("tcp"+suffix, ap.String()); err != nil {
				return err
			}
			p, err = net.ListenPacket("udp"+suffix, ap.String())
			return err
		})
		if err != nil {
			t.Fatalf("cannot serve in %s: %v", s.name, err)
		}
		srv.wg.Go(func() { srv.accept(l) })
		srv.wg.Go(func() { srv.receive(p.(*net.UDPConn)) })
		srv.open = append(srv.open, l, p)
	}
	t.Cleanup(srv.close)
	return srv
}

// close gives the ports back. It can be called twice.
func (s *server) close() {
	for _, c := range s.open {
		c.Close()
	}
}

func (s *server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer c.Close()
			src := c.RemoteAddr().(*net.TCPAddr).AddrPort()
			fmt.Fprintf(c, "%s %s\n", s.name, unmap(src))
			io.Copy(c, c) // an echo from here on
		})
	}
}

func (s *server) receive(c *net.UDPConn) {
	buf := make([]byte, 64<<10)
	for {
		n, src, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen[string(buf[:n])] = unmap(src)
		s.mu.Unlock()
		c.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s %s", s.name, unmap(src), buf[:n]), src)
	}
}

// got reports whether a datagram with this text was received.
func (s *server) got(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[text]
	return ok
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// newMark is a text that no other packet has in it.
func newMark() string {
	var b [12]byte
	rand.Read(b[:])
	return "mark" + hex.EncodeToString(b[:])
}

// ask connects, or sends a datagram, and returns the server's answer. An error comes at once for a refusal, and after a
// long time for silence.
func ask(from *space, proto string, to netip.AddrPort) (answer, error) {
	mark := ""
	if proto == "udp" {
		mark = newMark()
	}
	c, err := dial(from, proto, to, mark)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	c.SetDeadline(deadline())
	return readAnswer(c, mark)
}

// readAnswer reads a server's first line on a TCP connection, or its datagram that repeats mark.
func readAnswer(c net.Conn, mark string) (answer, error) {
	var text string
	var err error
	if mark == "" {
		text, err = bufio.NewReader(c).ReadString('\n')
	} else {
		buf := make([]byte, 1024)
		var n int
		n, err = c.Read(buf)
		text = string(buf[:n])
	}
	if err != nil {
		return answer{}, err
	}
	words := append(strings.Fields(text), "")
	if len(words) < 3 || words[2] != mark {
		return answer{}, fmt.Errorf("no answer to this question: %q", text)
	}
	source, err := netip.ParseAddrPort(words[1])
	return answer{server: words[0], source: source}, err
}

// dial opens a connection in the space and writes text to it, if any. The socket belongs to the space, and works from
// everywhere.
func dial(from *space, proto string, to netip.AddrPort, text string) (c net.Conn, err error) {
	err = from.do(func() error {
		if err := onFirstCPU(); err != nil {
			return err
		}
		d := net.Dialer{Timeout: patience}
		if c, err = d.Dial(proto, to.String()); err != nil || text == "" {
			return err
		}
		_, err = c.Write([]byte(text))
		return err
	})
	return c, err
}

// refused reports whether a port refuses TCP connections at once.
func refused(from *space, to netip.AddrPort) error {
	c, err := dial(from, "tcp", to, "")
	if err == nil {
		c.Close()
		return fmt.Errorf("%s was not refused", to)
	}
	if !strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) {
		return fmt.Errorf("want a refusal: %w", err)
	}
	return nil
}

// attempt is a connection that is being tried, or a datagram that was sent: it went out, or failed at once.
type attempt struct {
	fd   int
	mark string
	err  error
}

// begin sends the first packet of a flow, and does not wait. The caller closes the attempt.
func begin(from *space, proto string, to netip.AddrPort) (a attempt) {
	a.fd = -1
	a.err = from.do(func() error {
		if err := onFirstCPU(); err != nil {
			return err
		}
		family, kind := unix.AF_INET, unix.SOCK_STREAM
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		if proto == "udp" {
			kind = unix.SOCK_DGRAM
			a.mark = newMark()
		}
		fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		a.fd = fd
		if err := unix.Connect(fd, sockaddr(to)); err != nil && err != unix.EINPROGRESS {
			return err
		}
		if proto == "udp" {
			_, err = unix.Write(fd, []byte(a.mark))
		}
		return err
	})
	return a
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// succeeded reports whether the connection stands, or the datagram was answered.
func (a attempt) succeeded() bool {
	if a.fd < 0 || a.err != nil {
		return false
	}
	if a.mark != "" {
		n, err := unix.Read(a.fd, make([]byte, 1024))
		return err == nil && n > 0
	}
	_, err := unix.Getpeername(a.fd)
	return err == nil
}

func (a attempt) close() {
	if a.fd >= 0 {
		unix.Close(a.fd)
	}
}

// deadline is when a thing that must happen has not.
func deadline() time.Time { return time.Now().Add(patience) }

// free reports whether a process on the host could have the port.
func (w *world) free(proto string, at netip.AddrPort) bool {
	network := proto + "4"
	if at.Addr().Is6() {
		network = proto + "6"
	}
	err := w.host.do(func() error {
		if proto == "tcp" {
			l, err := net.Listen(network, at.String())
			if err == nil {
				l.Close()
			}
			return err
		}
		p, err := net.ListenPacket(network, at.String())
		if err == nil {
			p.Close()
		}
		return err
	})
	return err == nil
}

// released waits until a process on the host can have the port. A reservation ends behind the answer, when conntrack has
// forgotten the port's flows; nothing but a try tells.
func (w *world) released(proto string, at netip.AddrPort) bool {
	for end := deadline(); time.Now().Before(end); {
		if w.free(proto, at) {
			return true
		}
	}
	return false
}
