package flowtest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Wire is a packet socket: it writes frames to an interface of a space, or sees every frame that arrives in the space.
type Wire struct {
	Space *Space
	fd    int
	seen  [][]byte // what next has read so far
}

// htons is for AF_PACKET, which wants protocols in network byte order.
func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Observe sees every frame that arrives at any interface of the space from now on.
func Observe(t testing.TB, s *Space) *Wire {
	t.Helper()
	return openWire(t, s, unix.ETH_P_ALL, "")
}

// Injector writes frames to an interface of the space.
func Injector(t testing.TB, s *Space, link string) *Wire {
	t.Helper()
	return openWire(t, s, 0, link)
}

func openWire(t testing.TB, s *Space, proto uint16, link string) *Wire {
	t.Helper()
	w := &Wire{Space: s}
	err := s.Do(func() (err error) {
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		// Room for what nobody has read yet: marks must not be lost to a full queue.
		if err := unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return err
		}
		at := &unix.SockaddrLinklayer{Protocol: htons(proto)}
		if link != "" {
			if at.Ifindex, err = LinkIndex(link); err != nil {
				return err
			}
		}
		return unix.Bind(w.fd, at)
	})
	if err != nil {
		t.Fatalf("cannot open a packet socket in %s: %v", s.Name, err)
	}
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// LinkIndex is the index of an interface of the calling thread's namespace.
func LinkIndex(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return int(req.Uint32()), nil
}

// Send writes frames, on the CPU that every probe uses.
func (w *Wire) Send(t testing.TB, frames ...[]byte) {
	t.Helper()
	err := onNewThread(func() error {
		if err := OnFirstCPU(); err != nil {
			return err
		}
		for _, f := range frames {
			if _, err := unix.Write(w.fd, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("cannot send a frame from %s: %v", w.Space.Name, err)
	}
}

// ErrSilence is what next returns when nothing came.
var ErrSilence = errors.New("nothing arrived")

// Next is the Next frame that arrives within the time; frames that leave are skipped.
func (w *Wire) Next(within time.Duration) ([]byte, error) {
	deadline := time.Now().Add(within)
	buf := make([]byte, 64<<10)
	for {
		left := time.Until(deadline)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, max(0, int(left.Milliseconds())))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, ErrSilence
		}
		size, from, err := unix.Recvfrom(w.fd, buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		frame := bytes.Clone(buf[:size])
		w.seen = append(w.seen, frame)
		return frame, nil
	}
}

// Until reads Until a frame matches.
func (w *Wire) Until(t testing.TB, what string, match func([]byte) bool) {
	t.Helper()
	for _, f := range w.seen {
		if match(f) {
			return
		}
	}
	for {
		f, err := w.Next(Patience)
		if err != nil {
			t.Fatalf("%s did not arrive in %s: %v", what, w.Space.Name, err)
		}
		if match(f) {
			return
		}
	}
}

// Saw returns the first frame among those read so far, and those that wait, that matches.
func (w *Wire) Saw(match func([]byte) bool) []byte {
	for {
		if _, err := w.Next(0); err != nil {
			break
		}
	}
	for _, f := range w.seen {
		if match(f) {
			return f
		}
	}
	return nil
}

// Marked matches frames with a mark in them.
func Marked(mark string) func([]byte) bool {
	return func(f []byte) bool { return bytes.Contains(f, []byte(mark)) }
}
