package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/bridged/bridged"
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

// listenPacket opens a UDP socket in the namespace.
func (s *space) listenPacket(port uint16) (c net.PacketConn, err error) {
	err = s.do(func() error {
		c, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	})
	return c, err
}

// answers has the namespace tell a word to whoever asks at this port, until what it returns is closed.
func (s *space) answers(proto bridged.Proto, port uint16, word string) (io.Closer, error) {
	if proto == bridged.UDP {
		c, err := s.listenPacket(port)
		if err != nil {
			return nil, err
		}
		go func() {
			question := make([]byte, 64)
			for {
				_, from, err := c.ReadFrom(question)
				if err != nil {
					return // closed
				}
				_, _ = c.WriteTo([]byte(word), from) // the reader says so if it did not come
			}
		}()
		return c, nil
	}
	l, err := s.listen(port)
	if err != nil {
		return nil, err
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return // closed: nobody came
		}
		defer c.Close()
		_, _ = io.WriteString(c, word) // the reader says so if it did not come
	}()
	return l, nil
}

// ask is what is heard at this port of the host.
func (s *space) ask(proto bridged.Proto, port uint16) (word string, err error) {
	var c net.Conn
	to := netip.AddrPortFrom(hostAddr.Addr(), port)
	err = s.do(func() error {
		c, err = (&net.Dialer{Timeout: patience}).Dial(proto.String()+"4", to.String())
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	heard := make([]byte, 64)
	if proto == bridged.UDP {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
	}
	n, err := c.Read(heard)
	return string(heard[:n]), err
}

// reaches says whether what the client sends to this port of the host arrives at the same port of a container: what that answers must come back.
func (w *world) reaches(container *space, port uint16) error {
	l, err := container.answers(w.proto, port, container.name)
	if err != nil {
		return err
	}
	defer l.Close()
	heard, err := w.client.ask(w.proto, port)
	if err != nil {
		return fmt.Errorf("published port %d/%v can't be reached: %w", port, w.proto, err)
	}
	if heard != container.name {
		return fmt.Errorf("published port %d/%v leads to %q", port, w.proto, heard)
	}
	return nil
}

// refuses says whether nothing answers at this port of the host although the container listens there.
func (w *world) refuses(port uint16) error {
	l, err := w.container.answers(w.proto, port, w.container.name)
	if err != nil {
		return err
	}
	defer l.Close()
	_, err = w.client.ask(w.proto, port)
	if err == nil {
		return fmt.Errorf("port %d/%v is not published and can be reached", port, w.proto)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("port %d/%v is not published and not refused: %w", port, w.proto, err)
	}
	return nil
}
