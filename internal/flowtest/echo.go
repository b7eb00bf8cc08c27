package flowtest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"testing"
)

// Echo is a TCP connection to a server, which repeats each line.
type Echo struct {
	Conn  net.Conn
	Lines *bufio.Reader
}

// OpenEcho connects to a server and reads its greeting. The connection is closed with the test.
func OpenEcho(t testing.TB, from *Space, to netip.AddrPort) *Echo {
	t.Helper()
	c, err := Dial(from, "tcp", to, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	e := &Echo{Conn: c, Lines: bufio.NewReader(c)}
	c.SetDeadline(Deadline())
	if _, err := e.Lines.ReadString('\n'); err != nil {
		t.Fatalf("no greeting from %s: %v", to, err)
	}
	return e
}

// Say sends a line and wants it back.
func (e *Echo) Say(t testing.TB, text string) {
	t.Helper()
	e.Conn.SetDeadline(Deadline())
	fmt.Fprintln(e.Conn, text)
	if got, err := e.Lines.ReadString('\n'); err != nil || got != text+"\n" {
		t.Fatalf("the connection to %s is broken: %q, %v", e.Conn.RemoteAddr(), got, err)
	}
}
