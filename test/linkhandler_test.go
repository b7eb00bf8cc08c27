package test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// call makes a call on the daemon's socket, as another program would, and decodes its answer; it ends the test unless the
// status is this one.
func (w *world) call(t testing.TB, status int, method, path, body string, answer any) {
	t.Helper()
	out := w.host.Output(t, "curl", "-s", "--unix-socket", "/run/bridged/bridged.sock", "-X", method,
		"-H", "Content-Type: application/json", "-d", body, "-w", "\n%{http_code}", "http://bridged/bridged/v1/"+path)
	end := strings.LastIndex(out, "\n")
	text, code := out[:end], out[end+1:]
	if code != fmt.Sprint(status) {
		t.Fatalf("%s %s %s: status %s, want %d: %s", method, path, body, code, status, text)
	}
	if answer != nil {
		if err := json.Unmarshal([]byte(text), answer); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
}

type interfaceJSON struct {
	IP                  string
	IPPrefixLen         int
	Mask, Gateway       string
	Bridge, MacAddress  string
	GlobalIPv6          string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
}

// The handlers for addresses and ports: a lease without a link.
func TestHandlers(t *testing.T) {
	need(t, "curl")
	w := newWorld(t)
	w.daemon("--ipv6")
	before := w.filter()
	var i interfaceJSON
	w.call(t, 200, "POST", "allocate_interface", `{"ID": "a"}`, &i)
	if i.IP != "172.17.0.1" || i.IPPrefixLen != 16 || i.Mask != "255.255.0.0" || i.Gateway != "172.17.42.1" || i.Bridge != "docker0" ||
		i.MacAddress != "02:42:ac:11:00:01" || !strings.HasPrefix(i.GlobalIPv6, "fd") || i.GlobalIPv6PrefixLen != 64 || !strings.HasPrefix(i.IPv6Gateway, "fd") {
		t.Errorf("the interface is %+v", i)
	}
	w.call(t, 200, "POST", "allocate_interface", `{"ID": "b", "Network": "bridge", "RequestedIP": "172.17.3.4", "RequestedMac": "02:00:00:00:00:09"}`, &i)
	if i.IP != "172.17.3.4" || i.MacAddress != "02:00:00:00:00:09" {
		t.Errorf("the interface with wishes is %+v", i)
	}
	refused := func(status int, path, body, says string) {
		t.Helper()
		var e struct{ Message string }
		w.call(t, status, "POST", path, body, &e)
		if !strings.Contains(e.Message, says) {
			t.Errorf("%s %s: %q does not say %q", path, body, e.Message, says)
		}
	}
	refused(409, "allocate_interface", `{"ID": "c", "RequestedIP": "172.17.3.4"}`, "in use")
	refused(400, "allocate_interface", `{"ID": "c", "RequestedIP": "10.0.0.1"}`, "10.0.0.1")
	refused(409, "allocate_interface", `{"ID": "c", "RequestedIP": "172.17.42.1"}`, "gateway")
	refused(400, "allocate_interface", `{"ID": "c", "RequestedIP": "172.17.0.0"}`, "network")
	refused(400, "allocate_interface", `{"ID": "c", "RequestedIP": "172.17.255.255"}`, "broadcast")

	var p struct {
		HostIP   string
		HostPort int
	}
	w.call(t, 200, "POST", "allocate_port", `{"ID": "a", "HostPort": 8080, "ContainerPort": 80, "Proto": "tcp"}`, &p)
	if p.HostIP != "0.0.0.0" || p.HostPort != 8080 {
		t.Errorf("the port is %+v", p)
	}
	w.call(t, 200, "POST", "allocate_port", `{"ID": "b", "HostIP": "127.0.0.2", "ContainerPort": 53, "Proto": "udp"}`, &p)
	if p.HostIP != "127.0.0.2" || p.HostPort < 1024 {
		t.Errorf("the chosen port is %+v", p)
	}
	refused(409, "allocate_port", `{"ID": "b", "HostPort": 8080, "ContainerPort": 80}`, "Bind for 0.0.0.0:8080 failed: port is already allocated")
	refused(404, "allocate_port", `{"ID": "c", "ContainerPort": 80}`, "no interface")

	w.call(t, 204, "POST", "release_interface", `{"ID": "a"}`, nil)
	refused(404, "release_interface", `{"ID": "a"}`, "No network information to release for a")
	w.call(t, 204, "POST", "release_interface", `{"ID": "b"}`, nil)
	same(t, "the packet filter", before, w.filter())
	w.consistent(t)
}

// The handler for links is for two addresses, and no other.
func TestLinkHandler(t *testing.T) {
	need(t, "curl")
	h := newChain(t, true)
	link := func(status int, action string, parent, child netip.Addr, ports string) {
		t.Helper()
		h.call(t, status, "POST", "link", fmt.Sprintf(`{"Action": %q, "ParentIP": %q, "ChildIP": %q, "Ports": [%s]}`, action, parent, child, ports), nil)
	}
	open := func(f netip.Addr, port uint16) {
		t.Helper()
		flowtest.Reaches(t, h.c3.Space, "tcp", netip.AddrPortFrom(h.c4.addr(f), port), "c4")
	}
	closed := func(f netip.Addr, port uint16) {
		t.Helper()
		to := netip.AddrPortFrom(h.c4.addr(f), port)
		flowtest.Lost(t, h.c3.Space, "tcp", to, h.c4.Space, port, flowtest.Via(h.host, to))
	}
	v4, v6 := families[0], families[1]
	link(204, "add", h.c3.ip4, h.c4.ip4, `"80/tcp"`)
	open(v4, 80)
	closed(v4, 81)
	closed(v6, 80)
	link(204, "add", h.c3.ip4, h.c4.ip4, `"81"`) // one more
	link(409, "add", h.c3.ip4, h.c4.ip4, `"81"`)
	link(204, "add", h.c3.ip6, h.c4.ip6, `"81"`)
	open(v4, 80)
	open(v4, 81)
	open(v6, 81)
	closed(v6, 80)
	link(404, "remove", h.c3.ip4, h.c4.ip4, `"82"`)
	link(204, "remove", h.c3.ip4, h.c4.ip4, `"80/tcp"`)
	closed(v4, 80)
	open(v4, 81)
	link(204, "remove", h.c3.ip4, h.c4.ip4, "")
	closed(v4, 81)
	open(v6, 81)
	link(404, "remove", h.c3.ip4, h.c4.ip4, "")
	link(404, "add", h.c3.ip4, netip.MustParseAddr("172.17.9.9"), `"80"`)
	link(400, "add", h.c3.ip4, h.c4.ip6, `"80"`)
	link(400, "add", h.c3.ip4, h.c3.ip4, `"80"`)

	// Addresses on different networks.
	h.bridged("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "second")
	other := h.member("c9", "second")
	link(409, "add", h.c3.ip4, other.ip4, `"80"`)

	// A lease: elements, and a route in the sandbox.
	var i interfaceJSON
	h.call(t, 200, "POST", "allocate_interface", `{"ID": "lease"}`, &i)
	lease := netip.MustParseAddr(i.IP)
	link(204, "add", h.c3.ip4, lease, `"80"`)
	if set := h.nft("list", "set", "inet", "bridged", "links4"); !strings.Contains(set, fmt.Sprintf("%s . %s . tcp . 80", h.c3.ip4, lease)) {
		t.Errorf("the link to the lease has no element: %s", set)
	}
	if r := h.linkRoutes(t, h.c3); !slices.Contains(r, i.IP+" via "+i.Gateway) {
		t.Errorf("the routes of c3 are %q", r)
	}
	h.call(t, 204, "POST", "release_interface", `{"ID": "lease"}`, nil)
	link(204, "remove", h.c3.ip6, h.c4.ip6, "")
	h.noRoutes(t, h.c3, h.c4)

	// `link rm` takes them all, and a sandbox that goes, too.
	link(204, "add", h.c3.ip4, h.c4.ip4, `"80"`)
	link(204, "add", h.c3.ip6, h.c4.ip6, `"80"`)
	h.bridged("link", "rm", "c3", "c4")
	h.noRoutes(t, h.c3, h.c4)
	link(204, "add", h.c3.ip4, h.c4.ip4, `"80"`)
	h.bridged("sandbox", "rm", "c4")
	h.noRoutes(t, h.c3)
	h.settled()
}

// One request is one transaction, of elements only.
func TestLinkIsOneTransaction(t *testing.T) {
	h := newChain(t, false)
	g := h.generations()
	for _, s := range []struct{ name, args string }{
		{"a link of several ports", "link add --port 80 --port 81 --port 53/udp c2 c3"},
		{"its end", "link rm c2 c3"},
		{"a port that a link follows", "port add c1 81:81"},
		{"its end", "port rm c1 81:81"},
		{"a sandbox with a link", "sandbox rm c2"},
	} {
		if s.name == "a port that a link follows" {
			h.bridged("link", "add", "c4", "c1")
			g.take(t)
		}
		h.bridged(strings.Fields(s.args)...)
		for kind := range g.one(t, s.name) {
			if !strings.HasSuffix(kind, "element") {
				t.Errorf("%s: %q: the program is constant", s.name, kind)
			}
		}
	}
}

// The daemon is killed at the n-th thing that the kernel announces, while links come and go. After the next start there is what was
// promised, in the packet filter and inside the sandboxes, and nothing else.
func TestKilledAmongLinks(t *testing.T) {
	h := newChain(t, false)
	h.bridged("link", "rm", "c1", "c2")
	pairs := [][2]member{{h.c1, h.c2}, {h.c2, h.c1}, {h.c3, h.c4}}
	for n := 1; n <= 12; n++ {
		watched := h.watch(t)
		var clients sync.WaitGroup
		for _, p := range pairs {
			clients.Go(func() {
				for h.try("link", "add", "--port", "80", p[0].Name, p[1].Name).code != 69 && h.try("link", "rm", p[0].Name, p[1].Name).code != 69 {
				}
			})
		}
		for range n {
			if err := watched.wait(flowtest.Patience); err != nil {
				t.Fatalf("killing at event %d: %v", n, err)
			}
		}
		h.daemon.Kill()
		clients.Wait()
		watched.close()
		h.daemon = h.world.daemon("--ipv6", "--icc=false")
		h.settled()
		linked := make(map[string]bool)
		for _, l := range decode[[]struct{ Parent, Child string }](h.world, "link", "ls", "--json") {
			linked[l.Parent+l.Child], linked[l.Child+l.Parent] = true, true
		}
		for _, p := range pairs {
			for _, end := range [][2]member{p, {p[1], p[0]}} {
				r := h.linkRoutes(t, end[0])
				want := 0
				if linked[end[0].Name+end[1].Name] {
					want = len(families)
				}
				if len(r) != want {
					t.Fatalf("killed at event %d: %s has the routes %q; linked: %v\n%s", n, end[0].Name, r, linked, h.daemon.Log.String())
				}
			}
		}
	}
}
