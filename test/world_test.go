package test

import (
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Addresses of the world around the daemon, documentation prefixes all.
var (
	hostLAN4 = netip.MustParseAddr("192.0.2.1")
	hostLAN6 = netip.MustParseAddr("2001:db8:1::1")
	lan4     = netip.MustParseAddr("192.0.2.2")
	lan6     = netip.MustParseAddr("2001:db8:1::2")
	far4     = netip.MustParseAddr("198.51.100.2")
	far6     = netip.MustParseAddr("2001:db8:2::2")
)

// world is a host with a neighbour on its LAN and another host behind it, and the daemon's sandboxes.
type world struct {
	t    testing.TB
	host *flowtest.Space
	lan  *flowtest.Space // a neighbour; its default route is the host
	far  *flowtest.Space // on another link of the host
	dir  string          // for the daemon's state; goes with the test

	mu        sync.Mutex
	sandboxes map[string]*flowtest.Space
}

// newWorld makes the namespaces and the links between them; there is no daemon yet. setup are lines of `ip` for the host.
func newWorld(t testing.TB, setup ...string) *world {
	t.Helper()
	need(t)
	w := &world{t: t, dir: t.TempDir(), sandboxes: make(map[string]*flowtest.Space)}
	w.host = flowtest.NewSpace(t, "host", true)
	w.lan = flowtest.NewSpace(t, "lan", false)
	w.far = flowtest.NewSpace(t, "far", false)
	w.host.Join(t, "lan0", w.lan, "192.0.2", "2001:db8:1")
	w.host.Join(t, "far0", w.far, "198.51.100", "2001:db8:2")
	w.host.IP(t, append([]string{
		"route add default via 192.0.2.2",
		"route add default via 2001:db8:1::2",
	}, setup...)...)
	return w
}

// bridgeNetfilter switches br_netfilter's hooks on or off, IPv4 and IPv6: per network namespace.
func (w *world) bridgeNetfilter(on bool) {
	w.t.Helper()
	value := "0"
	if on {
		value = "1"
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		if on && os.Getenv("CI") == "true" {
			w.t.Fatal("br_netfilter is not loaded")
		}
		if on {
			w.t.Skip("br_netfilter is not loaded")
		}
		return
	}
	w.host.Sysctl(w.t, "net/bridge/bridge-nf-call-iptables", value)
	w.host.Sysctl(w.t, "net/bridge/bridge-nf-call-ip6tables", value)
}

// create makes a sandbox with `bridged sandbox create`; its name is the last argument.
func (w *world) create(args ...string) *flowtest.Space {
	w.t.Helper()
	w.bridged(append([]string{"sandbox", "create"}, args...)...)
	return w.sandbox(args[len(args)-1])
}

// sandbox is the namespace of a sandbox that the daemon made.
func (w *world) sandbox(name string) *flowtest.Space {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sandboxes[name] == nil {
		w.sandboxes[name] = w.host.Open(w.t, name, "/run/netns/"+name)
	}
	return w.sandboxes[name]
}

// names are the entries of a directory as the host sees it.
func (w *world) names(dir string) []string {
	w.t.Helper()
	var names []string
	err := w.host.Do(func() error {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

// nft is the host's packet filter as the nft command shows it, without counters.
func (w *world) nft(args ...string) string {
	w.t.Helper()
	return w.host.Output(w.t, "nft", append([]string{"-s"}, args...)...)
}

func lines(s string) []string {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
