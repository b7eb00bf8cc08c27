package test

import (
	"strings"
	"testing"
)

// Flags that changed since the last run are applied as a difference, or refused where they would move running sandboxes.
func TestFlagsChanged(t *testing.T) {
	const br0 = "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up"
	c1 := func(flags string) []past { return []past{{flags: flags, commands: "sandbox create c1"}} }
	refused := func(before, after string, says ...string) start {
		return start{
			name: "refused: " + before + " → " + after, host: br0, past: c1(before), flags: after, refused: 4, says: append(says, "c1"),
		}
	}
	runStarts(t, []start{
		refused("", "-b br0", "172.17.42.1/16 on docker0", "10.5.0.1/24 on br0"),
		refused("", "-b none", "-b none"),
		refused("", "--bridge-name br5", "docker0", "br5"),
		refused("", "--bip 10.9.8.7/24", "172.17.42.1/16", "10.9.8.7/24"),
		refused("", "--bip 172.17.42.1/24", "172.17.42.1/16", "172.17.42.1/24"),
		refused("", "--bip 172.17.42.2/16", "172.17.42.1/16", "172.17.42.2/16"),
		refused("-b br0", "", "br0", "docker0"),
		refused("--ipv6 --bip6 fd00:1::1/64", "", "fd00:1::1/64"),
		refused("--ipv6 --bip6 fd00:1::1/64", "--ipv6 --bip6 fd00:2::1/64", "fd00:1::1/64", "fd00:2::1/64"),
		refused("--ipv6 --bip6 fd00:1::1/64", "--ipv6 --fixed-cidr-v6 fd00:1::/80", "fd00:1::1/64", "fd00:1::1/80"),
		{
			name: "refused while somebody shares a stack", flags: "-b none", refused: 4, says: []string{"-b none"},
			past: []past{{commands: "sandbox create c1\nsandbox create --network container:c1 c2\nsandbox rm c1"}},
		},

		// A start that fails leaves the data path of sandboxes as it is.
		{
			name: "IPv6 on, settings can't be written", past: []past{{commands: "sandbox create -p 8080:80 c1", then: "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys"}},
			flags: "--ipv6 --bip6 fd00:1::1/64 --icc=false", refused: 1, says: []string{"net/ipv6/conf/docker0", "read-only"},
		},
		{
			name:  "no packet filter and IPv6 on, settings can't be written",
			past:  []past{{commands: "sandbox create c1", then: "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys"}},
			flags: "--ipv6 --bip6 fd00:1::1/64 --iptables=false", refused: 1, says: []string{"switch IPv4 forwarding off", "read-only"},
		},

		// With sandboxes there.
		{
			name: "the same in other words", past: c1(""), flags: "--bip 172.17.42.1/16 --bridge-name docker0", bridge: "docker0 172.17.42.1/16",
			sandbox: "172.17.0.2/16 via 172.17.42.1",
		},
		{
			name: "--bip is left out", past: c1("--bip 10.9.8.7/24"), bridge: "docker0 10.9.8.7/24", sandbox: "10.9.8.2/24 via 10.9.8.7",
		},
		{
			name: "--bip6 is left out", past: c1("--ipv6 --bip6 fd00:1::1/64"), flags: "--ipv6", bridge: "docker0 172.17.42.1/16 fd00:1::1/64",
		},
		{
			name: "ICC off", past: c1(""), flags: "--icc=false", norules: []string{`(?s)set icc \{[^}]*elements`},
		},
		{
			name: "ICC on", past: c1("--icc=false"), rules: []string{
				`(?s)set icc \{[^}]*elements = \{ "docker0" \}`, `(?s)set icc \{[^}]*elements = \{ "bv[0-9a-f]{12}" \}`,
			},
		},
		{name: "masquerade off", past: c1(""), flags: "--ip-masq=false", norules: []string{`(?s)set masq4 \{[^}]*elements`}},
		{name: "masquerade on", past: c1("--ip-masq=false"), rules: []string{`(?s)set masq4 \{[^}]*elements = \{ "docker0" \}`}},
		{
			name: "a smaller MTU, for what comes after", past: c1("--mtu 1500"), flags: "--mtu 1400", mtu: 1400,
			check: func(t *testing.T, w *world) {
				if mtu := linksOf(t, w.sandbox("c1"))["eth0"].MTU; mtu != 1500 {
					t.Errorf("c1 has %d now", mtu)
				}
			},
		},
		{
			name: "a larger MTU, for what comes after", past: c1("--mtu 1300"), flags: "--mtu 1400", bridge: "docker0 172.17.42.1/16",
			check: func(t *testing.T, w *world) {
				c2 := w.member("c2", "bridge")
				// The bridge has no larger MTU than any of its ports, or what it forwards would be lost there.
				if l, in, c1 := linksOf(t, w.host)["docker0"], linksOf(t, c2.Space)["eth0"], linksOf(t, w.sandbox("c1"))["eth0"]; l.MTU != 1300 ||
					in.MTU != 1400 || c1.MTU != 1300 {
					t.Errorf("the bridge has %d, c1 %d, c2 %d", l.MTU, c1.MTU, in.MTU)
				}
			},
		},
		{
			name: "--ip, for what comes after", past: []past{{commands: "sandbox create -p 8080:80 c1"}}, flags: "--ip 192.0.2.1",
			rules: []string{`(?s)map publish4any \{[^}]*tcp \. 8080`},
			check: func(t *testing.T, w *world) {
				w.bridged("port", "add", "c1", "8081:80")
				if got := w.bridged("port", "ls", "c1"); got != "80/tcp -> 0.0.0.0:8080\n80/tcp -> 192.0.2.1:8081" {
					t.Errorf("the ports are\n%s", got)
				}
			},
		},
		{
			name: "--ip is left out", past: []past{{flags: "--ip 192.0.2.1", commands: "sandbox create -p 8080:80 c1"}},
			rules: []string{`(?s)map publish4 \{[^}]*192\.0\.2\.1 \. tcp \. 8080`},
			check: func(t *testing.T, w *world) {
				w.bridged("port", "add", "c1", "8081:80")
				if got := w.bridged("port", "ls", "c1"); got != "80/tcp -> 0.0.0.0:8081\n80/tcp -> 192.0.2.1:8080" {
					t.Errorf("the ports are\n%s", got)
				}
			},
		},
		{
			name: "--fixed-cidr, for what comes after", past: c1(""), flags: "--fixed-cidr 172.17.9.0/24", sandbox: "172.17.9.0/16 via 172.17.42.1",
			check: func(t *testing.T, w *world) { w.hasAddress(t, "c1", "172.17.0.1/16") },
		},
		{
			name: "--fixed-cidr is left out", past: c1("--fixed-cidr 172.17.9.0/24"), sandbox: "172.17.0.1/16 via 172.17.42.1",
			check: func(t *testing.T, w *world) { w.hasAddress(t, "c1", "172.17.9.0/16") },
		},
		{
			name: "--fixed-cidr around a sandbox", past: c1(""), flags: "--fixed-cidr 172.17.0.0/30", sandbox: "172.17.0.2/16 via 172.17.42.1",
		},
		{
			name: "IPv6 on, for what comes after", past: c1(""), flags: "--ipv6 --bip6 fd00:1::1/64", bridge: "docker0 172.17.42.1/16 fd00:1::1/64",
			sandbox: "172.17.0.2/16 fd00:1::2/64 via 172.17.42.1 fd00:1::1",
			check:   func(t *testing.T, w *world) { w.hasAddress(t, "c1", "172.17.0.1/16") },
		},

		// Without sandboxes on it.
		{name: "to a given bridge", host: br0, past: []past{{}}, flags: "-b br0", bridge: "br0 10.5.0.1/24", links: "-docker0"},
		{
			name: "from a given bridge", host: br0, past: []past{{flags: "-b br0"}}, bridge: "docker0 172.17.42.1/16", links: "br0",
			norules: []string{`"br0"`},
		},
		{name: "to another name", past: []past{{}}, flags: "--bridge-name br5", bridge: "br5 172.17.42.1/16", links: "-docker0"},
		{name: "to none", past: []past{{}}, flags: "-b none", bridge: "none", links: "-docker0"},
		{name: "to none and back", past: []past{{}, {flags: "-b none"}}, bridge: "docker0 172.17.42.1/16"},
		{name: "to another address", past: []past{{}}, flags: "--bip 10.9.8.7/24", bridge: "docker0 10.9.8.7/24", sandbox: "10.9.8.1/24 via 10.9.8.7"},
		{name: "to another prefix", past: []past{{}}, flags: "--bip 172.17.42.1/24", bridge: "docker0 172.17.42.1/24"},
		{
			name: "to IPv4 only", past: []past{{flags: "--ipv6 --bip6 fd00:1::1/64"}}, bridge: "docker0 172.17.42.1/16",
			sysctls: []string{"net/ipv6/conf/docker0/disable_ipv6 1"}, norules: []string{`(?s)set masq6 \{[^}]*"docker0"`},
		},
		{
			name: "to another IPv6 address", past: []past{{flags: "--ipv6 --bip6 fd00:1::1/64"}}, flags: "--ipv6 --bip6 fd00:2::1/64",
			bridge: "docker0 172.17.42.1/16 fd00:2::1/64",
		},
		{
			name: "sandboxes elsewhere", flags: "-b none", bridge: "none",
			past:  []past{{commands: "network create mine\nsandbox create --network mine c1\nsandbox create --network none c2\nsandbox create --network host c3"}},
			check: func(t *testing.T, w *world) { w.hasAddress(t, "c1", "172.18.0.2/16") },
		},
		{
			name: "the sandboxes are gone, one name is gone without us", flags: "-b none", bridge: "none",
			past: []past{{commands: "sandbox create c1", then: "umount /run/netns/c1; rm /run/netns/c1"}},
		},
		{
			name: "somebody's address on our bridge", past: []past{{then: "ip addr add 10.66.0.1/24 dev docker0"}}, flags: "--bip 10.9.8.7/24",
			check: func(t *testing.T, w *world) {
				if got := strings.Join(globalAddresses(linksOf(t, w.host)["docker0"]), " "); !strings.Contains(got, "10.66.0.1/24") ||
					!strings.Contains(got, "10.9.8.7/24") || strings.Contains(got, "172.17") {
					t.Errorf("the bridge has %s", got)
				}
			},
		},
	})
}

// hasAddress looks into a sandbox.
func (w *world) hasAddress(t *testing.T, name, want string) {
	t.Helper()
	if got := strings.Join(globalAddresses(linksOf(t, w.sandbox(name))["eth0"]), " "); got != want {
		t.Errorf("%s has %s, want %s", name, got, want)
	}
}
