package test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// Forwarding: switched on where it must be, and then the host is no router for others.
func TestStartForwarding(t *testing.T) {
	const off, on4 = "net/ipv4/ip_forward 0", "net/ipv4/ip_forward 1"
	const off6, on6 = "net/ipv6/conf/all/forwarding 0", "net/ipv6/conf/all/forwarding 1"
	fence4, fence46 := `(?s)set norouter \{[^}]*elements = \{ ipv4 \}`, `(?s)set norouter \{[^}]*elements = \{ ipv4, ipv6 \}`
	none := `(?s)set norouter \{[^}]*elements`
	hint := []string{"sysctl -w net.ipv4.ip_forward=1"}
	runStarts(t, []start{
		{name: "off", sysctls: []string{on4, off6}, rules: []string{fence4}},
		{name: "off, IPv6", flags: "--ipv6", sysctls: []string{on4, on6}, rules: []string{fence46}},
		{name: "on", host: "set_sysctl net/ipv4/ip_forward 1", sysctls: []string{on4}, norules: []string{none}},
		{
			name: "on for IPv4 only", host: "set_sysctl net/ipv4/ip_forward 1", flags: "--ipv6", sysctls: []string{on4, on6},
			rules: []string{`(?s)set norouter \{[^}]*elements = \{ ipv6 \}`},
		},
		{name: "not allowed", flags: "--ip-forward=false", sysctls: []string{off}, warns: hint, norules: []string{none}},
		{name: "not allowed, on", flags: "--ip-forward=false", host: "set_sysctl net/ipv4/ip_forward 1", sysctls: []string{on4}, norules: []string{none}},
		{name: "without a fence", flags: "--ip-forward-no-drop", sysctls: []string{on4}, norules: []string{none}},
		{
			name: "can't be switched on", host: "mount --bind /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward; mount -o remount,ro,bind /proc/sys/net/ipv4/ip_forward",
			sysctls: []string{off}, logs: []string{`cannot switch IPv4 forwarding on`}, warns: []string{"sysctl -w net.ipv4.ip_forward=1"},
		},

		{name: "remembered", past: []past{{}}, sysctls: []string{on4}, rules: []string{fence4}},
		{name: "remembered by a later run", past: []past{{}, {}, {}}, sysctls: []string{on4}, rules: []string{fence4}},
		{name: "remembered without the permission", past: []past{{}}, flags: "--ip-forward=false", sysctls: []string{on4}, rules: []string{fence4}},
		{name: "remembered without a default network", past: []past{{}}, flags: "-b none", bridge: "none", sysctls: []string{on4}, rules: []string{fence4}},
		{name: "remembered, and opened", past: []past{{}}, flags: "--ip-forward-no-drop", sysctls: []string{on4}, norules: []string{none}},
		{name: "opened, and closed again", past: []past{{flags: "--ip-forward-no-drop"}}, sysctls: []string{on4}, rules: []string{fence4}},
		{name: "IPv6 comes later", past: []past{{}}, flags: "--ipv6", sysctls: []string{on4, on6}, rules: []string{fence46}},
		{
			name: "switched off by somebody", past: []past{{then: "set_sysctl net/ipv4/ip_forward 0"}}, sysctls: []string{on4}, rules: []string{fence4},
		},
		{
			name: "switched off by somebody, not allowed", past: []past{{then: "set_sysctl net/ipv4/ip_forward 0"}}, flags: "--ip-forward=false",
			sysctls: []string{off}, warns: hint,
		},
		{name: "a reboot forgets it", past: []past{{then: "reboot; set_sysctl net/ipv4/ip_forward 1"}}, sysctls: []string{on4}, norules: []string{none}},
		{name: "after a reboot", past: []past{{then: "reboot"}}, sysctls: []string{on4}, rules: []string{fence4}},
		{
			name: "a network needs it later", flags: "-b none", bridge: "none", sysctls: []string{off6},
			check: func(t *testing.T, w *world) {
				if got := w.host.ReadSysctl(t, "net/ipv4/ip_forward"); got != "0" {
					t.Errorf("without a network that needs it, forwarding is %s", got)
				}
				w.bridged("network", "create", "mine")
				if got := w.host.ReadSysctl(t, "net/ipv4/ip_forward"); got != "1" {
					t.Errorf("forwarding is %s", got)
				}
				if text := w.nft("list", "set", "inet", "bridged", "norouter"); !strings.Contains(text, "elements = { ipv4 }") {
					t.Errorf("%s", text)
				}
			},
		},
	})
}

// A host whose forwarding we switched on is no router for others: not at once, not after a restart, not with other flags.
func TestNoOpenRouter(t *testing.T) {
	w := newWorld(t)
	srv := netip.AddrPortFrom(far4, 80)
	w.host.Sysctl(t, "net/ipv6/conf/all/forwarding", "1") // by the administrator: that family goes on
	flowtest.Serve(t, w.far, 80)
	flowtest.Serve(t, w.host, 81)
	closed := func() {
		t.Helper()
		// What is lost goes out of far0, where the control's answers do.
		flowtest.Lost(t, w.lan, "tcp", srv, w.far, 80, flowtest.Via(w.lan, netip.AddrPortFrom(far6, 80)))
		flowtest.Lost(t, w.lan, "udp", srv, w.far, 80, flowtest.Via(w.lan, netip.AddrPortFrom(far6, 80)))
		flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(far6, 80), "far")
	}
	for _, flags := range []string{"", "", "--ip-forward=false", "-b none", "--ipv6", "--iptables=false"} {
		d := w.daemon(strings.Fields(flags)...)
		closed()
		d.Stop()
		closed()
	}
	d := w.daemon("--ip-forward-no-drop")
	flowtest.Reaches(t, w.lan, "tcp", srv, "far")
	d.Kill()
	w.daemon()
	closed()
}

// Without a packet filter.
func TestStartWithoutFirewall(t *testing.T) {
	const off, on4 = "net/ipv4/ip_forward 0", "net/ipv4/ip_forward 1"
	hint := []string{"--ip-forward-no-drop"}
	tables := []string{`table (inet|bridge) bridged \{`}
	taken := func(commands string, says ...string) start {
		return start{
			name: "needed: " + commands, past: []past{{commands: commands}}, flags: "--iptables=false", refused: 4,
			says: append([]string{"--iptables=false"}, says...),
		}
	}
	runStarts(t, []start{
		{
			name: "nothing there", flags: "--iptables=false", bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.1/16 via 172.17.42.1",
			norules: tables, sysctls: []string{off}, warns: hint, check: func(t *testing.T, w *world) {
				if s := decode[statusJSON](w, "status", "--json"); s.Protection != "none" || s.ICCBy != "none" {
					t.Errorf("status: %+v", s)
				}
				if text := w.bridged("ruleset"); text != "" {
					t.Errorf("a ruleset: %s", text)
				}
			},
		},
		{name: "by its other name", flags: "--firewall=false", bridge: "docker0 172.17.42.1/16", norules: tables, sysctls: []string{off}, warns: hint},
		{name: "forwarding is on", host: "set_sysctl net/ipv4/ip_forward 1", flags: "--iptables=false", sysctls: []string{on4}, norules: tables},
		{name: "forwarding for everybody", flags: "--iptables=false --ip-forward-no-drop", sysctls: []string{on4}, norules: tables},
		{name: "forwarding for everybody, IPv6", flags: "--iptables=false --ip-forward-no-drop --ipv6", sysctls: []string{on4, "net/ipv6/conf/all/forwarding 1"}, norules: tables},
		{
			name: "IPv4 forwarding is on, IPv6's is not", host: "set_sysctl net/ipv4/ip_forward 1", flags: "--iptables=false --ipv6",
			sysctls: []string{on4, "net/ipv6/conf/all/forwarding 0"}, norules: tables, warns: []string{"sysctl -w net.ipv6.conf.all.forwarding=1"},
		},
		{name: "not allowed either", flags: "--iptables=false --ip-forward=false --ip-forward-no-drop", sysctls: []string{off}, norules: tables, warns: []string{"leave --ip-forward=false out"}},
		{
			name: "tables of an earlier run", past: []past{{flags: "--ipv6", commands: "sandbox create c1"}}, flags: "--iptables=false --ipv6",
			norules: tables, bridge: "", warns: hint, sysctls: []string{off, "net/ipv6/conf/all/forwarding 0"},
		},
		{
			name: "tables of others", host: "nft add table inet theirs; nft add table ip bridged; nft add table inet bridged2", past: []past{{}},
			flags: "--iptables=false", norules: tables, rules: []string{`table inet theirs`, `table ip bridged`, `table inet bridged2`}, warns: hint,
		},
		{
			name: "switched off and on", past: []past{{commands: "sandbox create c1"}, {flags: "--iptables=false", commands: "sandbox create c2"}},
			sandbox: "172.17.0.3/16 via 172.17.42.1", sysctls: []string{on4}, rules: []string{
				`(?s)set source4 \{[^}]*172\.17\.0\.1[^}]*172\.17\.0\.2`, `(?s)set norouter \{[^}]*ipv4`,
			},
		},
		{
			name: "ICC was off", past: []past{{flags: "--icc=false", commands: "sandbox create c1"}}, flags: "--iptables=false",
			norules: tables, warns: hint,
		},
		taken("sandbox create -p 8080:80 c1", "8080"),
		taken("network create --internal inside", "internal network inside"),
		taken("network create -o com.docker.network.bridge.enable_icc=false apart", "network apart", "ICC"),
		taken("network create -o bridged.source-guard=true guarded", "network guarded", "source guard"),
		{
			name: "needed, by the other name", past: []past{{commands: "network create --internal inside"}}, flags: "--firewall=false", refused: 4,
			says: []string{"--firewall=false", "internal network inside"},
		},
		{
			name: "what is refused", flags: "--iptables=false", warns: hint, norules: tables,
			check: func(t *testing.T, w *world) {
				w.create("c1")
				w.create("c2")
				before := w.snapshot(t)
				for _, args := range []string{
					"sandbox create -p 8080:80 c3", "port add c1 8080:80", "network create --internal inside",
					"network create -o com.docker.network.bridge.enable_icc=false apart", "network create -o bridged.source-guard=true guarded",
				} {
					w.fails(4, []string{"--iptables=false"}, strings.Fields(args)...)
				}
				unchanged(t, before, w.snapshot(t))
			},
		},
		{
			name: "what works", flags: "--firewall=false --ipv6", warns: hint, norules: tables,
			check: func(t *testing.T, w *world) {
				w.bridged("network", "create", "--ipv6", "--subnet", "10.9.0.0/24", "mine")
				w.bridged("network", "create", "-o", "bridged.source-guard=false", "open")
				c1, c2 := w.member("c1", "mine"), w.member("c2", "mine")
				flowtest.Serve(t, c1.Space, 80)
				for _, f := range families {
					flowtest.Reaches(t, c2.Space, "tcp", netip.AddrPortFrom(c1.addr(f), 80), "c1")
					flowtest.Reaches(t, w.host, "tcp", netip.AddrPortFrom(c1.addr(f), 80), "c1")
				}
				w.fails(4, []string{"--firewall=false"}, "port", "add", "c1", "8080:80")
			},
		},
	})
}
