package flowtest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Answer is what a server said.
type Answer struct {
	Server string
	Source netip.AddrPort // as the server saw it
}

// Ask connects, or sends a datagram, and returns the server's answer. An error comes at once for a refusal, and after a
// long time for silence.
func Ask(from *Space, proto string, to netip.AddrPort) (Answer, error) {
	mark := ""
	if proto == "udp" {
		mark = NewMark()
	}
	c, err := Dial(from, proto, to, mark)
	if err != nil {
		return Answer{}, err
	}
	defer c.Close()
	c.SetDeadline(Deadline())
	return ReadAnswer(c, mark)
}

// ReadAnswer reads a server's first line on a TCP connection, or its datagram that repeats mark.
func ReadAnswer(c net.Conn, mark string) (Answer, error) {
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
		return Answer{}, err
	}
	words := append(strings.Fields(text), "")
	if len(words) < 3 || words[2] != mark {
		return Answer{}, fmt.Errorf("no answer to this question: %q", text)
	}
	source, err := netip.ParseAddrPort(words[1])
	return Answer{Server: words[0], Source: source}, err
}

// Dial opens a connection in the space and writes text to it, if any. The socket belongs to the space, and works from
// everywhere.
func Dial(from *Space, proto string, to netip.AddrPort, text string) (c net.Conn, err error) {
	err = from.Do(func() error {
		if err := OnFirstCPU(); err != nil {
			return err
		}
		d := net.Dialer{Timeout: Patience}
		if c, err = d.Dial(proto, to.String()); err != nil || text == "" {
			return err
		}
		_, err = c.Write([]byte(text))
		return err
	})
	return c, err
}

// Refused reports whether a port refuses TCP connections at once.
func Refused(from *Space, to netip.AddrPort) error {
	c, err := Dial(from, "tcp", to, "")
	if err == nil {
		c.Close()
		return fmt.Errorf("%s was not refused", to)
	}
	if !strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) {
		return fmt.Errorf("want a refusal: %w", err)
	}
	return nil
}

// Attempt is a connection that is being tried, or a datagram that was sent: it went out, or failed at once.
type Attempt struct {
	fd   int
	mark string
	err  error
}

// Begin sends the first packet of a flow, and does not wait. The caller closes the attempt.
func Begin(from *Space, proto string, to netip.AddrPort) (a Attempt) {
	a.fd = -1
	a.err = from.Do(func() error {
		if err := OnFirstCPU(); err != nil {
			return err
		}
		family, kind := unix.AF_INET, unix.SOCK_STREAM
		if to.Addr().Is6() {
			family = unix.AF_INET6
		}
		if proto == "udp" {
			kind = unix.SOCK_DGRAM
			a.mark = NewMark()
		}
		fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		a.fd = fd
		if err := unix.Connect(fd, Sockaddr(to)); err != nil && err != unix.EINPROGRESS {
			return err
		}
		if proto == "udp" {
			_, err = unix.Write(fd, []byte(a.mark))
		}
		return err
	})
	return a
}

// Sockaddr is an address as system calls want it.
func Sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// Succeeded reports whether the connection stands, or the datagram was answered.
func (a Attempt) Succeeded() bool {
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

// Close ends the attempt.
func (a Attempt) Close() {
	if a.fd >= 0 {
		unix.Close(a.fd)
	}
}

// Patience bounds every wait for something that must happen. It is long because it is only ever used up by a failure.
const Patience = 10 * time.Second

// Deadline is when a thing that must happen has not.
func Deadline() time.Time { return time.Now().Add(Patience) }
