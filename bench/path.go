package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// path is the way of packets from a world's client to its container.
type path struct {
	w    *world
	to   netip.Addr // whom the client asks
	port uint16
}

// connections makes n TCP connections, one after the other, and resets each.
func (p path) connections(n int, s samples) error {
	l, err := p.w.container.listen(p.port)
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			c.Close()
		}
	}()
	to := &unix.SockaddrInet4{Addr: p.to.As4(), Port: int(p.port)}
	return p.measured(connections, n, s, func() error {
		fd, err := p.w.client.socket(unix.SOCK_STREAM)
		if err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), connect(fd, to), unix.Close(fd))
	})
}

// flows sends one datagram in each of n new flows, and waits for its echo.
func (p path) flows(n int, s samples) error {
	echo, err := p.w.container.listenPacket(p.port)
	if err != nil {
		return err
	}
	defer echo.Close()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := echo.ReadFrom(buffer)
			if err != nil {
				return // closed
			}
			_, _ = echo.WriteTo(buffer[:n], from) // whoever waits for it says so
		}
	}()
	to := &unix.SockaddrInet4{Addr: p.to.As4(), Port: int(p.port)}
	word := []byte("x")
	return p.measured(flows, n, s, func() error {
		fd, err := p.w.client.socket(unix.SOCK_DGRAM)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := connect(fd, to); err != nil {
			return err
		}
		if _, err := unix.Write(fd, word); err != nil {
			return err
		}
		n, err := receive(fd, make([]byte, len(word)+1))
		if err == nil && n != len(word) {
			err = fmt.Errorf("%d bytes came back", n)
		}
		return err
	})
}

// measured makes n operations in the client's namespace, and forgets the connections.
func (p path) measured(workload string, n int, s samples, do op) error {
	start := time.Now()
	err := p.w.client.visit(func() error {
		for range n {
			if err := s.time(workload, do); err != nil {
				return fmt.Errorf("%s:%d: %w", p.to, p.port, err)
			}
		}
		return nil
	})
	s.wall[workload] += time.Since(start)
	return errors.Join(err, p.forget())
}

// stream sends so much over one connection, n times.
func (p path) stream(n int, s samples) error {
	l, err := p.w.container.listen(p.port)
	if err != nil {
		return err
	}
	defer l.Close()
	go acknowledge(l)
	c, err := p.w.client.dial(netip.AddrPortFrom(p.to, p.port))
	if err != nil {
		return err
	}
	defer c.Close()
	data, answer := make([]byte, 256<<10), make([]byte, 1)
	start := time.Now()
	for range n {
		err := s.time(stream, func() error {
			for sent := 0; sent < streamed; sent += len(data) {
				if _, err := c.Write(data); err != nil {
					return err
				}
			}
			_, err := io.ReadFull(c, answer)
			return err
		})
		if err != nil {
			return err
		}
	}
	s.wall[stream] += time.Since(start)
	return p.forget()
}

// acknowledge answers each so much of a connection's stream with a byte.
func acknowledge(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return // closed
	}
	defer c.Close()
	data := make([]byte, 256<<10)
	for {
		if _, err := io.ReadFull(c, data); err != nil {
			return
		}
		for got := len(data); got < streamed; got += len(data) {
			if _, err := io.ReadFull(c, data); err != nil {
				return
			}
		}
		if _, err := c.Write(data[:1]); err != nil {
			return
		}
	}
}

// forget empties the host's table of connections, which would make later ones slower, or be found by them.
func (p path) forget() error {
	return p.w.host.do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
}

// connect connects. The runtime's signals interrupt calls on sockets that have a time-out; the connection goes on.
func connect(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	for errors.Is(err, unix.EINTR) {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(patience.Milliseconds()))
		if err != nil {
			continue
		}
		failed, optErr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if failed != 0 {
			return unix.Errno(failed)
		}
		if _, err := unix.Getpeername(fd); err != nil {
			return unix.ETIMEDOUT
		}
		return optErr
	}
	return err
}

// receive reads.
func receive(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// socket opens an IPv4 socket in the namespace that the calling thread is in, which waits no longer than it must.
func (s *space) socket(kind int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	return fd, errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout))
}
