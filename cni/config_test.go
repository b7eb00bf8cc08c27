package cni

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bridged/bridged"
)

// attachment is what a configuration asks for; keys are members of its JSON object.
func attachment(keys string, env Environment) (bridged.AttachmentSpec, error) {
	text := `{"cniVersion": "1.0.0", "name": "podnet", "type": "bridged-cni"`
	if keys != "" {
		text += ", " + keys
	}
	c, err := ParseConfig([]byte(text + "}"))
	if err != nil {
		return bridged.AttachmentSpec{}, err
	}
	return c.Attachment(env)
}

const oneSubnet = `"ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}`

// TestRefused: what can't be is told by its key, its value and what to do.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		keys  string
		code  Code
		words []string
	}{
		{`"mtu": "1500"`, CodeDecode, []string{"mtu", `"1500"`, "string"}},
		{`"mtu": 67`, CodeInvalid, []string{"mtu", "67", "68"}},
		{`"mtu": 1e3`, CodeDecode, []string{"mtu", "1e3"}},
		{`"isGateway": "yes"`, CodeDecode, []string{"isGateway", "yes"}},
		{`"bridge": "bv0"`, CodeInvalid, []string{"bridge", "bv0"}},
		{`"bridge": "a/b"`, CodeInvalid, []string{"bridge", "a/b"}},
		{`"brigde": "x"`, CodeUnsupported, []string{"brigde", `"x"`}},
		{`"vlan": 100`, CodeInvalid, []string{"vlan", "100"}},
		{`"vlanTrunk": [{"id": 1}]`, CodeInvalid, []string{"vlanTrunk"}},
		{`"ipMasqBackend": "iptables"`, CodeInvalid, []string{"ipMasqBackend"}},
		{`"backend": "firewalld"`, CodeInvalid, []string{"backend"}},
		{`"markMasqBit": 13`, CodeInvalid, []string{"markMasqBit"}},
		{`"snat": false`, CodeInvalid, []string{"snat"}},
		{`"conditionsV4": ["-d", "10.0.0.0/8"]`, CodeInvalid, []string{"conditionsV4", "-d 10.0.0.0/8", "-s"}},
		{`"conditionsV4": ["-s"]`, CodeInvalid, []string{"conditionsV4"}},
		{`"conditionsV4": ["!", "-s", "10.0.0.0/8"]`, CodeInvalid, []string{"conditionsV4"}},
		{`"conditionsV4": ["-s", "fd00::/8"]`, CodeInvalid, []string{"conditionsV4", "fd00::/8"}},
		{`"conditionsV6": ["-s", "x"]`, CodeInvalid, []string{"conditionsV6", `"x"`}},
		{`"ingressPolicy": "closed"`, CodeInvalid, []string{"ingressPolicy", "closed", "same-bridge"}},
		{`"hairpinMode": true, "promiscMode": true`, CodeInvalid, []string{"hairpinMode", "promiscMode"}},
		{`"disableContainerInterface": true, ` + oneSubnet, CodeInvalid, []string{"disableContainerInterface", "ipam"}},
		{`"mac": "x"`, CodeInvalid, []string{"mac", `"x"`}},
		{`"ingressRate": 5`, CodeInvalid, []string{"ingressRate is 5", "ingressBurst"}},
		{`"egressRate": 8, "egressBurst": 34359738360`, CodeInvalid, []string{"egressBurst"}},
		{`"capabilities": {"infinibandGUID": true}`, CodeUnsupported, []string{"capabilities.infinibandGUID", "portMappings"}},
		{`"ipam": {"type": "dhcp"}`, CodeInvalid, []string{"ipam.type", "dhcp", "bridged", "host-local"}},
		{`"ipam": {"type": "static", "addresses": []}`, CodeUnsupported, []string{"ipam.addresses"}},
		{`"ipam": {"type": "host-local"}`, CodeInvalid, []string{"ipam", "no range"}},
		{`"ipam": {"type": "host-local", "ipv6": true}`, CodeInvalid, []string{"ipam.ipv6"}},
		{`"ipam": {"type": "bridged", "subnet": "10.1.0.0/24", "ipv6": true}`, CodeInvalid, []string{"ipam.ipv6", "ipam.ranges"}},
		{`"ipam": {"type": "host-local", "ranges": [[]]}`, CodeInvalid, []string{"ipam.ranges[0]"}},
		{`"ipam": {"type": "host-local", "ranges": [[{}]]}`, CodeInvalid, []string{"ipam.ranges[0][0].subnet", "missing"}},
		{`"ipam": {"type": "host-local", "ranges": [{"subnet": "10.1.0.0/24"}]}`, CodeDecode, []string{"ipam.ranges[0]"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.1/24"}`, CodeInvalid, []string{"ipam.subnet", "10.1.0.0/24"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/31"}`, CodeInvalid, []string{"too small"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0"}`, CodeInvalid, []string{"ipam.subnet", "no prefix"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}`, CodeInvalid, []string{"rangeStart", "10.2.0.1"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.3"}`, CodeInvalid, []string{"rangeEnd"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "gateway": "10.1.1.1"}`, CodeInvalid, []string{"gateway"}},
		{`"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}`, CodeInvalid, []string{"ipam.ranges[1]", "10.2.0.0/24", "family"}},
		{`"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}]]}`, CodeInvalid, []string{"ipam.ranges[0][1]", "10.2.0.0/24"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{}]}`, CodeInvalid, []string{"ipam.routes[0].dst"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "::/0", "gw": "10.1.0.1"}]}`, CodeInvalid, []string{"ipam.routes[0].gw"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0", "advmss": 1400}]}`, CodeInvalid, []string{"ipam.routes[0].advmss"}},
		{`"ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0", "table": -1}]}`, CodeInvalid, []string{"ipam.routes[0].table"}},
		{`"runtimeConfig": {"ips": ["10.9.0.1"]}, ` + oneSubnet, CodeInvalid, []string{"runtimeConfig.ips[0]", "10.9.0.1"}},
		{`"runtimeConfig": {"ips": ["10.1.0.5", "10.1.0.6"]}, ` + oneSubnet, CodeInvalid, []string{"runtimeConfig.ips[1]", "second"}},
		{`"runtimeConfig": {"ips": ["10.1.0.5"]}`, CodeInvalid, []string{"runtimeConfig.ips[0]", "ipam"}},
		{`"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}]}`, CodeInvalid, []string{"portMappings", "ipam"}},
		{`"runtimeConfig": {"portMappings": [{"hostPort": 0, "containerPort": 1, "protocol": "tcp"}]}, ` + oneSubnet, CodeInvalid, []string{"portMappings[0].hostPort", "0"}},
		{`"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 70000, "protocol": "tcp"}]}, ` + oneSubnet, CodeInvalid, []string{"portMappings[0].containerPort", "70000"}},
		{`"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}]}, ` + oneSubnet, CodeInvalid, []string{"portMappings[0].protocol", "icmp"}},
		{`"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "protocol": "tcp", "hostIP": "x"}]}, ` + oneSubnet, CodeInvalid, []string{"portMappings[0].hostIP"}},
		{`"runtimeConfig": {"unheard": 1}`, CodeUnsupported, []string{"runtimeConfig.unheard"}},
		{`"dns": {"servers": []}`, CodeUnsupported, []string{"dns.servers"}},
		{`"name": ""`, CodeInvalid, []string{"name"}},
		{`"name": "../x"`, CodeInvalid, []string{"name", "../x"}},
		{`"sysctl": {"a": 1}`, CodeDecode, []string{"sysctl"}},
		{`"ipam": []`, CodeDecode, []string{"ipam"}},
	} {
		_, err := attachment(c.keys, Environment{})
		wantError(t, c.keys, err, c.code, c.words...)
	}
}

// TestAccepted: what switches nothing on, and what is for others, is passed over.
func TestAccepted(t *testing.T) {
	for _, keys := range []string{
		"", oneSubnet, `"ipam": {"type": "bridged"}`, `"ipam": {"type": "bridged", "ipv6": true}`, `"vlan": 0, "backend": "", "dataDir": null, "markMasqBit": 0`, `"cni.dev/attachments": [], "example.com/x": {}`,
		`"HAIRPINMODE": true`, `"ipam": {}`, `"capabilities": {"unheard": false}`, `"args": {"labels": [], "cni": {"unheard": 1}}`,
		`"ipam": {"type": "bridged", "dataDir": "/run/x", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}`, `"mac": ""`,
		`"conditionsV4": [], "conditionsV6": null`, `"snat": true`,
	} {
		if _, err := attachment(keys, Environment{}); err != nil {
			t.Errorf("%s: %v", keys, err)
		}
	}
}

// TestAttachment: every key and capability arrives.
func TestAttachment(t *testing.T) {
	env := Environment{Container: "c1", Interface: "eth0", NetNS: "/run/netns/x", Args: Args{
		IP: netip.MustParseAddr("10.1.0.9"), MAC: bridged.MAC{2, 9}, Labels: map[string]string{"io.kubernetes.pod.name": "web"},
	}}
	got, err := attachment(`
		"bridge": "br7", "mtu": 1400, "isDefaultGateway": true, "forceAddress": true, "ipMasq": true, "hairpinMode": true,
		"macspoofchk": true, "portIsolation": true, "enabledad": true, "promisc": true, "ingressPolicy": "isolated",
		"conditionsV4": ["-s", "10.0.0.0/8", "--source", "192.0.2.1,198.51.100.0/24"], "conditionsV6": ["-s", "fd00::/8"],
		"sysctl": {"net.core.somaxconn": "1", "a": "b"}, "mac": "02:00:00:00:00:01",
		"ingressRate": 1000, "ingressBurst": 2000, "egressRate": 3000, "egressBurst": 4000,
		"ipam": {"type": "host-local", "ranges": [[{"subnet": "fd00:1::/64"}]], "routes": [{"dst": "10.9.0.7/16", "gw": "10.1.0.3", "mtu": 1300, "priority": 5, "table": 7}]},
		"args": {"cni": {"sysctl": {"a": "c"}, "mtu": 1300, "mac": "02:00:00:00:00:02", "ips": ["fd00:1::9"]}},
		"runtimeConfig": {
			"ipRanges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "gateway": "10.1.0.2"}, {"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.4", "gateway": "10.1.0.2"}]],
			"ips": ["10.1.0.9/24"], "mac": "02:00:00:00:00:03", "aliases": ["db"], "bandwidth": {"ingressRate": 1, "ingressBurst": 1},
			"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}, {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "127.0.0.2"}],
			"io.kubernetes.cri.pod-annotations": {"a": "b"}
		}`, env)
	if err != nil {
		t.Fatal(err)
	}
	ip, prefix := netip.MustParseAddr, netip.MustParsePrefix
	want := bridged.AttachmentSpec{
		Key: bridged.AttachmentKey{Network: "podnet", Container: "c1", Interface: "eth0"}, NetNS: "/run/netns/x",
		Network: bridged.AttachmentNetwork{
			Bridge: "br7", MTU: 1400, Gateway: true, Force: true, Masquerade: true, SourceGuard: true, Isolated: true, Ingress: bridged.IngressIsolated,
			IPv4:    bridged.Subnet{Prefix: prefix("10.1.0.0/24"), Gateway: ip("10.1.0.2"), Ranges: []bridged.AddrRange{{First: ip("10.1.0.5")}, {Last: ip("10.1.0.4")}}},
			IPv6:    bridged.Subnet{Prefix: prefix("fd00:1::/64")},
			Sources: []netip.Prefix{prefix("10.0.0.0/8"), prefix("192.0.2.1/32"), prefix("198.51.100.0/24"), prefix("fd00::/8")},
		},
		IPs: []netip.Addr{ip("10.1.0.9"), ip("fd00:1::9")}, MAC: bridged.MAC{2, 0, 0, 0, 0, 3}, DefaultRoute: true, Hairpin: true,
		Inside: bridged.Inside{MTU: 1300, Promisc: true, DAD: true, Routes: []bridged.Route{
			{Dst: prefix("10.9.0.0/16"), Gateway: ip("10.1.0.3"), MTU: 1300, Priority: 5, Table: 7}}},
		Sysctls: map[string]string{"net.core.somaxconn": "1", "a": "c"},
		Ports: []bridged.PortSpec{
			{HostPort: bridged.PortRange{First: 8080, Last: 8080}, ContainerPort: 80, Proto: bridged.TCP},
			{HostIP: ip("127.0.0.2"), HostPort: bridged.PortRange{First: 53, Last: 53}, ContainerPort: 5353, Proto: bridged.UDP}},
		Bandwidth: bridged.Bandwidth{Ingress: bridged.Rate{Rate: 1000, Burst: 2000}, Egress: bridged.Rate{Rate: 3000, Burst: 4000}},
		Aliases:   []string{"db"}, Labels: map[string]string{"io.kubernetes.pod.name": "web"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMACOrder: what is said of one container wins over what is said of all.
func TestMACOrder(t *testing.T) {
	of := func(keys string, env bridged.MAC) string {
		spec, err := attachment(keys, Environment{Args: Args{MAC: env}})
		if err != nil {
			t.Fatal(err)
		}
		return spec.MAC.String()
	}
	one, all := `"mac": "02:00:00:00:00:01"`, `"args": {"cni": {"mac": "02:00:00:00:00:03"}}`
	if got := of(one, bridged.MAC{}); !strings.HasSuffix(got, ":01") {
		t.Errorf("the configuration's alone: %s", got)
	}
	if got := of(one, bridged.MAC{2, 0, 0, 0, 0, 2}); !strings.HasSuffix(got, ":02") {
		t.Errorf("with CNI_ARGS: %s", got)
	}
	if got := of(one+","+all, bridged.MAC{2, 0, 0, 0, 0, 2}); !strings.HasSuffix(got, ":03") {
		t.Errorf("with args: %s", got)
	}
}

// TestResolver: the runtime's wins over the configuration's, and that over the file's.
func TestResolver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# nameserver 9.9.9.9\nnameserver 10.0.0.1\n nameserver fd00::1 x\n\tsearch a b\nsearch c\ndomain d\noptions ndots:5 rotate\nnameserver\n; domain x\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ipam := `"ipam": {"type": "bridged", "subnet": "10.1.0.0/24", "resolvConf": "` + file + `"}`
	dns := `, "dns": {"nameservers": ["10.0.0.2"]}`
	runtime := `, "runtimeConfig": {"dns": {"servers": ["10.0.0.3"], "searches": ["e"], "options": ["f"]}}`
	for keys, want := range map[string]DNS{
		ipam:                 {Nameservers: []string{"10.0.0.1", "fd00::1"}, Domain: "d", Search: []string{"a", "b", "c"}, Options: []string{"ndots:5", "rotate"}},
		ipam + dns:           {Nameservers: []string{"10.0.0.2"}},
		ipam + dns + runtime: {Nameservers: []string{"10.0.0.3"}, Search: []string{"e"}, Options: []string{"f"}},
	} {
		c, err := ParseConfig([]byte(`{"name": "n", ` + keys + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.resolver(); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v %v", keys, err, cmp.Diff(want, got))
		}
	}
	c, err := ParseConfig([]byte(`{"name": "n", "ipam": {"type": "bridged", "subnet": "10.1.0.0/24", "resolvConf": "/nonexistent"}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.resolver()
	wantError(t, "no file", err, CodeIO, "ipam.resolvConf", "/nonexistent")
}
