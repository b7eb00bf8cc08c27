package dockerengine

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// traffic are connections that must not end, and what must work all the time: through a published port, and out of a container.
type traffic struct {
	w        *world
	in       map[netip.Addr]*flowtest.Echo
	out      map[netip.Addr]*flowtest.Echo
	server   string // who answers on port 8080 of the host
	outwards container
}

// traffic begins connections of both families to a container's port 80, which port 8080 of the host is, and from it to the LAN.
func (w *world) traffic(t testing.TB, c container) *traffic {
	t.Helper()
	flowtest.Serve(t, c.Space, 80)
	tr := &traffic{w: w, in: make(map[netip.Addr]*flowtest.Echo), out: make(map[netip.Addr]*flowtest.Echo), server: c.Name, outwards: c}
	for _, f := range families {
		tr.in[f] = flowtest.OpenEcho(t, w.lan, netip.AddrPortFrom(pick(f, host4, host6), 8080))
		tr.out[f] = flowtest.OpenEcho(t, c.Space, netip.AddrPortFrom(pick(f, lan4, lan6), 80))
	}
	return tr
}

// goesOn checks that the connections are still there, and that new ones can be made.
func (tr *traffic) goesOn(t testing.TB) {
	t.Helper()
	for _, f := range families {
		tr.in[f].Say(t, "still there?")
		tr.out[f].Say(t, "still there?")
		for _, proto := range []string{"tcp", "udp"} {
			flowtest.Reaches(t, tr.w.lan, proto, netip.AddrPortFrom(pick(f, host4, host6), 8080), tr.server)
			flowtest.Reaches(t, tr.outwards.Space, proto, netip.AddrPortFrom(pick(f, lan4, lan6), 80), "lan")
		}
	}
}

// lossless asks all the time for a datagram to go in and come back, in both families, while f runs: none may be lost. A lost one is known by
// the answer to a later one of the same socket.
func (tr *traffic) lossless(t testing.TB, f func()) {
	t.Helper()
	ended, done := make(chan struct{}), make(chan int, len(families))
	for _, family := range families {
		go func() {
			n, err := flowtest.Volley(tr.w.lan, netip.AddrPortFrom(pick(family, host4, host6), 8080), ended)
			if err != nil {
				t.Errorf("after %d datagrams: %v", n, err)
			}
			done <- n
		}()
	}
	f()
	close(ended)
	for range families {
		if n := <-done; n == 0 {
			t.Error("no datagram was sent")
		}
	}
}
