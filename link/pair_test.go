package link_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

func netipAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestAttach(t *testing.T) {
	n, c := host(t)
	s := sandbox(t, c, "bv0123456789ab", "10.0.0.2/24", "fd00::2/64")

	outer := ipLinks(n)["bv0123456789ab"]
	if !outer.flag("UP") || outer.Master != "br0" || outer.Group != "1651663975" || outer.MTU != 1400 ||
		outer.Address != "fe:42:0a:00:00:02" || outer.AddrGen != "none" || outer.TxQueues != 1 || outer.RxQueues != 1 || outer.Alias != "of 10.0.0.2/24" {
		t.Errorf("host end is %+v", outer)
	}
	if outer.Info.SlaveKind != "bridge" || !outer.Info.SlaveData.Hairpin || outer.Info.SlaveData.Isolated {
		t.Errorf("host end is the port %+v", outer.Info.SlaveData)
	}
	inner := ipLinks(s)["eth0"]
	if !inner.flag("UP") || inner.MTU != 1400 || inner.Address != "02:42:0a:00:00:02" || inner.Group != "default" ||
		inner.AddrGen != "eui64" || inner.Alias != "" || inner.TxQueues != 1 || inner.RxQueues != 1 {
		t.Errorf("inner end is %+v", inner)
	}
	if outer.LinkIndex != inner.Index || inner.LinkIndex != outer.Index {
		t.Errorf("ends are %d (peer %d) and %d (peer %d)", outer.Index, outer.LinkIndex, inner.Index, inner.LinkIndex)
	}
	if !ipLinks(s)["lo"].flag("UP") {
		t.Error("the loopback is down")
	}
	for words, want := range map[string][]string{
		"ip -4 -o addr show eth0": {"inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0"},
		"ip -6 -o addr show eth0": {"inet6 fd00::2/64 scope global nodad", "inet6 fe80::42:aff:fe00:2/64 scope link"},
		"ip -4 route":             {"default via 10.0.0.1 dev eth0 proto static", "10.0.0.0/24 dev eth0"},
		"ip -6 route":             {"default via fd00::1 dev eth0 proto static", "fd00::/64 dev eth0"},
	} {
		for _, line := range want {
			if got := s.Run(words); !strings.Contains(got, line) {
				t.Errorf("%s prints %q, not %q", words, got, line)
			}
		}
	}
	type port struct {
		Name    string `json:"ifname"`
		Hairpin bool   `json:"hairpin"`
		Master  string `json:"master"`
	}
	if ports := nstest.Read[port](n, "bridge -d -j link"); !slices.Equal(ports, []port{{"bv0123456789ab", true, "br0"}}) {
		t.Errorf("bridge shows the ports %+v", ports)
	}
	if got := n.Run("ip -6 -o addr show dev bv0123456789ab"); got != "" {
		t.Errorf("the host end has an IPv6 address: %s", got)
	}
}

// A sandbox without IPv6 has no IPv6 address, not even a link-local one, once its link carries.
func TestAttachWithoutIPv6(t *testing.T) {
	_, c := host(t)
	s := sandbox(t, c, "bv1", "10.0.0.2/24")
	if got := s.Run("ip -6 -o addr show eth0"); got != "" {
		t.Errorf("eth0 has %s", got)
	}
	if got := s.Run("ip -4 route"); !strings.Contains(got, "default via 10.0.0.1") {
		t.Errorf("routes are %s", got)
	}
}

// A link with an MTU below 1280 has no IPv6 at all, and is attached all the same.
func TestAttachSmallMTU(t *testing.T) {
	n, c := host(t)
	p := pairOf("bv1", netipAddr("10.0.0.2"))
	p.MTU, p.Isolated = 1000, true
	_, _, err := c.CreatePair(p, nstest.New(t).FD())
	check(t, err)
	got := ipLinks(n)["bv1"]
	if got.MTU != 1000 || !got.Info.SlaveData.Hairpin || !got.Info.SlaveData.Isolated || !got.flag("UP") {
		t.Errorf("host end is %+v", got)
	}
}

// Two sandboxes reach each other, and the bridge's address, at once: no address waits for duplicate detection.
func TestSandboxesReachEachOther(t *testing.T) {
	nstest.NeedTool(t, "ping")
	n, c := host(t)
	br, err := c.ByName("br0")
	check(t, err)
	n.Do(func() {
		a, err := addr.Dial()
		check(t, err)
		defer a.Close()
		check(t, a.Add(addr.Address{Link: br.Index, Prefix: netip.MustParsePrefix("10.0.0.1/24")}))
		check(t, a.Add(addr.Address{Link: br.Index, Prefix: netip.MustParsePrefix("fd00::1/64"), NoDAD: true}))
	})
	s2 := sandbox(t, c, "bv2", "10.0.0.2/24", "fd00::2/64")
	s3 := sandbox(t, c, "bv3", "10.0.0.3/24", "fd00::3/64")
	awaitForwarding(t, n, c, "bv2", "bv3")
	for _, to := range []string{"10.0.0.1", "10.0.0.3", "fd00::1", "fd00::3"} {
		if out, err := s2.Try("ping -c1 -W2 " + to); err != nil {
			t.Errorf("no answer from %s: %s", to, out)
		}
	}
	s3.Run("ping -c1 -W2 10.0.0.2")
	n.Run("ping -c1 -W2 10.0.0.2")
}

// awaitForwarding waits until ports carry frames.
func awaitForwarding(t testing.TB, n nstest.NS, c *link.Conn, names ...string) {
	t.Helper()
	var w *link.Watcher
	n.Do(func() {
		var err error
		w, err = link.Watch()
		check(t, err)
	})
	ready := map[string]bool{}
	list, err := c.List()
	check(t, err)
	for _, l := range list {
		ready[l.Name] = l.Forwarding
	}
	all := func() bool { return !slices.ContainsFunc(names, func(s string) bool { return !ready[s] }) }
	if all() {
		check(t, w.Close())
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	check(t, w.Run(ctx, func(e link.Event) {
		ready[e.Link.Name] = e.Link.Forwarding
		if all() {
			cancel()
		}
	}))
	cancel()
	if !all() {
		t.Fatalf("not all ports of %v forward", names)
	}
}

func TestCreatePairRefused(t *testing.T) {
	n, c := host(t)
	s := sandbox(t, c, "bv1", "10.0.0.2/24")
	file, err := os.Open(os.DevNull)
	check(t, err)
	defer file.Close()
	// The kernel gives the bridge its carrier a little after its first port has one: no part of what is refused here.
	withoutCarrier := func(n nstest.NS) map[string]ipLink {
		links := ipLinks(n)
		for name, l := range links {
			l.Flags = slices.DeleteFunc(l.Flags, func(f string) bool { return f == "NO-CARRIER" || f == "LOWER_UP" })
			l.State = ""
			links[name] = l
		}
		return links
	}
	before, beforeInside := withoutCarrier(n), withoutCarrier(s)
	good := pairOf("bv2", netipAddr("10.0.0.3"))
	good.Inner = "eth1"
	for name, tc := range map[string]struct {
		change func(*link.Pair)
		fd     int
		errno  error
		says   string
	}{
		"no bridge":        {func(p *link.Pair) { p.Bridge = "br9" }, s.FD(), unix.ENODEV, "no bridge br9"},
		"not a bridge":     {func(p *link.Pair) { p.Bridge = "lo" }, s.FD(), unix.EOPNOTSUPP, "lo"},
		"host name taken":  {func(p *link.Pair) { p.Host = "bv1" }, s.FD(), unix.EEXIST, "link bv1:"},
		"inner name taken": {func(p *link.Pair) { p.Inner = "eth0" }, s.FD(), unix.EEXIST, "link eth0 in the other namespace"},
		"long host name":   {func(p *link.Pair) { p.Host = "bv0123456789abcd" }, s.FD(), unix.EINVAL, "bv0123456789abcd"},
		"long inner name":  {func(p *link.Pair) { p.Inner = "eth0123456789abc" }, s.FD(), unix.EINVAL, "eth0123456789abc"},
		"empty name":       {func(p *link.Pair) { p.Host = "" }, s.FD(), unix.EINVAL, "0 bytes"},
		"bad name":         {func(p *link.Pair) { p.Host = "bv/1" }, s.FD(), unix.EINVAL, "bv/1"},
		"group MAC":        {func(p *link.Pair) { p.MAC = addr.MAC{1, 2} }, s.FD(), unix.EADDRNOTAVAIL, "bv2"},
		"MTU too high":     {func(p *link.Pair) { p.MTU = 70000 }, s.FD(), unix.EINVAL, "MTU is 70000"},
		"no namespace":     {func(*link.Pair) {}, int(file.Fd()), unix.EINVAL, "bv2"},
		"closed":           {func(*link.Pair) {}, 1 << 20, unix.EBADF, "bv2"},
	} {
		p := good
		tc.change(&p)
		_, _, err := c.CreatePair(p, tc.fd)
		if !errors.Is(err, tc.errno) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error %v, want %v and %q", name, err, tc.errno, tc.says)
		}
	}
	if diff := cmp.Diff(before, withoutCarrier(n)); diff != "" {
		t.Error("the host was changed: ", diff)
	}
	if diff := cmp.Diff(beforeInside, withoutCarrier(s)); diff != "" {
		t.Error("the sandbox was changed: ", diff)
	}
	_, _, err = c.CreatePair(good, s.FD()) // the control
	check(t, err)
}

// One Conn serves many callers at once.
func TestCreatePairConcurrently(t *testing.T) {
	n, c := host(t)
	const callers = 8
	sandboxes := make([]nstest.NS, callers)
	for i := range sandboxes {
		sandboxes[i] = nstest.New(t)
	}
	var wg sync.WaitGroup
	for i, s := range sandboxes {
		wg.Go(func() {
			for j := range 4 {
				p := pairOf(fmt.Sprintf("bv%dx%d", i, j), netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}))
				p.Inner = fmt.Sprintf("eth%d", j)
				outer, inner, err := c.CreatePair(p, s.FD())
				if err != nil || outer == 0 || inner == 0 {
					t.Errorf("%v: %d, %d, %v", p, outer, inner, err)
				}
				if j%2 == 1 {
					if err := c.Delete(p.Host); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := len(ipLinks(n)); got != 2+callers*2 { // lo, br0
		t.Errorf("%d links are left", got)
	}
}

// A bridge has at most 1,023 ports.
func TestCreatePairOnFullBridge(t *testing.T) {
	n, c := host(t)
	s := nstest.New(t)
	create := func(i int) error {
		p := pairOf(fmt.Sprintf("bv%d", i), netipAddr("10.0.0.2"))
		p.Inner = fmt.Sprintf("eth%d", i)
		_, _, err := c.CreatePair(p, s.FD())
		return err
	}
	for i := range 1023 {
		check(t, create(i))
	}
	if err := create(1023); !errors.Is(err, unix.EXFULL) || !strings.Contains(err.Error(), "bridge br0 has no room") {
		t.Errorf("error is %v", err)
	}
	if _, ok := ipLinks(n)["bv1023"]; ok {
		t.Error("the refused pair is left")
	}
}

// What a sandbox announces is heard by its neighbours and by the bridge.
func TestAnnounceThroughBridge(t *testing.T) {
	n, c := host(t)
	listener := sandbox(t, c, "bv2", "10.0.0.2/24")
	listener.Run("ip neigh add 10.0.0.3 lladdr 02:00:00:00:00:99 nud stale dev eth0")
	s := sandbox(t, c, "bv3", "10.0.0.3/24")
	awaitForwarding(t, n, c, "bv2", "bv3")
	mac := pairOf("bv3", netipAddr("10.0.0.3")).MAC
	type link struct {
		Index int `json:"ifindex"`
	}
	eth0 := nstest.Read[link](s, "ip -j link show eth0")[0].Index
	await := listener.WatchNeighbours()
	s.Do(func() {
		check(t, addr.Announce(addr.Announcement{Link: eth0, MAC: mac, Addrs: []netip.Addr{netipAddr("10.0.0.3")}}))
	})
	await(mac.String(), netipAddr("10.0.0.3"))
	if got := n.Run("bridge fdb show br br0"); !strings.Contains(got, mac.String()+" dev bv3 master br0") {
		t.Errorf("the bridge knows %s", got)
	}
}
