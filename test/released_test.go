package test

import (
	"net"
	"net/netip"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// free reports whether a process on the host could have the port.
func (w *world) free(proto string, at netip.AddrPort) bool {
	network := proto + "4"
	if at.Addr().Is6() {
		network = proto + "6"
	}
	err := w.host.Do(func() error {
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
	for end := flowtest.Deadline(); time.Now().Before(end); {
		if w.free(proto, at) {
			return true
		}
	}
	return false
}
