package dockerengine

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// usualPath is where iptables is.
const usualPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// Beside an engine that programs iptables itself, whose policy drops what it does not know, on a host where br_netfilter shows it also what goes between
// two containers: that is found and explained, and with what the explanation says to do all flows hold.
func TestBesideIPTables(t *testing.T) {
	t.Run("as status says", func(t *testing.T) { besideIPTables(t, nil) })
	t.Run("as documented", func(t *testing.T) { besideIPTables(t, documented(t)) })
}

// besideIPTables runs the commands, and then what status says that is left to do.
func besideIPTables(t *testing.T, commands []string) {
	w := newWorld(t)
	w.ours = w.daemon("--ip-forward-no-drop")
	w.engines = w.engine(usualPath, "--bip", "172.31.0.1/24", "--ip6tables", "--experimental", "--fixed-cidr-v6", "fd00:31::/64", "--ipv6")
	w.bridgeNetfilter(t, true)
	w.importImage()
	h := w.fill(t, true)
	if rules := w.host.Output(t, "iptables", "-S", "FORWARD"); !strings.Contains(rules, "-P FORWARD DROP") {
		t.Fatalf("the engine leaves forwarding open:\n%s", rules)
	}

	published := netip.AddrPortFrom(host4, 8080)
	flowtest.Lost(t, h.lan, "tcp", published, h.c1.Space, 80, flowtest.Via(h.host, published))
	second := netip.AddrPortFrom(h.c2.on("n1").addr(families[0]), 80)
	flowtest.Lost(t, h.c1.Space, "tcp", second, h.c2.Space, 80, flowtest.Via(h.host, second))

	warnings := w.warnings()
	for _, says := range []string{"ip filter FORWARD stops new connections", "DOCKER-USER", "bridge-nf-call-iptables", "Docker Engine"} {
		if !strings.Contains(warnings, says) {
			t.Errorf("status does not say %q:\n%s", says, warnings)
		}
	}
	for _, command := range commands {
		w.host.Output(t, "sh", "-c", command)
	}
	for _, command := range commandsOf(w.warnings()) {
		w.host.Output(t, "sh", "-c", command)
	}
	if left := w.warnings(); left != "" {
		t.Errorf("after what the warnings say to do there are still\n%s", left)
	}
	h.hold(t, true)

	// The engine's own bridge is as it was, and its containers and ours are strangers to each other: they meet at published ports only.
	own := w.run("own", "-p", "8088:80")
	flowtest.Serve(t, own.Space, 80, 81)
	at := func(c container, network string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(c.on(network).addr(families[0]), port)
	}
	flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host4, 8088), "own")
	flowtest.Reaches(t, own.Space, "tcp", netip.AddrPortFrom(lan4, 80), "lan")
	flowtest.Reaches(t, own.Space, "tcp", published, "c1")
	flowtest.Reaches(t, h.c1.Space, "tcp", netip.AddrPortFrom(host4, 8088), "own")
	flowtest.Lost(t, h.c1.Space, "tcp", at(own, "bridge", 81), own.Space, 81, flowtest.Via(h.host, at(own, "bridge", 81)))
	flowtest.Lost(t, own.Space, "tcp", at(h.c1, "n1", 80), h.c1.Space, 80, flowtest.Via(h.host, at(h.c1, "n1", 80)))
	w.settled()
}

// warnings are what status warns of.
func (w *world) warnings() string {
	w.t.Helper()
	return strings.Join(decode[struct{ Warnings []string }](w, "status", "--json").Warnings, "\n")
}

// commandsOf are the iptables commands of warnings, each once.
func commandsOf(warnings string) []string {
	var all []string
	for _, m := range regexp.MustCompile("`(ip6?tables -I [^`]*)`").FindAllStringSubmatch(warnings, -1) {
		if !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

// documented are the iptables commands of the documentation.
func documented(t testing.TB) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/docker.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "iptables -I ") {
			all = append(all, line)
		}
	}
	return all
}
