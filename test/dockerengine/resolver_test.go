package dockerengine

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Names on a host without iptables: the engine's own resolver at 127.0.0.11 is led to by iptables inside the container, and so is not reached;
// with a resolv.conf of the host's that is mounted, names resolve.
func TestResolver(t *testing.T) {
	w := newPluginWorld(t)
	w.network("n1")
	serveNames(t, w.lan, netip.MustParseAddr("198.51.100.7"))
	err := w.host.Do(func() error { return os.WriteFile("/run/resolv.conf", []byte("nameserver "+lan4.String()+"\n"), 0o644) })
	if err != nil {
		t.Fatal(err)
	}
	w.run("c1", "--network", "n1", "-v", "/run/resolv.conf:/etc/resolv.conf:ro")
	if out := w.docker("exec", "c1", "nslookup", "-type=a", "world.example"); !strings.Contains(out, "198.51.100.7") {
		t.Errorf("nslookup says\n%s", out)
	}
	w.run("c2", "--network", "n1", "--dns", lan4.String())
	if r := w.tryDocker("exec", "c2", "nslookup", "-type=a", "-retry=1", "-timeout=1", "world.example"); r.code == 0 || !strings.Contains(r.stderr, "refused") {
		t.Errorf("the engine's resolver is reached: say so in docs/docker.md. %v", r)
	}
}

// serveNames answers every question for a name with one address, as RFC 1035 says.
func serveNames(t testing.TB, s *flowtest.Space, a netip.Addr) {
	t.Helper()
	var c net.PacketConn
	err := s.Do(func() (err error) {
		c, err = net.ListenPacket("udp4", ":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			const header, pointer, typeA, classIN, ttl = 12, 0xc000, 1, 1, 60
			answer := append([]byte{}, buf[:n]...)
			answer[2] |= 0x80                         // it is a response
			binary.BigEndian.PutUint16(answer[6:], 1) // with one answer
			binary.BigEndian.PutUint32(answer[8:], 0) // and nothing else
			answer = binary.BigEndian.AppendUint16(answer, pointer|header)
			answer = binary.BigEndian.AppendUint16(answer, typeA)
			answer = binary.BigEndian.AppendUint16(answer, classIN)
			answer = binary.BigEndian.AppendUint32(answer, ttl)
			answer = binary.BigEndian.AppendUint16(answer, 4)
			c.WriteTo(append(answer, a.AsSlice()...), from)
		}
	}()
}
