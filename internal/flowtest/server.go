package flowtest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// Server answers on TCP and UDP ports of a space: with its name, and the source address that it saw.
type Server struct {
	name string

	mu   sync.Mutex
	seen map[string]netip.AddrPort // source of each datagram, by its text
	open []io.Closer
	wg   sync.WaitGroup
}

// Serve opens the ports of every address of the space.
func Serve(t testing.TB, s *Space, ports ...uint16) *Server {
	t.Helper()
	var at []netip.AddrPort
	for _, p := range ports {
		at = append(at, netip.AddrPortFrom(netip.IPv6Unspecified(), p))
	}
	return ServeAt(t, s, at...)
}

// ServeAt opens TCP and UDP ports of the space; :: stands for IPv4 too.
func ServeAt(t testing.TB, s *Space, at ...netip.AddrPort) *Server {
	t.Helper()
	srv := &Server{name: s.Name, seen: make(map[string]netip.AddrPort)}
	for _, ap := range at {
		var l net.Listener
		var p net.PacketConn
		suffix := "" // Go takes 0.0.0.0 for every address of both families
		if ap.Addr().Is4() {
			suffix = "4"
		}
		err := s.Do(func() (err error) {
			if l, err = net.Listen("tcp"+suffix, ap.String()); err != nil {
				return err
			}
			p, err = net.ListenPacket("udp"+suffix, ap.String())
			return err
		})
		if err != nil {
			t.Fatalf("cannot serve in %s: %v", s.Name, err)
		}
		srv.wg.Go(func() { srv.accept(l) })
		srv.wg.Go(func() { srv.receive(p.(*net.UDPConn)) })
		srv.open = append(srv.open, l, p)
	}
	t.Cleanup(srv.Close)
	return srv
}

// Close gives the ports back. It can be called twice.
func (s *Server) Close() {
	for _, c := range s.open {
		c.Close()
	}
}

func (s *Server) accept(l net.Listener) {
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

func (s *Server) receive(c *net.UDPConn) {
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

// Got reports whether a datagram with this text was received.
func (s *Server) Got(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[text]
	return ok
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// NewMark is a text that no other packet has in it.
func NewMark() string {
	var b [12]byte
	rand.Read(b[:])
	return "mark" + hex.EncodeToString(b[:])
}
