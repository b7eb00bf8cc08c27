package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// patience bounds the wait for a packet that must come. It is long, because only a failure uses it up.
const patience = 5 * time.Second

// listen opens a TCP socket in the namespace.
func (s *space) listen(port uint16) (l net.Listener, err error) {
	err = s.do(func() error {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	return l, err
}

// dial connects from the namespace.
func (s *space) dial(to netip.AddrPort) (c net.Conn, err error) {
	err = s.do(func() error {
		c, err = (&net.Dialer{Timeout: patience}).Dial("tcp4", to.String())
		return err
	})
	return c, err
}

// reaches says whether the client's connection to this port of the host arrives at the same port of a container: what that sends must come
// back.
func (w *world) reaches(container *space, port uint16) error {
	l, err := container.listen(port)
	if err != nil {
		return err
	}
	defer l.Close()
	word := container.name
	go func() {
		c, err := l.Accept()
		if err != nil {
			return // closed: nobody came
		}
		defer c.Close()
		_, _ = io.WriteString(c, word) // the reader says so if it did not come
	}()
	c, err := w.client.dial(netip.AddrPortFrom(hostAddr.Addr(), port))
	if err != nil {
		return fmt.Errorf("published port %d can't be reached: %w", port, err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	heard, err := io.ReadAll(c)
	if err != nil || string(heard) != word {
		return fmt.Errorf("published port %d leads to %q: %w", port, heard, err)
	}
	return nil
}

// refuses says whether nothing answers at this port of the host although the container listens there.
func (w *world) refuses(port uint16) error {
	l, err := w.container.listen(port)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := w.client.dial(netip.AddrPortFrom(hostAddr.Addr(), port))
	if err == nil {
		c.Close()
		return fmt.Errorf("port %d is not published and can be reached", port)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("port %d is not published and not refused: %w", port, err)
	}
	return nil
}
