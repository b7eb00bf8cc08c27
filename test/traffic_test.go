package test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// What must go on working beside all that is forbidden: large datagrams, a smaller MTU on the way, ping, and much of it.
func TestTraffic(t *testing.T) {
	for _, nf := range []bool{false, true} {
		t.Run(fmt.Sprintf("nf=%t", nf), func(t *testing.T) {
			w := newWorld(t)
			w.bridgeNetfilter(nf)
			w.daemon("--ipv6")
			c1, c2 := w.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp"), w.member("c2", "bridge")
			flowtest.Serve(t, c1.Space, 80)
			flowtest.Serve(t, w.lan, 80)
			for _, f := range families {
				host, lan := pick(f, hostLAN4, hostLAN6), pick(f, lan4, lan6)
				for _, flow := range []struct {
					from *flowtest.Space
					to   netip.AddrPort
				}{
					{w.lan, netip.AddrPortFrom(host, 8080)},
					{c2.Space, netip.AddrPortFrom(host, 8080)},
					{c1.Space, netip.AddrPortFrom(host, 8080)},
					{c2.Space, netip.AddrPortFrom(c1.addr(f), 80)},
					{c2.Space, netip.AddrPortFrom(lan, 80)},
					{w.host, netip.AddrPortFrom(c1.addr(f), 80)},
				} {
					largeDatagram(t, flow.from, flow.to)
					bulk(t, flow.from, flow.to)
				}
				w.pings(t, c1.Space, lan)
				w.pings(t, c1.Space, c2.addr(f))
				w.pings(t, c1.Space, c1.gateway(f))
				w.pings(t, w.host, c1.addr(f))
			}
		})
	}
}

// largeDatagram sends one that needs many fragments, and wants it back.
func largeDatagram(t *testing.T, from *flowtest.Space, to netip.AddrPort) {
	t.Helper()
	text := flowtest.NewMark() + string(bytes.Repeat([]byte{'x'}, 9000))
	c, err := flowtest.Dial(from, "udp", to, text)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(flowtest.Deadline())
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil || !bytes.HasSuffix(buf[:n], []byte(text)) {
		t.Errorf("%s to %s: 9,000 bytes: %d came back, %v", from.Name, to, n, err)
	}
}

// bulk sends a megabyte through a connection, and wants it back.
func bulk(t *testing.T, from *flowtest.Space, to netip.AddrPort) {
	t.Helper()
	e := flowtest.OpenEcho(t, from, to)
	defer e.Conn.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	e.Conn.SetDeadline(flowtest.Deadline())
	var writing sync.WaitGroup
	writing.Go(func() { e.Conn.Write(sent) })
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(e.Lines, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%s to %s: a megabyte did not come back: %v", from.Name, to, err)
	}
	writing.Wait()
}

// pings sends an echo request by a ping socket.
func (w *world) pings(t *testing.T, from *flowtest.Space, to netip.Addr) {
	t.Helper()
	from.Sysctl(t, "net/ipv4/ping_group_range", "0 0")
	if err := flowtest.Ping(from, to); err != nil {
		t.Errorf("ping from %s to %s: %v", from.Name, to, err)
	}
}

// A route with a smaller MTU on the LAN: connections through NAT learn it.
func TestPathMTU(t *testing.T) {
	w := newWorld(t, "link set far0 mtu 1280")
	w.far.IP(t, "link set eth0 mtu 1280")
	w.daemon("--ipv6", "--mtu", "1500")
	m := w.member("c1", "bridge", "-p", "8080:80")
	flowtest.Serve(t, m.Space, 80)
	flowtest.Serve(t, w.far, 80)
	for _, f := range families {
		bulk(t, m.Space, netip.AddrPortFrom(pick(f, far4, far6), 80))
		bulk(t, w.far, netip.AddrPortFrom(pick(f, hostLAN4, hostLAN6), 8080))
	}
}

// Many clients at once: every answer is true, no address or port is given out twice, and everything can be given back.
func TestManyClients(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.bridged("network", "create", "--subnet", "10.6.0.0/16", "--ipv6", "wide")
	const clients, each = 16, 6
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("c%d-%d", c, i)
				network := []string{"bridge", "wide"}[i%2]
				if r := w.try("sandbox", "create", "--network", network, "-p", "80", "-p", "80/udp", name); r.code != 0 {
					t.Error(r)
				}
				if i%3 == 0 {
					if r := w.try("sandbox", "rm", name); r.code != 0 {
						t.Error(r)
					}
				}
			}
		})
	}
	wg.Wait()
	w.consistent(t)
	seen := make(map[string]string)
	all := decode[[]sandboxJSON](w, "sandbox", "ls", "--json")
	if len(all) != clients*4 {
		t.Errorf("%d sandboxes", len(all))
	}
	for _, s := range all {
		for _, e := range s.Networks {
			for _, a := range []string{e.IPAddress, e.GlobalIPv6Address, e.HostInterface} {
				if seen[a] != "" {
					t.Errorf("%s and %s both have %s", s.Name, seen[a], a)
				}
				seen[a] = s.Name
			}
		}
	}
	// The same name for everybody: one gets it.
	var won atomic.Int32
	for range clients {
		wg.Go(func() {
			switch r := w.try("sandbox", "create", "only"); r.code {
			case 0:
				won.Add(1)
			case 4:
			default:
				t.Error(r)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d clients made the sandbox", won.Load())
	}
	w.consistent(t)
	for _, s := range decode[[]sandboxJSON](w, "sandbox", "ls", "--json") {
		wg.Go(func() {
			if r := w.try("sandbox", "rm", s.Name); r.code != 0 {
				t.Error(r)
			}
		})
	}
	wg.Wait()
	w.consistent(t)
}
