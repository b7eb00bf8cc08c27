package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/benchtest"
)

// asked is a host with a sandbox that answers on a published port, and a neighbour on the LAN that asks.
type asked struct {
	e        *Engine
	lan      space
	tcp, udp netip.AddrPort
}

// newAsked publishes so many ports beside those that are asked for.
func newAsked(b *testing.B, published int) *asked {
	b.Helper()
	host, lan, web := newSpace(b, "host", giveNamespace(b)), newSpace(b, "lan", giveNamespace(b)), newSpace(b, "web", giveNamespace(b))
	host.run("ip link add lan0 type veth peer name eth0 netns " + lan.path)
	host.run("ip addr add 192.0.2.1/24 dev lan0")
	host.run("ip link set lan0 up")
	lan.run("ip addr add 192.0.2.2/24 dev eth0")
	lan.run("ip link set eth0 up")
	a := &asked{e: benchEngineIn(b, host.path, published), lan: lan}
	const port = firstPassing
	spec := bridged.SandboxSpec{Name: "web", NetNS: web.path, Ports: append(onePort(port), bridged.PortSpec{
		HostPort: bridged.PortRange{First: port, Last: port}, ContainerPort: port, Proto: bridged.UDP,
	})}
	if _, err := a.e.CreateSandbox(context.Background(), spec); err != nil {
		b.Fatal(err)
	}
	var listener net.Listener
	var conn net.PacketConn
	err := web.ns.Do(func() (err error) {
		if listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		conn, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close(); conn.Close() })
	go acceptAll(listener)
	go echoAll(conn)
	a.tcp = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)
	a.udp = a.tcp
	return a
}

func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func echoAll(c net.PacketConn) {
	var b [64]byte
	for {
		n, from, err := c.ReadFrom(b[:])
		if err != nil {
			return
		}
		_, _ = c.WriteTo(b[:n], from) // who asked may be gone
	}
}

// connect makes a TCP connection, and waits for its end. No port is left waiting for the rest of the connection's packets.
func (a *asked) connect() error {
	c, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(a.tcp))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.SetLinger(0)
}

// ask sends a datagram from a port that did not send before, and waits for the answer.
func (a *asked) ask() error {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(a.udp))
	if err != nil {
		return err
	}
	defer c.Close()
	b := [64]byte{1}
	if _, err := c.Write(b[:1]); err != nil {
		return err
	}
	_, err = c.Read(b[:])
	return err
}

// BenchmarkNewFlows makes TCP connections and UDP flows from a neighbour on the LAN to a published port, beside no other and beside 50,000, in
// turn. Mark: within 10 %.
func BenchmarkNewFlows(b *testing.B) {
	one, many := newAsked(b, 0), newAsked(b, 50_000)
	const inOneGo = 50 // flows from one visit to the LAN
	watch := benchtest.NewWatch("tcp-at-1", "tcp-at-50k", "udp-at-1", "udp-at-50k")
	visit := func(a *asked, column string, flow func() error) func() {
		return func() {
			err := a.lan.ns.Do(func() error {
				for range inOneGo {
					watch.Time(b, column, flow)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		benchtest.InTurn(
			visit(one, "tcp-at-1", one.connect), visit(many, "tcp-at-50k", many.connect),
			visit(one, "udp-at-1", one.ask), visit(many, "udp-at-50k", many.ask),
		)
	}
	watch.Report(b)
	watch.Ratio(b, "tcp-at-50k", "tcp-at-1")
	watch.Ratio(b, "udp-at-50k", "udp-at-1")
}
