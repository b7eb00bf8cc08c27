package test

import "testing"

const exclusive = "You specified -b & --bip, mutually exclusive options. Please specify only one."

// What is wrong with the flags is said before anything is touched.
func TestFlagsRefused(t *testing.T) {
	wrong := func(flags string, says ...string) start {
		return start{name: flags, flags: flags, refused: 2, says: says}
	}
	runStarts(t, []start{
		wrong("-b br0 --bip 10.1.0.1/24", exclusive),
		wrong("-b none --bip 10.1.0.1/24", exclusive),
		wrong("--bridge br0 --bip 10.1.0.1/24", exclusive),
		wrong("--iptables=false --icc=false", "You specified --iptables=false with --icc=false. "+
			"ICC uses iptables to function. Please set --icc or --iptables to true."),
		wrong("--firewall=false --icc=false", "You specified --firewall=false with --icc=false. "+
			"ICC uses iptables to function. Please set --icc or --firewall to true."),
		wrong("--iptables --firewall=false", "--iptables", "--firewall"),
		wrong("--bridge=", "--bridge is empty", "none"),

		wrong("--bip nonsense", "--bip", `"nonsense"`, "want an address and a prefix length"),
		wrong("--bip 172.17.42.1", "--bip", `"172.17.42.1"`, "want an address and a prefix length"),
		wrong("--bip 172.17.42.1/33", "--bip", `"172.17.42.1/33"`, "want an address and a prefix length"),
		wrong("--bip fd00::1/64", "--bip", `"fd00::1/64"`, "172.17.42.1/16"),
		wrong("--bip ::ffff:10.1.0.1/120", "--bip", `"::ffff:10.1.0.1/120"`, "172.17.42.1/16"),
		wrong("--bip 172.17.0.0/16", "--bip", `"172.17.0.0/16"`, "172.17.0.0 is the network's address"),
		wrong("--bip 172.17.255.255/16", "--bip", `"172.17.255.255/16"`, "172.17.255.255 is the broadcast address"),
		wrong("--bip 10.1.0.1/31", "--bip", `"10.1.0.1/31"`, "room for others"),
		wrong("--bip 127.0.5.1/24", "--bip", `"127.0.5.1/24"`, "want an address that an interface can have"),
		wrong("--bip 224.0.5.1/24", "--bip", `"224.0.5.1/24"`, "want an address that an interface can have"),
		wrong("--bip6 10.1.0.1/24", "--bip6", `"10.1.0.1/24"`, "fd00:1::1/64"),
		wrong("--bip6 fd00:1::/64", "--bip6", `"fd00:1::/64"`, "fd00:1:: is the network's address"),
		wrong("--bip6 fd00:1::1", "--bip6", `"fd00:1::1"`, "want an address and a prefix length"),

		wrong("--fixed-cidr 10.1.0.0", "--fixed-cidr", `"10.1.0.0"`, "want"),
		wrong("--fixed-cidr fd00::/64", "--fixed-cidr", `"fd00::/64"`, "172.17.128.0/17"),
		wrong("--bip 10.1.0.1/24 --fixed-cidr 10.2.0.0/25", "--fixed-cidr", "10.2.0.0/25", "10.1.0.1/24"),
		wrong("--bip 10.1.0.1/24 --fixed-cidr 10.1.0.0/16", "--fixed-cidr", "10.1.0.0/16", "10.1.0.1/24"),
		wrong("--ipv6 --fixed-cidr-v6 fd00::", "--fixed-cidr-v6", `"fd00::"`, "want"),
		wrong("--ipv6 --fixed-cidr-v6 10.1.0.0/24", "--fixed-cidr-v6", `"10.1.0.0/24"`, "fd00:1::/80"),
		wrong("--ipv6 --bip6 fd00:1::1/64 --fixed-cidr-v6 fd00:2::/80", "--fixed-cidr-v6", "fd00:2::/80", "fd00:1::1/64"),

		wrong("--mtu many", "--mtu", `"many"`, "68 to 65535"),
		wrong("--mtu 67", "--mtu", `"67"`, "68 to 65535"),
		wrong("--mtu 65536", "--mtu", `"65536"`, "68 to 65535"),
		wrong("--mtu -1", "--mtu", `"-1"`, "68 to 65535"),
		wrong("--mtu 1279 --ipv6", "--mtu", "1279", "1280"),
		wrong("--ip everywhere", "--ip", `"everywhere"`, "want an IP address"),
		wrong("--ip fe80::1%lan0", "--ip", `"fe80::1%lan0"`, "want an IP address"),

		wrong("--default-address-pool 10.0.0.0/8", "--default-address-pool", `"10.0.0.0/8"`, "want base=CIDR,size="),
		wrong("--default-address-pool base=10.0.0.0/8", "--default-address-pool", "size is missing", "want base=CIDR,size="),
		wrong("--default-address-pool size=24", "--default-address-pool", "base is missing", "want base=CIDR,size="),
		wrong("--default-address-pool base=10.0.0.0,size=24", "--default-address-pool", "base=10.0.0.0", "want base=CIDR,size="),
		wrong("--default-address-pool base=10.0.0.0/8,size=x", "--default-address-pool", "size=x", "want base=CIDR,size="),
		wrong("--default-address-pool base=10.0.0.0/8,size=7", "--default-address-pool", "size 7", "want base=CIDR,size="),
		wrong("--default-address-pool base=10.0.0.0/8,size=31", "--default-address-pool", "size 31", "want base=CIDR,size="),
		wrong("--default-address-pool base=10.0.0.0/8,size=24,x=1", "--default-address-pool", "x=1", "want base=CIDR,size="),

		wrong("--bridge-name a-name-of-16-byt", "--bridge-name", "15"), // one byte too many is below
		wrong("--bridge-name a/b", "--bridge-name", "a/b"),
		wrong("--bridge-name bv0", "--bridge-name", "bv"),
		wrong("--icc=perhaps", "--icc", "perhaps"),
		wrong("--ip-masq=2", "--ip-masq", "2"),
		wrong("--nonsense", "nonsense"),
		wrong("docker0", "docker0"),
	})
}

// The default bridge by its name, existing or not: init_networkdriver of old.
func TestStartBridge(t *testing.T) {
	runStarts(t, []start{
		{
			name: "nothing there", bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.1/16 via 172.17.42.1", mtu: 1500,
			sysctls: []string{
				"net/ipv4/ip_forward 1", "net/ipv6/conf/all/forwarding 0", "net/ipv4/conf/docker0/route_localnet 1",
				"net/ipv6/conf/docker0/disable_ipv6 1",
			},
			rules: []string{
				`(?s)set masq4 \{[^}]*elements = \{ "docker0" \}`, `(?s)set icc \{[^}]*elements = \{ "docker0" \}`,
				`(?s)chain DOCKER \{.*publish4any`, `(?s)chain prerouting \{[^}]*fib daddr type local[^\n]* jump DOCKER`,
				`(?s)chain output \{[^}]*fib daddr type local[^\n]* jump DOCKER`,
			},
		},
		{
			name: "ICC off", flags: "--icc=false", bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.1/16 via 172.17.42.1",
			rules: []string{`(?s)set bridges \{[^}]*"docker0"`}, norules: []string{`(?s)set icc \{[^}]*elements`},
		},
		{name: "no masquerade", flags: "--ip-masq=false", bridge: "docker0 172.17.42.1/16", norules: []string{`(?s)set masq4 \{[^}]*elements`}},
		{name: "a name", flags: "--bridge-name br5", bridge: "br5 172.17.42.1/16", links: "br5 -docker0"},
		{name: "an address", flags: "--bip 10.9.8.7/28", bridge: "docker0 10.9.8.7/28", sandbox: "10.9.8.1/28 via 10.9.8.7"},
		{name: "an address that a route has", host: "ip route add 10.9.0.0/16 via 192.0.2.9", flags: "--bip 10.9.8.7/28", bridge: "docker0 10.9.8.7/28"},
		{name: "no default network", flags: "-b none", bridge: "none", links: "-docker0", check: withoutDefaultNetwork},
		{
			name: "no default network, and docker0 is somebody's", flags: "-b none", bridge: "none", links: "docker0",
			host: "ip link add docker0 type bridge; ip addr add 10.5.0.1/24 dev docker0; port_of docker0 theirs",
		},
		{
			name: "the MTU of the default route", host: "ip link set lan0 mtu 1400", bridge: "docker0 172.17.42.1/16", mtu: 1400,
		},
		{name: "an MTU", host: "ip link set lan0 mtu 1400", flags: "--mtu 9000", bridge: "docker0 172.17.42.1/16", mtu: 9000},
		{name: "no default route", host: "ip link set lan0 mtu 1400; ip route del default; ip -6 route del default", mtu: 1500},

		// The name is taken.
		{name: "docker0 is no bridge", host: "ip link add docker0 type veth peer name other", refused: 4, says: []string{
			"docker0 belongs to", "veth", "use --bridge-name or -b none",
		}},
		{
			name: "docker0 is no bridge, another name", host: "ip link add docker0 type veth peer name other",
			flags: "--bridge-name br5", bridge: "br5 172.17.42.1/16",
		},
		{
			name: "docker0 has somebody's port", refused: 4,
			host: "ip link add docker0 type bridge; ip addr add 10.5.0.1/24 dev docker0; port_of docker0 theirs",
			says: []string{"docker0 belongs to", "theirs", "use --bridge-name or -b none"},
		},
		{
			name: "docker0 is a running engine's", refused: 4,
			host: "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; touch /run/docker.sock",
			says: []string{"docker0 belongs to", "Docker", "use --bridge-name or -b none"},
		},
		{name: "an engine runs, without docker0", host: "touch /run/docker.sock", bridge: "docker0 172.17.42.1/16"},
		{
			name: "an engine runs, another name", flags: "--bridge-name br5", bridge: "br5 10.0.42.1/16", links: "docker0",
			host: "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; touch /run/docker.sock",
		},
		{
			name: "an engine came, docker0 is ours", past: []past{{then: "touch /run/docker.sock"}},
			bridge: "docker0 172.17.42.1/16",
		},

		// Adopted.
		{
			name: "docker0 is nobody's, with an address", host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0",
			bridge: "docker0 10.5.0.9/24", sandbox: "10.5.0.1/24 via 10.5.0.9",
		},
		{
			name: "docker0 is nobody's, up, with an address", bridge: "docker0 10.5.0.9/24",
			host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0; ip link set docker0 up",
		},
		{
			name: "docker0 is nobody's, without an address", host: "ip link add docker0 type bridge; ip link set docker0 up",
			bridge: "docker0 172.17.42.1/16", sandbox: "172.17.0.1/16 via 172.17.42.1",
		},
		{
			name: "docker0 is nobody's, and --bip agrees", host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0",
			flags: "--bip 10.5.0.9/24", bridge: "docker0 10.5.0.9/24",
		},
		{
			name: "docker0 has another address than --bip", host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0",
			flags: "--bip 10.5.0.1/24", refused: 4,
			says: []string{"bridge ip (10.5.0.1/24) does not match existing bridge configuration 10.5.0.9/24"},
		},
		{
			name: "docker0 has another prefix than --bip", host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0",
			flags: "--bip 10.5.0.9/16", refused: 4,
			says: []string{"bridge ip (10.5.0.9/16) does not match existing bridge configuration 10.5.0.9/24"},
		},
		{
			name: "docker0 has no address, --bip has", host: "ip link add docker0 type bridge",
			flags: "--bip 10.5.0.1/24", bridge: "docker0 10.5.0.1/24",
		},
		{
			name: "docker0 is nobody's, with IPv6", flags: "--ipv6", bridge: "docker0 10.5.0.9/24 fd00:5::9/64",
			host: "ip link add docker0 type bridge; ip link set docker0 up; ip addr add 10.5.0.9/24 dev docker0; ip addr add fd00:5::9/64 dev docker0",
		},
		{
			name: "docker0 is nobody's, with two addresses", bridge: "docker0 10.5.0.9/24 10.6.0.9/24", sandbox: "10.5.0.1/24 via 10.5.0.9",
			host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0; ip addr add 10.6.0.9/24 dev docker0",
		},
		{
			name: "docker0 is nobody's, with another MTU", bridge: "docker0 10.5.0.9/24", mtu: 1500,
			host: "ip link add docker0 type bridge; ip addr add 10.5.0.9/24 dev docker0; ip link set docker0 mtu 1300",
		},
		{
			name: "br5 is nobody's, by --bridge-name", flags: "--bridge-name br5", bridge: "br5 10.5.0.9/24",
			host: "ip link add br5 type bridge; ip addr add 10.5.0.9/24 dev br5; touch /run/docker.sock",
		},
		{
			name: "docker0 is ours, the state directory is lost", past: []past{{flags: "--bip 10.9.8.7/24", then: "rm -r /run/bridged"}},
			flags: "--state-dir /run/other", bridge: "docker0 10.9.8.7/24",
		},

		// A failure leaves nothing.
		{
			name: "no address can be given", flags: "--ipv6 --bip6 fd00:1::1/64", refused: 5,
			host: `ip link add docker0 type bridge; set_sysctl net/ipv6/conf/docker0/disable_ipv6 1
				file /proc/sys/net/ipv6/conf/docker0/disable_ipv6 '0\n'`,
			says: []string{"Unable to add private network: ", "fd00:1::1/64", "docker0"},
		},
		{name: "settings can't be written", host: "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys", refused: 1, says: []string{
			"net/ipv4/conf/docker0", "read-only",
		}},
	})
}

// withoutDefaultNetwork: other networks can still be made; a sandbox without a network is in mode none.
func withoutDefaultNetwork(t *testing.T, w *world) {
	w.bridged("sandbox", "create", "alone")
	if s := w.inspect("alone"); s.Mode != "none" || len(s.Networks) != 0 {
		t.Errorf("without --network: %+v", s)
	}
	w.bridged("network", "create", "mine")
	if m := w.member("c1", "mine"); m.gw4.String() != "172.17.0.1" {
		t.Errorf("on a network: %+v", m.endpointJSON)
	}
	w.fails(3, []string{"bridge"}, "sandbox", "create", "--network", "bridge", "c2")
}

// The bridge that -b names: used as it is.
func TestStartGivenBridge(t *testing.T) {
	runStarts(t, []start{
		{name: "missing", flags: "-b br0", refused: 3, says: []string{"bridge not found: br0"}},
		{name: "a veth", host: "ip link add br0 type veth peer name other", flags: "-b br0", refused: 4, says: []string{"br0", "veth"}},
		{name: "the loopback", flags: "-b lo", refused: 4, says: []string{"lo", "no bridge"}},
		{name: "without an address", host: "ip link add br0 type bridge", flags: "-b br0", refused: 2, says: []string{"br0 has no IPv4 address"}},
		{
			name: "with an IPv6 address only", flags: "-b br0", refused: 2, says: []string{"br0 has no IPv4 address"},
			host: "ip link add br0 type bridge; ip link set br0 up; ip addr add fd00:5::1/64 dev br0",
		},
		{
			name: "one address", flags: "-b br0", bridge: "br0 10.5.0.1/24", sandbox: "10.5.0.2/24 via 10.5.0.1", links: "-docker0",
			host:    "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
			sysctls: []string{"net/ipv4/conf/br0/route_localnet 1"},
			rules:   []string{`(?s)set unprotected4 \{[^}]*"br0"`, `(?s)set bridges \{[^}]*"br0"`, `(?s)set masq4 \{[^}]*"br0"`},
			norules: []string{`(?s)set protected4 \{[^}]*10\.5\.0\.0/24`},
		},
		{
			name: "a link-local address", flags: "-b br0", bridge: "br0 169.254.5.1/24", sandbox: "169.254.5.2/24 via 169.254.5.1",
			host: "ip link add br0 type bridge; ip addr add 169.254.5.1/24 dev br0; ip link set br0 up",
		},
		{
			name: "two addresses", flags: "-b br0", bridge: "br0 10.5.0.1/24 10.6.0.1/24", sandbox: "10.5.0.2/24 via 10.5.0.1",
			host:  "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip addr add 10.6.0.1/24 dev br0; ip link set br0 up",
			warns: []string{"bridge br0 has several IPv4 addresses: its first one, 10.5.0.1/24, is used"},
		},
		{
			name: "a secondary address", flags: "-b br0", bridge: "br0 10.5.0.9/24 10.5.0.1/24", sandbox: "10.5.0.2/24 via 10.5.0.9",
			host:  "ip link add br0 type bridge; ip addr add 10.5.0.9/24 dev br0; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
			warns: []string{"its first one, 10.5.0.9/24, is used"},
		},
		{
			name: "IPv6", flags: "-b br0 --ipv6", bridge: "br0 10.5.0.1/24 fd00:5::1/64", sandbox: "10.5.0.2/24 fd00:5::2/64 via 10.5.0.1 fd00:5::1",
			host:  "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; ip addr add fd00:5::1/64 dev br0 nodad",
			rules: []string{`(?s)set unprotected6 \{[^}]*"br0"`},
		},
		{
			name: "IPv6 is asked for, and it has none", flags: "-b br0 --ipv6", refused: 2, says: []string{"br0 has no IPv6 address"},
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
		},
		{
			name: "IPv6 is not asked for, and it has some", flags: "-b br0", bridge: "br0 10.5.0.1/24 fd00:5::1/64", sandbox: "10.5.0.2/24 via 10.5.0.1",
			host:    "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; ip addr add fd00:5::1/64 dev br0 nodad",
			sysctls: []string{"net/ipv6/conf/br0/disable_ipv6 0"},
		},
		{
			name: "without a packet filter", flags: "-b br0 --iptables=false", bridge: "br0 10.5.0.1/24", norules: []string{"bridged"},
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; set_sysctl net/ipv4/ip_forward 1",
		},
		{
			name: "with a port of its own", flags: "-b br0", bridge: "br0 10.5.0.1/24", links: "theirs",
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; port_of br0 theirs",
		},
		{
			name: "with a smaller MTU", flags: "-b br0", bridge: "br0 10.5.0.1/24", mtu: 1300,
			host: "ip link add br0 type bridge; ip link set br0 mtu 1300; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
		},
		{
			name: "with another prefix for sandboxes", flags: "-b br0 --fixed-cidr 10.5.0.128/25", bridge: "br0 10.5.0.1/24", sandbox: "10.5.0.128/24 via 10.5.0.1",
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
		},
		{
			name: "docker0, which is ours", past: []past{{}}, flags: "-b docker0", bridge: "docker0 172.17.42.1/16",
		},
		{
			name: "docker0, which is an engine's", flags: "-b docker0", bridge: "docker0 172.17.0.1/16",
			host: "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; touch /run/docker.sock; port_of docker0 theirs",
		},
		{
			name: "it is gone at a restart", flags: "-b br0", refused: 3, says: []string{"bridge not found: br0"},
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
			past: []past{{flags: "-b br0", then: "ip link del br0"}},
		},
		{
			name: "its address changed", flags: "-b br0", bridge: "br0 10.6.0.1/24", sandbox: "10.6.0.2/24 via 10.6.0.1",
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
			past: []past{{flags: "-b br0", then: "ip addr flush dev br0; ip addr add 10.6.0.1/24 dev br0"}},
		},
		{
			name: "its address changed under sandboxes", flags: "-b br0", refused: 4, says: []string{"10.5.0.1/24", "10.6.0.1/24", "c1"},
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up",
			past: []past{{flags: "-b br0", commands: "sandbox create c1", then: "ip addr flush dev br0; ip addr add 10.6.0.1/24 dev br0"}},
		},

		// ICC off with somebody's ports.
		{
			name: "ICC off, its own ports are seen by the IP rules", flags: "-b br0 --icc=false", refused: 4,
			says: []string{"--icc=false", "br0", "bridge-nf-call-iptables"},
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; port_of br0 theirs; set_sysctl net/bridge/bridge-nf-call-iptables 1",
		},
		{
			name: "ICC off, its own ports are seen by the IPv6 rules", flags: "-b br0 --icc=false", refused: 4,
			says: []string{"--icc=false", "br0", "bridge-nf-call-ip6tables"},
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; port_of br0 theirs; set_sysctl net/bridge/bridge-nf-call-iptables 0; set_sysctl net/bridge/bridge-nf-call-ip6tables 1",
		},
		{
			name: "ICC off, its own ports are not seen", flags: "-b br0 --icc=false", bridge: "br0 10.5.0.1/24",
			host:    "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; port_of br0 theirs; set_sysctl net/bridge/bridge-nf-call-iptables 0; set_sysctl net/bridge/bridge-nf-call-ip6tables 0",
			norules: []string{`(?s)set icc \{[^}]*"br0"`},
		},
		{
			name: "ICC off, no ports of its own", flags: "-b br0 --icc=false", bridge: "br0 10.5.0.1/24", sandbox: "10.5.0.2/24 via 10.5.0.1",
			host: "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0; ip link set br0 up; set_sysctl net/bridge/bridge-nf-call-iptables 1",
		},
	})
}
