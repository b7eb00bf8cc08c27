package engine

import (
	"net/netip"
	"testing"

	"github.com/bridged/bridged"
)

// world is a host with a neighbour on its LAN and sandboxes behind it, on a kernel with less:
//
//	lan ── eth0 ── host ──┬─ docker0 ── c1 (8080 is published to it), c2
//	                      ├─ apart   ── a1 (8081 …), a2               without ICC
//	                      └─ inner   ── i1                            internal
type world struct {
	t      testing.TB
	less   less
	cfg    Config
	host   space
	lan    space
	spaces map[string]space
	// observers are made when they are first needed.
	observers map[string]observer
	ipv6      bool
	// leased: instead of sandboxes there are leases, whose links a caller sets up.
	leased bool
	engine *Engine
	stop   func()
}

// The addresses on the LAN, of documentation prefixes.
var (
	host4, host6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	lan4, lan6   = netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
)

// newWorld makes the host and the LAN, and starts nothing.
func newWorld(t testing.TB, cfg Config, less less) *world {
	t.Helper()
	w := &world{t: t, less: less, cfg: cfg, ipv6: cfg.IPv6, spaces: make(map[string]space), observers: make(map[string]observer)}
	w.host, w.lan = newSpace(t, "host", giveNamespace(t)), newSpace(t, "lan", giveNamespace(t))
	w.spaces["host"], w.spaces["lan"] = w.host, w.lan
	w.host.run("ip link add eth0 type veth peer name eth0 netns " + w.lan.path)
	for _, side := range []struct {
		space
		own, other string
	}{{w.host, "1", "2"}, {w.lan, "2", "1"}} {
		side.run("ip address add 192.0.2." + side.own + "/24 dev eth0")
		side.run("ip address add 2001:db8::" + side.own + "/64 dev eth0 nodad")
		side.run("ip link set eth0 up")
		side.run("ip route add default via 192.0.2." + side.other)
		side.run("ip route add default via 2001:db8::" + side.other)
	}
	w.lan.serve()
	return w
}

// start starts an engine; what it leaves is found by the next one.
func (w *world) start() {
	w.t.Helper()
	w.engine, w.stop = startLess(w.t, w.host.path, w.cfg, w.less)
}

// startWith starts an engine and makes the networks and sandboxes, then switches br_netfilter on if it is to be: without the family bridge, a
// network without ICC can't be made any more then, and what there is stays.
func (w *world) startWith(brNetfilter string) {
	w.t.Helper()
	w.brNetfilter("0")
	w.start()
	w.populate()
	if brNetfilter == "1" {
		w.stop()
		w.brNetfilter("1")
		w.start()
	}
}

// populate makes the networks and sandboxes.
func (w *world) populate() {
	w.t.Helper()
	ctx := w.t.Context()
	for _, spec := range []bridged.NetworkSpec{
		{Name: "apart", IPv6: w.ipv6, Options: map[string]string{bridged.OptionICC: "false"}},
		{Name: "inner", IPv6: w.ipv6, Internal: true},
	} {
		if _, _, err := w.engine.CreateNetwork(ctx, spec); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, s := range []struct{ name, network, port string }{
		{"c1", "", "8080"}, {"c2", "", ""}, {"a1", "apart", "8081"}, {"a2", "apart", ""}, {"i1", "inner", ""},
	} {
		spec := bridged.SandboxSpec{Name: s.name, Network: s.network, NetNS: giveNamespace(w.t)}
		if s.port != "" {
			spec.Ports = specs(w.t, s.port+":80", s.port+":80/udp")
		}
		if w.leased {
			lease(w.t, w.engine, w.host.path, spec)
		} else if _, err := w.engine.CreateSandbox(ctx, spec); err != nil {
			w.t.Fatal(err)
		}
		w.spaces[s.name] = newSpace(w.t, s.name, spec.NetNS)
		w.spaces[s.name].serve()
	}
	// The internal one's root finds the gateway.
	for _, ipv6 := range w.families() {
		gateway := w.joined("i1").Network.IPv4.Gateway
		if ipv6 {
			gateway = w.joined("i1").Network.IPv6.Gateway
		}
		w.spaces["i1"].run("ip route add default via " + gateway.String())
	}
	w.engine.settle()
}

// families are those that the world has; the value says whether it is IPv6.
func (w *world) families() []bool {
	if w.ipv6 {
		return []bool{false, true}
	}
	return []bool{false}
}

// addr is the address of a space, in one family.
func (w *world) addr(name string, ipv6 bool) netip.Addr {
	w.t.Helper()
	switch {
	case name == "lan" && ipv6:
		return lan6
	case name == "lan":
		return lan4
	case name == "host" && ipv6:
		return host6
	case name == "host":
		return host4
	}
	e := w.endpoint(name)
	if ipv6 {
		return e.IPv6.Addr()
	}
	return e.IPv4.Addr()
}

func (w *world) endpoint(name string) bridged.Endpoint { return w.joined(name).Endpoint }

func (w *world) joined(name string) bridged.Joined {
	w.t.Helper()
	if w.leased {
		j, _, ok := w.engine.Interface(name)
		if !ok {
			w.t.Fatalf("there is no lease %s", name)
		}
		return j
	}
	s, err := w.engine.Sandbox(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Joined[0]
}

// flow is who asks whom, and which server must answer; "" when nobody may, and nothing may arrive.
type flow struct {
	from   string
	to     string
	port   uint16
	server string
	at     string // where nothing may arrive
	as     string // whom the server must see; "": anybody
	only4  bool
}

// check tries a flow in all families, by TCP and UDP.
func (w *world) check(f flow) {
	w.t.Helper()
	for _, ipv6 := range w.families() {
		if ipv6 && f.only4 {
			continue
		}
		to := netip.AddrPortFrom(w.target(f.to, ipv6), f.port)
		for _, proto := range []string{"tcp", "udp"} {
			if f.server == "" {
				w.lost(f, proto, to)
				continue
			}
			server, saw, err := w.spaces[f.from].ask(proto, to, "?")
			if err != nil || server != f.server {
				w.t.Errorf("%s -> %s, %s/%s: %q answered (%v), want %s", f.from, f.to, to, proto, server, err, f.server)
			} else if f.as != "" && saw != w.addr(f.as, ipv6) {
				w.t.Errorf("%s -> %s, %s/%s: %s saw %s, want the address of %s", f.from, f.to, to, proto, server, saw, f.as)
			}
		}
	}
}

// target is an address by its name: also "loopback", and "gateway NAME" for that of a sandbox.
func (w *world) target(name string, ipv6 bool) netip.Addr {
	if name == "loopback" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return w.addr(name, ipv6)
}

// lost wants that the first packet of a flow does not arrive. The host reaches everybody.
func (w *world) lost(f flow, proto string, to netip.AddrPort) {
	w.t.Helper()
	if w.arrives(f, proto, to) {
		w.t.Errorf("%s -> %s, %s/%s arrives at %s", f.from, f.to, to, proto, f.at)
	}
}

// observer sees what arrives at a place from now on.
func (w *world) observer(name string) observer {
	w.t.Helper()
	o, ok := w.observers[name]
	if !ok {
		o = w.spaces[name].observe()
		w.observers[name] = o
	}
	o.each(func([]byte) {})
	return o
}

func (w *world) arrives(f flow, proto string, to netip.AddrPort) bool {
	w.t.Helper()
	o := w.observer(f.at)
	match, end, err := w.spaces[f.from].begin(proto, to)
	defer end()
	if err != nil {
		w.t.Fatalf("%s -> %s/%s: %v", f.from, to, proto, err)
	}
	return o.saw(match, w.host, w.addr(f.at, to.Addr().Is6()))
}

// equal holds the kernel against the state, by the engine's own observation.
func (w *world) equal(when string) {
	w.t.Helper()
	w.engine.settle()
	text, differs, err := w.engine.Ruleset(w.t.Context(), bridged.RulesetDiff)
	if err != nil || differs {
		w.t.Errorf("%s: the kernel's rules differ (%v):\n%s", when, err, text)
	}
	if plan := w.difference(); len(plan) > 0 {
		w.t.Errorf("%s: the kernel differs:\n%s", when, plan)
	}
}

// difference is what would have to be done to make the kernel equal to the state.
func (w *world) difference() Plan {
	w.t.Helper()
	plan, _, err := w.engine.difference(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan
}

// end removes what was made and stops the engine.
func (w *world) end() {
	w.t.Helper()
	for _, e := range w.engine.State().Endpoints {
		if e.Leased() {
			if err := w.engine.ReleaseInterface(w.t.Context(), e.Sandbox); err != nil {
				w.t.Error(err)
			}
		}
	}
	for _, s := range w.engine.Sandboxes() {
		if err := w.engine.RemoveSandbox(w.t.Context(), s.ID); err != nil {
			w.t.Error(err)
		}
	}
	w.stop()
}
