package test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
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
	host *space
	lan  *space // a neighbour; its default route is the host
	far  *space // on another link of the host
	dir  string // for the daemon's state; goes with the test

	mu        sync.Mutex
	sandboxes map[string]*space
}

// newWorld makes the namespaces and the links between them; there is no daemon yet. setup are lines of `ip` for the host.
func newWorld(t testing.TB, setup ...string) *world {
	t.Helper()
	need(t)
	w := &world{t: t, dir: t.TempDir(), sandboxes: make(map[string]*space)}
	w.host = newSpace(t, "host", true)
	w.lan = newSpace(t, "lan", false)
	w.far = newSpace(t, "far", false)
	w.wire("lan0", w.lan, "192.0.2", "2001:db8:1")
	w.wire("far0", w.far, "198.51.100", "2001:db8:2")
	w.host.ip(t, append([]string{
		"route add default via 192.0.2.2",
		"route add default via 2001:db8:1::2",
	}, setup...)...)
	return w
}

// wire joins a neighbour to the host: .1 is the host, .2 the neighbour, whose default route is the host.
func (w *world) wire(link string, to *space, prefix4, prefix6 string) {
	w.t.Helper()
	peer := to.name + "eth0"
	w.host.ip(w.t, fmt.Sprintf("link add %s type veth peer name %s", link, peer))
	fd := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), to.net.Fd())
	w.host.ip(w.t,
		fmt.Sprintf("link set %s netns %s name eth0", peer, fd),
		fmt.Sprintf("link set %s up", link),
		fmt.Sprintf("addr add %s.1/24 dev %s", prefix4, link),
		fmt.Sprintf("addr add %s::1/64 dev %s nodad", prefix6, link),
	)
	to.ip(w.t,
		"link set eth0 up",
		fmt.Sprintf("addr add %s.2/24 dev eth0", prefix4),
		fmt.Sprintf("addr add %s::2/64 dev eth0 nodad", prefix6),
		fmt.Sprintf("route add default via %s.1", prefix4),
		fmt.Sprintf("route add default via %s::1", prefix6),
	)
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
	w.host.sysctl(w.t, "net/bridge/bridge-nf-call-iptables", value)
	w.host.sysctl(w.t, "net/bridge/bridge-nf-call-ip6tables", value)
}

// create makes a sandbox with `bridged sandbox create`; its name is the last argument.
func (w *world) create(args ...string) *space {
	w.t.Helper()
	w.bridged(append([]string{"sandbox", "create"}, args...)...)
	return w.sandbox(args[len(args)-1])
}

// sandbox is the namespace of a sandbox that the daemon made.
func (w *world) sandbox(name string) *space {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sandboxes[name] == nil {
		w.sandboxes[name] = w.host.open(w.t, name, "/run/netns/"+name)
	}
	return w.sandboxes[name]
}

// names are the entries of a directory as the host sees it.
func (w *world) names(dir string) []string {
	w.t.Helper()
	var names []string
	err := w.host.do(func() error {
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
	return w.host.output(w.t, "nft", append([]string{"-s"}, args...)...)
}

func lines(s string) []string {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}
