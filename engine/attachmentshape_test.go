package engine

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// withIn runs f in the namespace at path.
func withIn(t testing.TB, path string, f func() error) {
	t.Helper()
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

// send sends so many bytes from one namespace to another and returns how long it took until all were there.
func send(t testing.TB, from, to string, address netip.Addr, bytes int64) time.Duration {
	t.Helper()
	var l net.Listener
	withIn(t, to, func() (err error) { l, err = net.Listen("tcp", netip.AddrPortFrom(address, 0).String()); return err })
	defer l.Close()
	var c net.Conn
	withIn(t, from, func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return err })
	defer c.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	began := time.Now()
	go func() { _, _ = io.CopyN(c, zeros{}, bytes) }()
	if _, err := io.CopyN(io.Discard, server, bytes); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// awaitRepair waits for a repair that came after that time.
func awaitRepair(t testing.TB, e *Engine, since time.Time) {
	t.Helper()
	for event := range e.Events(t.Context(), since) {
		if event.Action == "repair" {
			return
		}
	}
	t.Fatal("the engine ended before it repaired anything")
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestAttachmentBandwidth: what a limited container sends and receives takes at least as long as its rate says, each direction for itself; what
// others take away of the limits comes back, a restart leaves them, and nothing is left of them in the end.
func TestAttachmentBandwidth(t *testing.T) {
	const (
		rate  = 8_000_000 // bits a second
		burst = 400_000   // bits
		bytes = 600_000
		least = time.Duration((bytes*8 - burst) * int64(time.Second) / rate)
	)
	host := giveNamespace(t)
	limits := map[string]bridged.Bandwidth{
		"receives": {Ingress: bridged.Rate{Rate: rate, Burst: burst}},
		"sends":    {Egress: bridged.Rate{Rate: rate, Burst: burst}},
		"both":     {Ingress: bridged.Rate{Rate: rate, Burst: burst}, Egress: bridged.Rate{Rate: rate, Burst: burst}},
		"free":     {},
	}
	cfg := testConfig(t)
	e, stop := startIn(t, host, cfg)
	attached, inside := make(map[string]bridged.Attachment), make(map[string]string)
	for name, limit := range limits {
		inside[name] = giveNamespace(t)
		a, err := e.Attach(t.Context(), changed(podnet(name, inside[name]), func(s *bridged.AttachmentSpec) { s.Bandwidth = limit }))
		if err != nil {
			t.Fatal(err)
		}
		attached[name] = a
		if (a.Shaper.Name != "") != (limit.Egress.Rate > 0) {
			t.Errorf("%s: the shaper is %+v", name, a.Shaper)
		}
	}
	if out := in(t, host, "ip", "-o", "link", "show", attached["both"].Shaper.Name); !strings.Contains(out, attached["both"].Shaper.MAC.String()) {
		t.Errorf("the shaper is not %v:\n%s", attached["both"].Shaper, out)
	}
	measure := func(when string) {
		t.Helper()
		for name, limit := range limits {
			address := attached[name].IPs[0].Address.Addr()
			if took := send(t, host, inside[name], address, bytes); limit.Ingress.Rate > 0 && took < least {
				t.Errorf("%s: %s received %d bytes in %v, at least %v are wanted", when, name, bytes, took, least)
			}
			if took := send(t, inside[name], host, netip.MustParseAddr("10.88.0.1"), bytes); limit.Egress.Rate > 0 && took < least {
				t.Errorf("%s: %s sent %d bytes in %v, at least %v are wanted", when, name, bytes, took, least)
			}
		}
	}
	measure("at first")
	shown := in(t, host, "tc", "qdisc", "show")
	if strings.Count(shown, "tbf") != 4 || strings.Count(shown, "ingress") != 2 {
		t.Errorf("tc shows\n%s", shown)
	}
	stop()
	e, stop = startIn(t, host, cfg)
	if again := in(t, host, "tc", "qdisc", "show"); again != shown {
		t.Errorf("after a restart tc shows\n%s, not\n%s", again, shown)
	}
	both := attached["both"]
	for _, spoil := range []string{
		"tc qdisc del dev " + both.Host.Name + " root", "tc qdisc del dev " + both.Host.Name + " ingress", "ip link del " + both.Shaper.Name,
		"tc filter del dev " + both.Host.Name + " ingress", "tc qdisc del dev " + both.Shaper.Name + " root", "ip link set down " + both.Shaper.Name,
	} {
		words := strings.Fields(spoil)
		before := time.Now()
		in(t, host, words[0], words[1:]...)
		awaitRepair(t, e, before)
	}
	if again := in(t, host, "tc", "qdisc", "show"); strings.Count(again, "tbf") != 4 || strings.Count(again, "ingress") != 2 {
		t.Errorf("after the repairs tc shows\n%s", again)
	}
	stop()
	in(t, host, "ip", "link", "del", attached["sends"].Shaper.Name)
	in(t, host, "tc", "qdisc", "del", "dev", attached["receives"].Host.Name, "root")
	e, stop = startIn(t, host, cfg)
	defer stop()
	measure("after what was missing at a start")
	for name := range limits {
		if err := e.Detach(t.Context(), bridged.AttachmentKey{Network: "podnet", Container: name, Interface: "eth0"}); err != nil {
			t.Error(err)
		}
	}
	e.settle()
	if left := in(t, host, "ip", "-o", "link") + in(t, host, "tc", "qdisc", "show"); strings.Contains(left, "bi") || strings.Contains(left, "bv") || strings.Contains(left, "tbf") {
		t.Errorf("left:\n%s", left)
	}
}

// TestAttachmentRebuilt: a start that lost its log finds containers with their ports and their bandwidth in the kernel, and the runtime can
// take them away.
func TestAttachmentRebuilt(t *testing.T) {
	host := giveNamespace(t)
	cfg := testConfig(t)
	e, stop := startIn(t, host, cfg)
	id := strings.Repeat("4f1c", 16) // as long as those of containerd
	spec := full(t, id, giveNamespace(t))
	spec.Hairpin = false
	mustAttach(t, e, spec)
	e.settle()
	shown := in(t, host, "tc", "qdisc", "show") + in(t, host, "bridge", "-d", "link")
	stop()
	if err := os.RemoveAll(cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	e, stop = startIn(t, host, cfg)
	defer stop()
	info, err := e.Sandbox(id)
	if err != nil || !info.CNI || len(info.Ports) != 4 {
		t.Errorf("rebuilt is %+v, %v", info, err)
	}
	if again := in(t, host, "tc", "qdisc", "show") + in(t, host, "bridge", "-d", "link"); again != shown {
		t.Errorf("after the start there is\n%s, not\n%s", again, shown)
	}
	if err := e.CheckAttachment(t.Context(), spec); err != nil {
		t.Error(err)
	}
	if err := e.Detach(t.Context(), spec.Key); err != nil {
		t.Error(err)
	}
	e.settle()
	if s := e.State(); len(s.Sandboxes)+len(s.Endpoints)+len(s.Ports) > 0 {
		t.Errorf("left: %+v", s)
	}
	if left := in(t, host, "ip", "-o", "link"); strings.Contains(left, "bi") || strings.Contains(left, "bv") {
		t.Errorf("left:\n%s", left)
	}
}
