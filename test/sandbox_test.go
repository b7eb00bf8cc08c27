package test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// What a sandbox finds inside, as `ip` shows it, and what the commands say about it.
func TestSandboxInside(t *testing.T) {
	w := newWorld(t, "link set lan0 mtu 1400")
	w.daemon("--ipv6")
	id := w.bridged("sandbox", "create", "web")
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		t.Errorf("create printed %q, no id", id)
	}
	s := w.inspect("web")
	e := s.Networks["bridge"]
	if s.ID != id || s.Name != "web" || s.Mode != "bridge" || s.NetNS != "/run/netns/web" || e.Interface != "eth0" {
		t.Errorf("inspect says %+v", s)
	}
	if !regexp.MustCompile(`^bv[0-9a-f]{12}$`).MatchString(e.HostInterface) {
		t.Errorf("host end %q", e.HostInterface)
	}
	ip4 := netip.MustParseAddr(e.IPAddress)
	a := ip4.As4()
	if want := fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3]); e.MacAddress != want {
		t.Errorf("MAC %s for %s, want %s", e.MacAddress, ip4, want)
	}

	in := w.sandbox("web")
	links := linksOf(t, in)
	eth0, lo := links["eth0"], links["lo"]
	if len(links) != 2 || eth0.MTU != 1400 || eth0.Address != e.MacAddress || eth0.State != "UP" || !slices.Contains(lo.Flags, "UP") {
		t.Errorf("inside: %+v", links)
	}
	want := []string{
		fmt.Sprintf("%s/%d", e.IPAddress, e.IPPrefixLen),
		fmt.Sprintf("%s/%d", e.GlobalIPv6Address, e.GlobalIPv6PrefixLen),
		fmt.Sprintf("%s/64", linkLocal(mustMAC(e.MacAddress))),
	}
	var have []string
	for _, a := range eth0.AddrInfo {
		have = append(have, fmt.Sprintf("%s/%d", a.Local, a.PrefixLen))
		if a.Tentative && a.Scope == "global" {
			t.Errorf("%s is tentative", a.Local)
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("addresses %v, want %v", have, want)
	}
	for family, gateway := range map[string]string{"-4": e.Gateway, "-6": e.IPv6Gateway} {
		if !slices.Contains(routesOf(t, in, family), route{Dst: "default", Gateway: gateway, Dev: "eth0"}) {
			t.Errorf("no default route by %s: %v", gateway, routesOf(t, in, family))
		}
	}

	host := linksOf(t, w.host)
	port, bridge := host[e.HostInterface], host["docker0"]
	if port.Master != "docker0" || port.MTU != 1400 || port.State != "UP" || !port.LinkInfo.SlaveData.Hairpin {
		t.Errorf("the bridge's port: %+v", port)
	}
	if bridge.MTU != 1400 || bridge.State != "UP" {
		t.Errorf("the bridge: %+v", bridge)
	}
	if e.Gateway != "172.17.42.1" || e.IPPrefixLen != 16 {
		t.Errorf("the default network's gateway is %s/%d", e.Gateway, e.IPPrefixLen)
	}
}

// Without IPv6 there is none, not even a link-local address, and a path MTU flag is taken as given.
func TestSandboxWithoutIPv6(t *testing.T) {
	w := newWorld(t)
	w.daemon("--mtu", "1280")
	m := w.member("c1", "bridge")
	if m.ip6.IsValid() || m.gw6.IsValid() {
		t.Errorf("there is IPv6: %+v", m.endpointJSON)
	}
	if got := m.ReadSysctl(t, "net/ipv6/conf/eth0/disable_ipv6"); got != "1" {
		t.Errorf("disable_ipv6 is %s", got)
	}
	eth0 := linksOf(t, m.Space)["eth0"]
	if len(eth0.AddrInfo) != 1 || eth0.MTU != 1280 {
		t.Errorf("eth0 is %+v", eth0)
	}
	if w.host.ReadSysctl(t, "net/ipv6/conf/all/forwarding") != "0" {
		t.Error("IPv6 forwarding was switched on without --ipv6")
	}
}

// A bridge's MAC never changes when ports come and go.
func TestBridgeMAC(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	before := linksOf(t, w.host)["docker0"].Address
	for i := range 4 {
		w.create(fmt.Sprint("c", i))
	}
	w.bridged("sandbox", "create", "--mac-address", "00:00:00:00:00:01", "low")
	if after := linksOf(t, w.host)["docker0"].Address; after != before {
		t.Errorf("the bridge's MAC was %s, and is %s", before, after)
	}
	w.bridged("sandbox", "rm", "c0", "c1", "low")
	if after := linksOf(t, w.host)["docker0"].Address; after != before {
		t.Errorf("the bridge's MAC was %s, and is %s", before, after)
	}
}

// A new sandbox announces its addresses to its neighbours.
func TestAnnouncement(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	first := w.member("c1", "bridge")
	o := flowtest.Observe(t, first.Space)
	m := w.member("c2", "bridge")
	o.Until(t, "an ARP announcement", func(f []byte) bool {
		return len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == typeARP &&
			[4]byte(f[28:32]) == m.ip4.As4() && mac(f[22:28]) == m.mac
	})
	o.Until(t, "a neighbour advertisement", func(f []byte) bool {
		return len(f) >= 14+40+24 && binary.BigEndian.Uint16(f[12:]) == typeIPv6 && f[20] == protoICMPv6 &&
			f[54] == neighbourNA && [16]byte(f[62:78]) == m.ip6.As16()
	})
}

// Addresses that are asked for, in any order; the lowest one never given out comes first, then the one that is free longest.
func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	w.bridged("network", "create", "--subnet", "10.5.0.0/29", "small")
	address := func(name string, args ...string) string {
		t.Helper()
		w.bridged(append([]string{"sandbox", "create", "--network", "small"}, append(args, name)...)...)
		e := w.endpoint(name, "small")
		if e.Gateway != "10.5.0.1" || e.IPPrefixLen != 29 {
			t.Errorf("%s: gateway %s, prefix length %d", name, e.Gateway, e.IPPrefixLen)
		}
		return e.IPAddress
	}
	expect := func(name, want string, args ...string) {
		t.Helper()
		if got := address(name, args...); got != want {
			t.Errorf("%s got %s, want %s", name, got, want)
		}
	}
	expect("a", "10.5.0.2")
	expect("b", "10.5.0.4", "--ip", "10.5.0.4")
	expect("c", "10.5.0.3")
	w.bridged("sandbox", "rm", "a")
	expect("d", "10.5.0.5") // .2 was given out, .4 is taken
	w.bridged("sandbox", "rm", "d")
	expect("e", "10.5.0.6")
	w.fails(4, []string{"10.5.0.6"}, "sandbox", "create", "--network", "small", "--ip", "10.5.0.6", "x")
	expect("f", "10.5.0.2") // free longer than .5
	expect("g", "10.5.0.5")
	r := w.try("sandbox", "create", "--network", "small", "h")
	if r.code == 0 || !strings.Contains(r.stderr, "10.5.0.0/29") {
		t.Errorf("the seventh address of six: %v", r)
	}
	w.bridged("sandbox", "rm", "c")
	expect("h", "10.5.0.3")
	w.settled()
}

// The order of addresses survives a restart.
func TestAddressesAfterRestart(t *testing.T) {
	for name, end := range restarts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.daemon()
			a := w.member("a", "bridge").ip4
			b := w.member("b", "bridge").ip4
			w.bridged("sandbox", "rm", "a", "b")
			end(d)
			w.daemon()
			if c := w.member("c", "bridge").ip4; c == a || c == b || c != b.Next() {
				t.Errorf("%s and %s were given out, then %s", a, b, c)
			}
		})
	}
}

// MAC addresses that are asked for are used as given.
func TestMACAddress(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	m := w.member("c1", "bridge", "--mac-address", "0a:1b:2c:3d:4e:5f", "--ip", "172.17.5.5")
	if m.MacAddress != "0a:1b:2c:3d:4e:5f" || m.IPAddress != "172.17.5.5" {
		t.Errorf("got %+v", m.endpointJSON)
	}
	flowtest.Serve(t, m.Space, 80)
	flowtest.Reaches(t, w.host, "tcp", netip.AddrPortFrom(m.ip4, 80), "c1")
	flowtest.Reaches(t, w.host, "udp", netip.AddrPortFrom(m.ip6, 80), "c1")
	for _, bad := range []string{"01:00:5e:00:00:01", m.MacAddress, m.gatewayMAC.String(), "ff:ff:ff:ff:ff:ff"} {
		if r := w.try("sandbox", "create", "--mac-address", bad, "c2"); r.code == 0 || !strings.Contains(r.stderr, bad) {
			t.Errorf("MAC %s: %v", bad, r)
		}
	}
}

// A namespace that was given stays when the sandbox goes; one that was made goes.
func TestGivenNamespace(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.host.Output(t, "ip", "netns", "add", "given")
	m := w.member("c1", "bridge") // made
	w.bridged("sandbox", "create", "--netns", "/run/netns/given", "-p", "8080:80", "c2")
	if s := w.inspect("c2"); s.NetNS != "/run/netns/given" {
		t.Errorf("NetNS is %q", s.NetNS)
	}
	given := w.host.Open(t, "c2", "/run/netns/given")
	flowtest.Serve(t, given, 80)
	flowtest.Reaches(t, m.Space, "tcp", netip.AddrPortFrom(m.gw4, 8080), "c2")

	w.bridged("sandbox", "rm", "c1", "c2")
	if got := w.names("/run/netns"); !slices.Equal(got, []string{"given"}) {
		t.Errorf("after rm there is %v in /run/netns", got)
	}
	w.await(t, "the pair to go", func() bool { return len(w.sandboxLinks()) == 0 })
	if _, there := linksOf(t, given)["eth0"]; there {
		t.Error("eth0 is still in the given namespace")
	}
	// It can be given again.
	w.bridged("sandbox", "create", "--netns", "/run/netns/given", "c2")
	w.bridged("sandbox", "rm", "c2")
	w.settled()
	w.host.Output(t, "ip", "netns", "del", "given")
}

// process starts something that waits in a network namespace of its own, until the test's end or until it is killed.
func (w *world) process() *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := w.host.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// The namespace of a process; and what happens when it is gone before the sandbox.
func TestProcessNamespace(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	cmd := w.process()
	w.bridged("sandbox", "create", "--pid", fmt.Sprint(cmd.Process.Pid), "-p", "8080:80", "c1")
	in := w.host.Open(t, "c1", fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	srv := flowtest.Serve(t, in, 80)
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c1")
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN6, 8080), "c1")
	first := w.endpoint("c1", "bridge")

	// The last user of the namespace goes: the kernel takes the pair along.
	srv.Close()
	in.Close()
	cmd.Process.Kill()
	cmd.Wait()
	w.await(t, "the sandbox to be collected", func() bool { return w.count() == 0 })
	w.fails(3, []string{"c1"}, "sandbox", "inspect", "c1")
	w.fails(3, []string{"c1"}, "sandbox", "rm", "c1")
	if !w.released("tcp", netip.MustParseAddrPort("0.0.0.0:8080")) {
		t.Error("the port is still reserved")
	}
	w.consistent(t)
	if m := w.member("c2", "bridge", "--ip", first.IPAddress, "-p", "8080:80"); m.IPAddress != first.IPAddress {
		t.Errorf("the address was not given back: %s", m.IPAddress)
	}

	// The same while no daemon runs.
	cmd = w.process()
	w.bridged("sandbox", "create", "--pid", fmt.Sprint(cmd.Process.Pid), "-p", "8081:80", "c3")
	d.Kill()
	cmd.Process.Kill()
	cmd.Wait()
	w.daemon("--ipv6")
	w.await(t, "the sandbox to be collected", func() bool { return w.count() == 1 })
	w.fails(3, []string{"c3"}, "sandbox", "inspect", "c3")
	w.consistent(t)
}

// count is how many sandboxes there are.
func (w *world) count() int { return len(decode[[]sandboxJSON](w, "sandbox", "ls", "--json")) }

// A namespace that we made and somebody else deleted.
func TestDeletedNamespace(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	w.bridged("sandbox", "create", "-p", "8080:80", "c1")
	w.host.Output(t, "ip", "netns", "del", "c1")
	w.await(t, "the sandbox to be collected", func() bool { return w.count() == 0 })
	w.bridged("sandbox", "create", "-p", "8080:80", "c1")
	w.consistent(t)
}

// The modes none and host.
func TestModes(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	none := w.create("--network", "none", "c1")
	if links := linksOf(t, none); len(links) != 1 || !slices.Contains(links["lo"].Flags, "UP") {
		t.Errorf("mode none has %v", links)
	}
	if s := w.inspect("c1"); s.Mode != "none" || len(s.Networks) > 1 {
		t.Errorf("inspect says %+v", s)
	}
	before := w.host.Addresses(t)
	w.bridged("sandbox", "create", "--network", "host", "c2")
	if s := w.inspect("c2"); s.Mode != "host" {
		t.Errorf("inspect says %+v", s)
	}
	same(t, "the host's links", before, w.host.Addresses(t))
	for _, args := range []string{"sandbox create --network host -p 80:80 c3", "port add c2 80:80", "sandbox create --network none -p 80:80 c3"} {
		if r := w.try(strings.Fields(args)...); r.code == 0 {
			t.Errorf("should be refused: %v", r)
		}
	}
	w.bridged("sandbox", "rm", "c1", "c2")
	if got := w.names("/run/netns"); len(got) != 0 {
		t.Errorf("left in /run/netns: %v", got)
	}
}

// Without a default network a sandbox has none, and others work.
func TestNoDefaultBridge(t *testing.T) {
	w := newWorld(t)
	w.daemon("-b", "none")
	if _, there := linksOf(t, w.host)["docker0"]; there {
		t.Error("there is a docker0")
	}
	w.bridged("sandbox", "create", "c1")
	if s := w.inspect("c1"); s.Mode != "none" {
		t.Errorf("the mode is %s", s.Mode)
	}
	w.bridged("network", "create", "mine")
	m := w.member("c2", "mine", "-p", "8080:80")
	flowtest.Serve(t, m.Space, 80)
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c2")
	w.fails(3, []string{"bridge"}, "network", "inspect", "bridge")
}

// A name, an id and its unique prefix name an object.
func TestNamesAndIDs(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	id := w.bridged("sandbox", "create", "web")
	for _, ref := range []string{"web", id, id[:12], id[:8]} {
		if s := w.inspect(ref); s.ID != id {
			t.Errorf("%s names %s", ref, s.ID)
		}
	}
	w.bridged("port", "add", id[:10], "8080:80")
	w.bridged("port", "rm", id[:10], "8080:80")
	net := w.bridged("network", "create", "mine")
	w.bridged("sandbox", "create", "--network", net[:12], "c2")
	if _, ok := w.inspect("c2").Networks["mine"]; !ok {
		t.Errorf("c2 is on %v", w.inspect("c2").Networks)
	}
	if got := lines(w.bridged("sandbox", "ls", "-q")); len(got) != 2 {
		t.Errorf("ls -q prints %v", got)
	}
	all := w.bridged("sandbox", "ls", "--json")
	same(t, "ls --json against inspect", all, w.bridged("sandbox", "inspect", "c2", "web"))
	for _, list := range []string{"sandbox ls", "network ls", "port ls"} {
		if strings.Contains(w.bridged(strings.Fields(list)...), "\x1b") {
			t.Errorf("%s has colours", list)
		}
	}
	w.fails(4, []string{"web"}, "sandbox", "create", "web")
	w.fails(4, []string{"mine"}, "network", "create", "mine")
	w.fails(4, []string{"mine"}, "network", "rm", "mine")
	w.fails(3, []string{"nobody"}, "sandbox", "rm", "nobody")
	w.bridged("sandbox", "rm", id[:12])
	w.fails(3, []string{"web"}, "sandbox", "inspect", "web")
}

// exec replaces itself by the command, in the sandbox's namespace.
func TestExec(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	m := w.member("c1", "bridge")
	if out := w.bridged("sandbox", "exec", "c1", "--", "ip", "-o", "addr", "show", "eth0"); !strings.Contains(out, m.IPAddress) {
		t.Errorf("exec printed %s", out)
	}
	if r := w.try("sandbox", "exec", "c1", "--", "sh", "-c", "echo out; echo err >&2; exit 7"); r.code != 7 || r.stdout != "out\n" || r.stderr != "err\n" {
		t.Errorf("exec: %v", r)
	}
	w.fails(3, []string{"nobody"}, "sandbox", "exec", "nobody", "--", "true")
	if r := w.try("sandbox", "exec", "c1", "--", "/no/such/program"); r.code == 0 {
		t.Errorf("exec: %v", r)
	}
}

// The daemon starts nothing and opens nothing but its socket: what is in the run directory is its own.
func TestSocketMode(t *testing.T) {
	w := newWorld(t)
	w.daemon()
	err := w.host.Do(func() error {
		info, err := os.Stat("/run/bridged/bridged.sock")
		if err == nil && info.Mode().Perm() != 0o660 {
			err = fmt.Errorf("the socket's mode is %s", info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
