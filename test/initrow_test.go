package test

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// start is one row of the tables of initialisations: a host prepared so and flags so lead to this bridge and this ruleset,
// or to this error, and then nothing has changed. An empty expectation expects nothing, but for warnings: those that are not
// expected must not be there.
type start struct {
	name string
	// host is lines of sh that prepare the host, with the functions of prelude.
	host string
	// past are earlier runs of the daemon, in their order.
	past []past
	// flags are those of the daemon.
	flags string

	// refused is the status of a daemon that must not start; says are the texts that its message holds.
	refused int
	says    []string

	// bridge is the default network's, as "docker0 172.17.42.1/16 fd00:1::1/64": its interface and all addresses but link-local
	// ones; "none" when there must be no network "bridge".
	bridge string
	// sandbox is a new sandbox's addresses and gateways, as "172.17.0.1/16 via 172.17.42.1".
	sandbox string
	mtu     int      // of the bridge and inside the new sandbox
	sysctls []string // as "net/ipv4/ip_forward 1"
	// rules and norules are regular expressions for the text of `nft -s list ruleset`.
	rules, norules []string
	warns          []string // in the status, each once
	logs           []string // regular expressions for the daemon's log, in their order
	// links are interfaces that must be there (docker0) or must not (-docker0).
	links string
	check func(t *testing.T, w *world)
}

// past is an earlier run: the daemon with its flags, commands of bridged one a line, and lines of sh when it has ended.
type past struct{ flags, commands, then string }

// prelude is what host lines may use beside commands of the system.
const prelude = `set -e
# set_sysctl NAME VALUE writes one, named by its path under /proc/sys.
set_sysctl() { echo "$2" >"/proc/sys/$1"; }
# file PATH TEXT hides a file of the machine behind one of our own, on this host alone. printf's escapes are understood.
file() {
	at=$(readlink -m "$1"); own=/run/own$(echo "$at" | tr / -)
	printf "$2" >"$own"
	case $at in /run/*) mkdir -p "$(dirname "$at")"; cp "$own" "$at";; *) mount --bind "$own" "$at";; esac
}
resolv() { file /etc/resolv.conf "$1"; }
# port_of BRIDGE NAME gives the bridge a port that is somebody else's.
port_of() { pair_of "$2"; ip link set "$2" master "$1" up; ip link set "$2-peer" up; }
# pair_of NAME makes a pair of links. They get no link-local address: it comes some time after the link is up, and would look like
# something that the daemon did.
pair_of() { ip link add "$1" type veth peer name "$1-peer"; for l in "$1" "$1-peer"; do set_sysctl "net/ipv6/conf/$l/addr_gen_mode" 1; done; }
# reboot is what a reboot leaves of a host: the state directory, and the run directory where that is on a disk.
reboot() {
	for ns in /run/netns/*; do [ ! -e "$ns" ] || { umount "$ns"; rm "$ns"; }; done
	for l in $(ls /sys/class/net); do case $l in docker0|br*|bd*|bv*) ip link del "$l" 2>/dev/null || true;; esac; done
	nft flush ruleset
	set_sysctl net/ipv4/ip_forward 0
	set_sysctl net/ipv6/conf/all/forwarding 0
	file /proc/sys/kernel/random/boot_id "$(cat /proc/sys/kernel/random/uuid)\n"
}
resolv ''
pair_of lan0
ip link set lan0 up; ip link set lan0-peer up
ip addr add 192.0.2.1/24 dev lan0
ip addr add 2001:db8:1::1/64 dev lan0 nodad
ip route add default via 192.0.2.2
ip route add default via 2001:db8:1::2
`

// newHost is a world without neighbours: for what is seen on the host itself.
func newHost(t testing.TB) *world {
	t.Helper()
	need(t)
	return &world{t: t, dir: t.TempDir(), sandboxes: make(map[string]*flowtest.Space), host: flowtest.NewSpace(t, "host", true)}
}

// sh runs lines of sh on the host.
func (w *world) sh(script string) string {
	w.t.Helper()
	return w.host.Input(w.t, script, "sh", "-s")
}

func runStarts(t *testing.T, rows []start) {
	names := make(map[string]bool)
	for _, r := range rows {
		if names[r.name] {
			t.Errorf("two rows are called %q", r.name)
		}
		names[r.name] = true
		t.Run(strings.ReplaceAll(r.name, "/", "|"), func(t *testing.T) {
			t.Parallel() // each on a host of its own
			r.run(t)
		})
	}
}

// functions are the prelude without what it does at once.
var functions, _, _ = strings.Cut(prelude, "resolv ''\n")

func (r start) run(t *testing.T) {
	w := newHost(t)
	w.sh(prelude + r.host)
	complete := func() bool { return w.complete(t) }
	w.await(t, "the host's own addresses", complete)
	for _, p := range r.past {
		d := w.daemon(strings.Fields(p.flags)...)
		for _, line := range lines(p.commands) {
			w.bridged(strings.Fields(line)...)
		}
		d.Stop()
		w.sh(functions + p.then)
		w.await(t, "the host's own addresses", complete)
	}
	if len(r.says) > 0 {
		r.refuses(t, w)
	} else {
		r.starts(t, w)
	}
}

// complete says whether the kernel has done what follows from links and addresses: IPv6's routes and link-local addresses come a
// little later, and would look like something that the daemon did.
func (w *world) complete(t testing.TB) bool {
	t.Helper()
	local := w.host.Output(t, "ip", "-6", "route", "show", "table", "local")
	for _, l := range linksOf(t, w.host) {
		if l.Group == ourGroup || !slices.Contains(l.Flags, "UP") || !slices.Contains(l.Flags, "LOWER_UP") {
			continue
		}
		linkLocal := l.LinkLocal != "eui64" || slices.Contains(l.Flags, "LOOPBACK")
		for _, a := range l.AddrInfo {
			linkLocal = linkLocal || a.Family == "inet6" && a.Scope == "link"
			if a.Family == "inet6" && !strings.Contains(local, "local "+a.Local+" dev "+l.Name+" ") {
				return false
			}
		}
		if !linkLocal {
			return false
		}
	}
	return true
}

// refuses: the daemon ends with a message, and the host is as it was.
func (r start) refuses(t *testing.T, w *world) {
	before := w.hostSnapshot(t)
	got := w.once(nil, append([]string{"daemon", "--state-dir", w.dir}, strings.Fields(r.flags)...)...)
	if got.code != r.refused {
		t.Errorf("want status %d: %v", r.refused, got)
	}
	for _, text := range r.says {
		if !strings.Contains(got.stderr, text) {
			t.Errorf("want %q in the message: %v", text, got)
		}
	}
	unchanged(t, before, w.hostSnapshot(t))
}

// starts: the daemon is ready, the host is as the row says, and what was not ours is as it was. A second start with the same
// flags changes nothing.
func (r start) starts(t *testing.T, w *world) {
	before := linksOf(t, w.host)
	d := w.daemon(strings.Fields(r.flags)...)
	status := decode[statusJSON](w, "status", "--json")
	r.checkWarnings(t, status)
	r.checkBridge(t, w)
	ruleset := w.nft("list", "ruleset")
	for _, rule := range r.rules {
		if !regexp.MustCompile(rule).MatchString(ruleset) {
			t.Errorf("want %s in the ruleset:\n%s", rule, ruleset)
		}
	}
	for _, rule := range r.norules {
		if regexp.MustCompile(rule).MatchString(ruleset) {
			t.Errorf("%s is in the ruleset:\n%s", rule, ruleset)
		}
	}
	for _, s := range r.sysctls {
		name, want, _ := strings.Cut(s, " ")
		if got := w.host.ReadSysctl(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	r.checkLinks(t, w, before)
	if r.check != nil {
		r.check(t, w)
	}
	w.settled()
	r.again(t, w, d)
}

func (r start) checkWarnings(t *testing.T, status statusJSON) {
	t.Helper()
	if !status.Ready {
		t.Errorf("status: %+v", status)
	}
	for _, want := range r.warns {
		if i := slices.IndexFunc(status.Warnings, func(s string) bool { return strings.Contains(s, want) }); i < 0 {
			t.Errorf("want a warning with %q, there is %q", want, status.Warnings)
		}
	}
	if len(status.Warnings) != len(r.warns) {
		t.Errorf("want %d warnings, there are %d: %q", len(r.warns), len(status.Warnings), status.Warnings)
	}
}

// checkLog reads the log of a daemon that has ended.
func (r start) checkLog(t *testing.T, d *daemon) {
	t.Helper()
	log := d.Log.String()
	for _, want := range r.logs {
		at := regexp.MustCompile(want).FindStringIndex(log)
		if at == nil {
			t.Errorf("want %s in the rest of the log:\n%s", want, log)
			continue
		}
		log = log[at[1]:]
	}
}

// checkBridge makes a sandbox on the default network and takes it away.
func (r start) checkBridge(t *testing.T, w *world) {
	t.Helper()
	if r.bridge == "none" {
		w.fails(3, []string{"bridge"}, "network", "inspect", "bridge")
		return
	}
	name, _, _ := strings.Cut(r.bridge, " ")
	bridge := linksOf(t, w.host)[name]
	if got := strings.Join(append([]string{bridge.Name}, globalAddresses(bridge)...), " "); r.bridge != "" && got != r.bridge {
		t.Errorf("the bridge is %q, want %q", got, r.bridge)
	}
	m := w.member("new", "bridge")
	inside := linksOf(t, m.Space)["eth0"]
	got := strings.Join(globalAddresses(inside), " ") + " via " + strings.TrimSpace(m.Gateway+" "+m.IPv6Gateway)
	if r.sandbox != "" && got != r.sandbox {
		t.Errorf("the sandbox is %q, want %q", got, r.sandbox)
	}
	master := linksOf(t, w.host)[w.masterOf(m.HostInterface)]
	if r.bridge != "" && master.Name != name {
		t.Errorf("the sandbox is on %s", master.Name)
	}
	if r.mtu != 0 && (master.MTU != r.mtu || inside.MTU != r.mtu) {
		t.Errorf("the MTU is %d, and %d inside: want %d", master.MTU, inside.MTU, r.mtu)
	}
	if err := pingGateways(m); err != nil {
		t.Error(err)
	}
	w.bridged("sandbox", "rm", "new")
	if after := linksOf(t, w.host)[master.Name].Address; bridge.Name != "" && after != bridge.Address {
		t.Errorf("the bridge's MAC was %s, and is %s", bridge.Address, after)
	}
}

// pingGateways asks the sandbox's gateways.
func pingGateways(m member) error {
	err := m.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0) })
	for _, gw := range []netip.Addr{m.gw4, m.gw6} {
		if gw.IsValid() && err == nil {
			err = flowtest.Ping(m.Space, gw)
		}
	}
	if err != nil {
		return fmt.Errorf("the sandbox does not reach its gateway: %w", err)
	}
	return nil
}

// checkLinks holds the interfaces against those of before: what was not ours has what it had.
func (r start) checkLinks(t *testing.T, w *world, before map[string]link) {
	t.Helper()
	after := linksOf(t, w.host)
	for _, name := range strings.Fields(r.links) {
		name, not := strings.CutPrefix(name, "-")
		if _, there := after[name]; there == not {
			t.Errorf("the interface %s is there: %t", name, there)
		}
	}
	bridge, _, _ := strings.Cut(r.bridge, " ")
	for name, had := range before {
		has, ours := after[name], name == bridge && !strings.Contains(r.flags, "-b "+name) || had.Group == ourGroup
		if !ours && (has.Address != had.Address || has.MTU != had.MTU || has.Master != had.Master || has.Index != had.Index ||
			!slices.Equal(globalAddresses(has), globalAddresses(had)) || !slices.Equal(withoutCarrier(has.Flags), withoutCarrier(had.Flags))) {
			t.Errorf("%s is not ours; it was %+v, and is %+v", name, had, has)
		}
	}
}

// again starts the daemon once more.
func (r start) again(t *testing.T, w *world, d *daemon) {
	t.Helper()
	d.Stop()
	r.checkLog(t, d)
	before := w.hostSnapshot(t)
	w.daemon(strings.Fields(r.flags)...).Stop()
	unchanged(t, before, w.hostSnapshot(t))
}

// ourGroup is the link group of what the daemon made.
const ourGroup = "1651663975"

// withoutCarrier are a link's flags but for those that say whether somebody is at the other end.
func withoutCarrier(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == "LOWER_UP" || f == "NO-CARRIER" })
}

// globalAddresses are a link's addresses with their prefix lengths, IPv4 first, without IPv6's link-local ones.
func globalAddresses(l link) []string {
	all := []string{}
	for _, family := range []string{"inet", "inet6"} {
		for _, a := range l.AddrInfo {
			if a.Family == family && (family == "inet" || a.Scope != "link") {
				all = append(all, fmt.Sprintf("%s/%d", a.Local, a.PrefixLen))
			}
		}
	}
	return all
}

// carrier is what tells of a bridge whether somebody is at the other end of one of its ports: the kernel finds out in its own time.
var carrier = regexp.MustCompile(`NO-CARRIER,|,LOWER_UP| state [A-Z]+| linkdown`)

// hostSnapshot is everything that a start of the daemon could change: what a request could, and settings.
func (w *world) hostSnapshot(t testing.TB) map[string]string {
	t.Helper()
	s := w.snapshot(t)
	for name, text := range s {
		if strings.HasSuffix(name, "/lock") { // holds the pid
			delete(s, name)
		} else {
			s[name] = carrier.ReplaceAllString(text, "")
		}
	}
	err := w.host.Do(func() error {
		for _, dir := range []string{"net/ipv4/conf", "net/ipv6/conf", "net/bridge"} {
			settings, err := readSettings(dir)
			if err != nil {
				return err
			}
			s[dir] = settings
		}
		one, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		s["net/ipv4/ip_forward"] = string(one)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readSettings is all sysctls of a directory that can be read, one a line.
func readSettings(dir string) (string, error) {
	var all strings.Builder
	entries, err := os.ReadDir("/proc/sys/" + dir)
	if os.IsNotExist(err) {
		return "", nil
	}
	for _, e := range entries {
		path := dir + "/" + e.Name()
		if e.IsDir() {
			text, err := readSettings(path)
			if err != nil {
				return "", err
			}
			all.WriteString(text)
		} else if value, err := os.ReadFile("/proc/sys/" + path); err == nil {
			fmt.Fprintf(&all, "%s %s", path, value)
		}
	}
	return all.String(), err
}
