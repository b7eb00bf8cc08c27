package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
)

// outside is a namespace on the other side of a link to the host's: 192.0.2.2 and 192.0.2.3 there, 192.0.2.1 on the host, and a way to the
// containers by way of that.
func outside(t *testing.T, host string) string {
	t.Helper()
	path := giveNamespace(t)
	in(t, host, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
	in(t, host, "ip", "link", "set", "lan1", "netns", path)
	in(t, host, "ip", "address", "add", "192.0.2.1/24", "dev", "lan0")
	in(t, host, "ip", "link", "set", "lan0", "up")
	for _, command := range []string{"address add 192.0.2.2/24 dev lan1", "address add 192.0.2.3/24 dev lan1", "link set lan1 up", "route add 10.88.0.0/16 via 192.0.2.1"} {
		in(t, path, "ip", strings.Fields(command)...)
	}
	return path
}

// say sends a datagram.
func say(t *testing.T, from, source, to, text string) {
	t.Helper()
	withIn(t, from, func() error {
		var local *net.UDPAddr
		if source != "" {
			local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0))
		}
		c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(text))
		return err
	})
}

// listener hears datagrams on port 53 of a container.
func listener(t *testing.T, inside string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	withIn(t, inside, func() (err error) { c, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 53}); return err })
	t.Cleanup(func() { c.Close() })
	return c
}

// hears is the next datagram that comes.
func hears(t *testing.T, c *net.UDPConn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// TestAttachmentPolicy: who reaches a container's own address and its published ports, for each policy. What must not come is followed by
// something that must, which is then what comes first.
func TestAttachmentPolicy(t *testing.T) {
	const (
		own, published = "10.88.0.2:53", "192.0.2.1:8053"
		allowed, other = "192.0.2.2", "192.0.2.3"
	)
	for name, tt := range map[string]struct {
		change                    func(*bridged.AttachmentNetwork)
		direct, sibling, filtered bool // from outside to its own address; from a sibling; from the other outside address to the published port
	}{
		"open":           {func(n *bridged.AttachmentNetwork) {}, true, true, true},
		"open, named":    {func(n *bridged.AttachmentNetwork) { n.Ingress = bridged.IngressOpen }, true, true, true},
		"same-bridge":    {func(n *bridged.AttachmentNetwork) { n.Ingress = bridged.IngressSameBridge }, false, true, true},
		"isolated":       {func(n *bridged.AttachmentNetwork) { n.Ingress = bridged.IngressIsolated }, false, false, true},
		"port isolation": {func(n *bridged.AttachmentNetwork) { n.Isolated = true }, true, false, true},
		"sources": {func(n *bridged.AttachmentNetwork) {
			n.Sources = []netip.Prefix{netip.MustParsePrefix(allowed + "/32"), netip.MustParsePrefix("2001:db8::/32")}
		}, true, true, false},
		"sources of IPv6 alone": {func(n *bridged.AttachmentNetwork) {
			n.Sources = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
		}, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			host := giveNamespace(t)
			e, stop := startIn(t, host, testConfig(t))
			defer stop()
			lan := outside(t, host)
			server, sibling := giveNamespace(t), giveNamespace(t)
			first := podnet("server", server)
			first.Ports = specs(t, "8053:53/udp")
			second := podnet("sibling", sibling)
			tt.change(&first.Network)
			tt.change(&second.Network)
			mustAttach(t, e, first)
			mustAttach(t, e, second)
			e.settle() // their ports forward
			c := listener(t, server)
			for _, flow := range []struct {
				from, source, to string
				reaches          bool
			}{
				{lan, allowed, published, true}, {lan, other, published, tt.filtered}, {lan, allowed, own, tt.direct}, {sibling, "", own, tt.sibling}, {host, "", own, true},
			} {
				text := flow.source + " to " + flow.to + " from " + filepath.Base(flow.from)
				say(t, flow.from, flow.source, flow.to, text)
				if !flow.reaches {
					text = "what must come"
					say(t, host, "", own, text)
				}
				if got := hears(t, c); got != text {
					t.Errorf("%q arrived, want %q", got, text)
				}
			}
			for _, spec := range []bridged.AttachmentSpec{first, second} {
				if err := e.Detach(t.Context(), spec.Key); err != nil {
					t.Error(err)
				}
			}
			if text, differs, err := e.Ruleset(t.Context(), bridged.RulesetDiff); err != nil || differs {
				t.Errorf("the kernel differs (%v):\n%s", err, text)
			}
		})
	}
}

// TestCheckAttachmentSees: whatever somebody took away is said, and what somebody added is not.
func TestCheckAttachmentSees(t *testing.T) {
	host := giveNamespace(t)
	cfg := testConfig(t)
	cfg.Protection = "monitor" // others may change our tables
	e, err := openIn(t, host, cfg, less{})
	if err != nil {
		t.Fatal(err)
	}
	// Without its watchers: what is spoilt stays so until the check has seen it.
	e.host = unwatched{e.host.(*machine)}
	e, stop := run(t, e)
	defer stop()
	inside := giveNamespace(t)
	spec := full(t, "c", inside)
	spec.Inside.Routes = []bridged.Route{{Dst: netip.MustParsePrefix("10.99.0.0/16"), Priority: 7}}
	a := mustAttach(t, e, spec)
	e.settle()
	for _, tt := range []struct{ spoil, want string }{
		{"link add dev added type bridge", ""}, {"in address add 10.88.3.3/16 dev eth0", ""}, {"in route add 10.97.0.0/16 dev eth0", ""}, {"in link set eth0 address 02:00:00:00:00:77", ""},
		{"in address del 10.88.0.2/16 dev eth0", "interface eth0 has no address 10.88.0.2/16"},
		{"in route del 10.99.0.0/16", "interface eth0 has no route 10.99.0.0/16 via 10.88.0.1"},
		{"in link set eth0 down", "interface eth0 is down"},
		{"link set HOST nomaster", "put HOST back into cni0"},
		{"link set HOST down", "put HOST back into cni0"},
		{"address del 10.88.0.1/16 dev cni0", "add address 10.88.0.1/16 to cni0"},
		{"link del SHAPER", "limit the bandwidth of HOST"},
		{"link del HOST", "there is no interface eth0"},
		{"link del cni0", "create bridge cni0"},
		{"nft delete element inet bridged publish4any { tcp . 8080 }", "has lost an element"},
		{"nft flush set inet bridged bridges", "has lost an element"},
		{"nft flush set inet bridged allowed4", "has lost an element"},
		{"nft flush set bridge bridged source4", "has lost an element"},
	} {
		named := strings.NewReplacer("HOST", a.Host.Name, "SHAPER", a.Shaper.Name)
		words, want := strings.Fields(named.Replace(tt.spoil)), named.Replace(tt.want)
		where, tool := host, "ip"
		switch words[0] {
		case "in":
			where, words = inside, words[1:]
		case "nft":
			tool, words = "nft", words[1:]
		}
		in(t, where, tool, words...)
		err := e.CheckAttachment(t.Context(), spec)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, bridged.ErrConflict) || !strings.Contains(err.Error(), want)) {
			t.Errorf("after %q: %v, want %q", tt.spoil, err, want)
		}
		if tt.want == "" {
			continue
		}
		e.repair(nil)
		if err := e.Detach(t.Context(), spec.Key); err != nil {
			t.Fatal(err)
		}
		e.settle()
		a = mustAttach(t, e, spec)
		if err := e.CheckAttachment(t.Context(), spec); err != nil {
			t.Fatalf("after %q everything is made anew, and the check finds: %v", tt.spoil, err)
		}
	}
}

// unwatched is a machine that nobody tells what others change.
type unwatched struct{ *machine }

func (unwatched) watch(ctx context.Context, _ func(suspicion), _ func(moved)) error {
	<-ctx.Done()
	return nil
}

// TestAttachVanished: a namespace that goes in the middle is said to be gone, and nothing is left.
func TestAttachVanished(t *testing.T) {
	host := giveNamespace(t)
	path := filepath.Join(t.TempDir(), "ns")
	ns, err := netns.Make(path, "")
	if err != nil {
		t.Fatal(err)
	}
	e, err := openIn(t, host, testConfig(t), less{})
	if err != nil {
		t.Fatal(err)
	}
	e.host = vanishing{e.host.(*machine), func() {
		if err := errors.Join(ns.Close(), netns.Remove(path)); err != nil {
			t.Error(err)
		}
	}}
	e, stop := run(t, e)
	defer stop()
	before := e.State()
	_, err = e.Attach(t.Context(), podnet("c", path))
	if !errors.Is(err, bridged.ErrNotFound) || !strings.Contains(err.Error(), path) {
		t.Errorf("the namespace went in the middle: %v", err)
	}
	e.settle()
	if after := e.State(); len(after.Networks) != len(before.Networks) || len(after.Sandboxes)+len(after.Endpoints) > 0 {
		t.Errorf("left: %+v", after)
	}
	if links := in(t, host, "ip", "-br", "link"); strings.Contains(links, "bv") || strings.Contains(links, "cni0") {
		t.Errorf("left:\n%s", links)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace is there: %v", err)
	}
}

// vanishing is a machine on which a namespace goes before a pair is made.
type vanishing struct {
	*machine
	vanish func()
}

func (v vanishing) do(ctx context.Context, s step) error {
	if _, ok := s.(addPair); ok {
		v.vanish()
	}
	return v.machine.do(ctx, s)
}
