package test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// restarts are the ways in which a daemon ends before the next one starts.
var restarts = map[string]func(*daemon){"stopped": (*daemon).Stop, "killed": (*daemon).Kill}

// protections are the ways to keep the tables. Where the kernel can't own tables, there is only one.
func protections(t *testing.T, f func(t *testing.T, flag string)) {
	for _, p := range []string{"auto", "monitor"} {
		t.Run(p, func(t *testing.T) { f(t, "--protection="+p) })
	}
}

// A restart with nothing to do writes no rule and no element, and everything is as it was.
func TestRestartWritesNothing(t *testing.T) {
	protections(t, func(t *testing.T, flag string) {
		w := newWorld(t)
		d := w.daemon("--ipv6", flag)
		w.populate()
		for name, end := range restarts {
			objects, filter, links := w.objects(), w.nft("list", "ruleset"), w.host.Addresses(t)
			g := w.generations()
			end(d)
			if all := g.take(t); len(all) != 0 {
				t.Errorf("%s: the end of the daemon made %d transactions: %v", name, len(all), all)
			}
			d = w.daemon("--ipv6", flag)
			all := g.take(t)
			if len(all) > 1 {
				t.Errorf("%s: the restart made %d transactions: %v", name, len(all), all)
			}
			for _, b := range all {
				for kind := range b {
					if kind != "new table" {
						t.Errorf("%s: the restart wrote: %v", name, b)
					}
				}
			}
			w.settled()
			same(t, name+": objects", objects, w.objects())
			same(t, name+": packet filter", filter, w.nft("list", "ruleset"))
			same(t, name+": links", links, w.host.Addresses(t))
			if s := decode[statusJSON](w, "status", "--json"); s.Repairs != 0 || !s.Ready {
				t.Errorf("%s: status after the restart: %+v", name, s)
			}
		}
	})
}

// populate makes a little of everything.
func (w *world) populate() {
	w.t.Helper()
	w.bridged("network", "create", "--ipv6", "second")
	w.bridged("network", "create", "--internal", "inside")
	w.create("-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.2:81:81", "c1")
	w.create("c2")
	w.create("--network", "second", "-p", "9000-9009:9000-9009", "c3")
	w.create("--network", "inside", "c4")
	w.bridged("sandbox", "create", "--network", "none", "c5")
	w.bridged("sandbox", "create", "--network", "host", "c6")
}

// objects is everything the commands show.
func (w *world) objects() string {
	w.t.Helper()
	return w.bridged("network", "ls", "--json") + w.bridged("sandbox", "ls", "--json") + w.bridged("port", "ls", "--json")
}

// same compares two texts line by line.
func same(t testing.TB, what, before, after string) {
	t.Helper()
	if before == after {
		return
	}
	had := make(map[string]int)
	for _, l := range lines(before) {
		had[l]++
	}
	var diff []string
	for _, l := range lines(after) {
		if had[l] == 0 {
			diff = append(diff, "+ "+l)
		}
		had[l]--
	}
	for l, n := range had {
		if n > 0 {
			diff = append(diff, "- "+l)
		}
	}
	t.Errorf("%s changed:\n%s", what, strings.Join(diff, "\n"))
}

// An established connection through a published port outlives the daemon, and while none runs new ones work.
func TestConnectionsOutliveTheDaemon(t *testing.T) {
	for name, end := range restarts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.daemon("--ipv6")
			m := w.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp")
			flowtest.Serve(t, m.Space, 80)
			conns := make(map[netip.Addr]*flowtest.Echo)
			for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
				conns[host] = flowtest.OpenEcho(t, w.lan, netip.AddrPortFrom(host, 8080))
			}
			check := func() {
				t.Helper()
				for host, c := range conns {
					c.Say(t, "still there?")
					for _, proto := range []string{"tcp", "udp"} {
						flowtest.Reaches(t, w.lan, proto, netip.AddrPortFrom(host, 8080), "c1")
					}
				}
			}
			check()
			end(d)
			check()
			w.daemon("--ipv6")
			check()
		})
	}
}

// The ruleset that bridged prints is the one that nft prints, and one that nft reads.
func TestRulesetText(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	w.populate()
	kernel := w.bridged("ruleset", "--kernel")
	same(t, "the text of the kernel's tables", w.filter(), plain(kernel)+"\n")
	same(t, "the text of the desired tables", plain(kernel), plain(w.bridged("ruleset", "--desired")))
	same(t, "the default text", plain(w.bridged("ruleset")), plain(w.bridged("ruleset", "--desired")))

	// What was printed can be loaded, and says the same again.
	other := flowtest.NewSpace(t, "other", false)
	other.Input(t, unowned(kernel), "nft", "-f", "-")
	same(t, "the text after loading it", plain(kernel), plain(other.Output(t, "nft", "-s", "list", "ruleset")))
}

// plain is a ruleset's lines without what nft versions differ in: indentation, empty lines, comments, table flags, and the
// order of elements and how they are broken into lines, which the kernel's hash tables decide.
func plain(text string) string {
	text = elements.ReplaceAllStringFunc(unowned(text), func(s string) string {
		all := strings.Split(elements.FindStringSubmatch(s)[1], ",")
		for i, e := range all {
			all[i] = "  " + strings.Join(strings.Fields(e), " ")
		}
		slices.Sort(all)
		return "elements\n" + strings.Join(all, "\n")
	})
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

var elements = regexp.MustCompile(`elements = \{([^}]*)\}`)

// unowned is a ruleset without the tables' flags: nft 1.0.6 doesn't know all of them, and can't load an owned table that
// stays.
func unowned(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if table, _, found := strings.Cut(line, "# progname"); found && strings.HasPrefix(table, "table") {
			line = strings.TrimRight(table, " ") + "\n"
		}
		if f := strings.TrimSpace(line); strings.HasPrefix(f, "flags owner") || strings.HasPrefix(f, "flags persist") {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// Somebody flushes every table: flows go on where the tables are owned, and come back where they are watched.
func TestFlushRuleset(t *testing.T) {
	protections(t, func(t *testing.T, flag string) {
		w := newWorld(t)
		w.daemon("--ipv6", flag)
		m := w.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp")
		flowtest.Serve(t, m.Space, 80)
		before := w.filter()
		owned := strings.Contains(decode[statusJSON](w, "status", "--json").Protection, "owner")
		w.host.Output(t, "nft", "flush", "ruleset")
		if !owned {
			w.await(t, "the repair", func() bool { return w.filter() == before })
		}
		same(t, "the packet filter", before, w.filter())
		for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
			for _, proto := range []string{"tcp", "udp"} {
				flowtest.Reaches(t, w.lan, proto, netip.AddrPortFrom(host, 8080), "c1")
			}
		}
		w.settled()
		repairs := decode[statusJSON](w, "status", "--json").Repairs
		if owned && repairs != 0 || !owned && repairs == 0 {
			t.Errorf("%d repairs", repairs)
		}
	})
}

// What somebody else does to watched tables is undone; what is not ours stays.
func TestRepair(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6", "--protection=monitor")
	w.member("c1", "bridge", "-p", "8080:80")
	w.host.Input(t, "table inet other { chain c { type filter hook input priority 0; counter comment \"theirs\"; }; }", "nft", "-f", "-")
	before := w.filter()
	for _, damage := range []string{
		"delete table inet bridged",
		"delete table bridge bridged",
		"flush chain inet bridged forward",
		"flush map inet bridged publish4any",
		"flush set bridge bridged macs",
		"add element inet bridged publish4any { tcp . 99 : 10.0.0.1 . 99 }",
		"add rule inet bridged forward counter accept",
		"insert rule bridge bridged prerouting accept",
	} {
		w.host.Output(t, "nft", strings.Fields(damage)...)
		w.await(t, "the repair of: "+damage, func() bool { return w.filter() == before })
	}
	w.settled()
	if !strings.Contains(w.nft("list", "ruleset"), `comment "theirs"`) {
		t.Error("somebody else's table is gone")
	}
}

// filter is both tables as nft lists them, in an order that does not depend on when they were made.
func (w *world) filter() string {
	w.t.Helper()
	var all string
	for _, family := range []string{"inet", "bridge"} {
		err := w.host.Do(func() error {
			// A table may be missing for a moment.
			out, _ := exec.Command("nft", "-s", "list", "table", family, "bridged").Output()
			all += plain(string(out)) + "\n"
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// Addresses and links that others delete come back.
func TestRepairOfLinks(t *testing.T) {
	w := newWorld(t)
	w.daemon("--ipv6")
	m := w.member("c1", "bridge", "-p", "8080:80")
	flowtest.Serve(t, m.Space, 80)
	for _, damage := range []string{
		fmt.Sprintf("addr del %s/%d dev docker0", m.gw4, m.IPPrefixLen),
		fmt.Sprintf("addr del %s/%d dev docker0", m.gw6, m.GlobalIPv6PrefixLen),
		"link set docker0 down",
		fmt.Sprintf("link set %s nomaster", m.HostInterface),
		fmt.Sprintf("link set %s down", m.HostInterface),
	} {
		w.host.IP(t, damage)
		w.await(t, "the repair of: "+damage, func() bool {
			links := linksOf(t, w.host)
			found := make(map[string]bool)
			for _, a := range links["docker0"].AddrInfo {
				found[a.Local] = true
			}
			port := links[m.HostInterface]
			return found[m.gw4.String()] && found[m.gw6.String()] && links["docker0"].State == "UP" &&
				port.Master == "docker0" && port.State == "UP"
		})
	}
	// What others add stays.
	w.host.IP(t, "addr add 10.200.0.1/24 dev docker0")
	for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, 8080), "c1")
	}
	if !strings.Contains(w.host.Output(t, "ip", "addr", "show", "docker0"), "10.200.0.1/24") {
		t.Error("an address that somebody added to the bridge is gone")
	}
	w.settled()
}
