package cni

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/internal/flowtest"
)

// chain is a configuration: of each reference plugin the members of its JSON object, "" for a plugin that is not in the chain. Our one plugin
// gets them all.
type chain struct {
	bridge, ipam                         string
	portmap, tuning, firewall, bandwidth string
}

// entries are the plugins of the reference chain.
func (c chain) entries() (list []string) {
	ipam := ""
	if c.ipam != "" {
		ipam = `, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", ` + c.ipam + `}`
	}
	for _, p := range []struct{ name, members string }{
		{"bridge", c.bridge + ipam}, {"portmap", c.portmap}, {"tuning", c.tuning}, {"firewall", c.firewall}, {"bandwidth", c.bandwidth},
	} {
		if p.members != "" {
			list = append(list, fmt.Sprintf(`{"type": %q, %s}`, p.name, p.members))
		}
	}
	return list
}

// merged is our entry: the union of the members, capabilities included.
func (c chain) merged(t testing.TB) string {
	t.Helper()
	all := map[string]any{}
	capabilities := map[string]any{}
	for _, entry := range c.entries() {
		members := map[string]any{}
		if err := json.Unmarshal([]byte(entry), &members); err != nil {
			t.Fatalf("%s: %v", entry, err)
		}
		if more, ok := members["capabilities"].(map[string]any); ok {
			maps.Copy(capabilities, more)
		}
		maps.Copy(all, members)
	}
	all["type"], all["capabilities"] = "bridged-cni", capabilities
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// list writes the configuration list for the host's plugins.
func (h *host) listOf(c chain, name, version string) {
	h.t.Helper()
	if h.path == plugins {
		h.list(name, version, c.merged(h.t))
	} else {
		h.list(name, version, c.entries()...)
	}
}

// With every capability that a plugin of the chain knows.
const (
	bridgeKeys    = `"bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "capabilities": {"mac": true, "ips": true, "ipRanges": true}`
	portmapKeys   = `"capabilities": {"portMappings": true}`
	firewallKeys  = `"ingressPolicy": "open"`
	bandwidthKeys = `"capabilities": {"bandwidth": true}`
	ipam4         = `"ranges": [[{"subnet": "10.88.0.0/24"}]]`
	ipam46        = `"ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]]`
)

// bridged is a chain that ends after the plugin bridge.
func ofBridge(keys string) chain { return chain{bridge: `"bridge": "cni0", ` + keys, ipam: ipam4} }

// equals are the configurations that must give equal results, for two pods of one network.
var equals = []struct {
	name string
	chain
	version string // "1.0.0" if empty
	env     []string
	// mac is the one that was asked for: only that is compared.
	mac string
	one bool // pod: there is no second address
}{
	{name: "least", chain: chain{bridge: `"bridge": "cni0"`, ipam: `"subnet": "10.88.0.0/24"`}},
	{name: "0.3.1", version: "0.3.1", chain: chain{bridge: bridgeKeys, ipam: ipam46, portmap: portmapKeys}},
	{name: "0.4.0", version: "0.4.0", chain: chain{bridge: bridgeKeys, ipam: ipam46}},
	{name: "whole chain", chain: chain{bridgeKeys, ipam46, portmapKeys, `"sysctl": {"net.core.somaxconn": "500"}`, firewallKeys, bandwidthKeys}},
	{name: "no addresses", chain: chain{bridge: `"bridge": "cni0"`}},
	{name: "another bridge and MTU", chain: ofBridge(`"bridge": "br7", "mtu": 1400, "isGateway": true`)},
	{name: "hairpin", chain: ofBridge(`"hairpinMode": true, "isGateway": true`)},
	{name: "promiscuous bridge", chain: ofBridge(`"promiscMode": true, "isGateway": true`)},
	{name: "MAC check", chain: ofBridge(`"macspoofchk": true, "isGateway": true`)},
	{name: "masquerade without gateway", chain: ofBridge(`"ipMasq": true`)},
	{name: "force address", chain: ofBridge(`"forceAddress": true, "isGateway": true`)},
	{name: "dns", chain: ofBridge(`"isGateway": true, "dns": {"nameservers": ["192.0.2.53"], "domain": "example", "search": ["a.example"], "options": ["ndots:5"]}`)},

	{name: "range", chain: chain{bridge: bridgeKeys, ipam: `"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.20", "rangeEnd": "10.88.0.21", "gateway": "10.88.0.254"`}},
	{name: "range of one", chain: chain{bridge: bridgeKeys, ipam: `"ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"}]]`}, one: true},
	{name: "two ranges of a subnet", chain: chain{bridge: bridgeKeys, ipam: `"ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"}, {"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.5", "rangeEnd": "10.88.0.6"}]]`}},
	{name: "small subnet", chain: chain{bridge: bridgeKeys, ipam: `"subnet": "10.88.0.4/30"`}, one: true},
	{name: "IPv6 alone", chain: chain{bridge: bridgeKeys, ipam: `"ranges": [[{"subnet": "fd00:88::/64"}]]`}},
	{name: "IPv6 first", chain: chain{bridge: bridgeKeys, ipam: `"ranges": [[{"subnet": "fd00:88::/64"}], [{"subnet": "10.88.0.0/24"}]]`}},
	{name: "IPv6 range", chain: chain{bridge: bridgeKeys, ipam: `"ranges": [[{"subnet": "fd00:88::/64", "rangeStart": "fd00:88::ff", "gateway": "fd00:88::9"}]]`}},
	{name: "routes", chain: chain{bridge: bridgeKeys, ipam: ipam46 + `, "routes": [{"dst": "10.9.0.0/16"}, {"dst": "10.8.0.0/16", "gw": "10.88.0.7"}, {"dst": "fd09::/16", "gw": "fd00:88::7"}]`}},
	{name: "default route of its own", chain: chain{bridge: `"bridge": "cni0", "isGateway": true`, ipam: ipam4 + `, "routes": [{"dst": "0.0.0.0/0"}]`}},
	{name: "default route by another", chain: chain{bridge: bridgeKeys, ipam: ipam46 + `, "routes": [{"dst": "0.0.0.0/0", "gw": "10.88.0.7"}]`}},

	{name: "CNI_ARGS", chain: chain{bridge: bridgeKeys, ipam: ipam4}, env: []string{"CNI_ARGS=IP=10.88.0.77;MAC=02:00:00:00:00:77;IgnoreUnknown=1;K8S_POD_NAME=web"}, mac: "02:00:00:00:00:77"},
	{name: "ips", chain: chain{bridge: bridgeKeys, ipam: ipam46}, env: []string{`CAP_ARGS={"ips": ["10.88.0.99", "fd00:88::99/64"]}`}},
	{name: "mac", chain: chain{bridge: bridgeKeys, ipam: ipam4}, env: []string{`CAP_ARGS={"mac": "02:00:00:00:00:66"}`}, mac: "02:00:00:00:00:66"},
	{name: "ipRanges", chain: chain{bridge: bridgeKeys, ipam: `"routes": []`}, env: []string{`CAP_ARGS={"ipRanges": [[{"subnet": "10.88.7.0/24", "rangeStart": "10.88.7.9"}]]}`}},
	{name: "portMappings", chain: chain{bridge: bridgeKeys, ipam: ipam46, portmap: portmapKeys + `, "snat": true, "conditionsV4": ["-s", "192.0.2.0/24"]`},
		env: []string{`CAP_ARGS={"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8080, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.1"}]}`}},
	{name: "bandwidth", chain: chain{bridge: bridgeKeys, ipam: ipam4, bandwidth: bandwidthKeys},
		env: []string{`CAP_ARGS={"bandwidth": {"ingressRate": 8000000, "ingressBurst": 8000000, "egressRate": 4000000, "egressBurst": 4000000}}`}},
	{name: "bandwidth in one direction", chain: chain{bridge: bridgeKeys, ipam: ipam4, bandwidth: bandwidthKeys + `, "ingressRate": 8000000, "ingressBurst": 8000000`}},
	{name: "aliases", chain: chain{bridge: bridgeKeys + `, "x.example/y": 0`, ipam: ipam4, portmap: `"capabilities": {"portMappings": true, "aliases": true}`}, env: []string{`CAP_ARGS={"aliases": ["db"]}`}},
	{name: "tuning", chain: chain{bridge: bridgeKeys, ipam: ipam4, tuning: `"mac": "02:00:00:00:00:55", "promisc": true, "sysctl": {"net.ipv4.conf.IFNAME.arp_ignore": "1", "net.ipv4.ip_default_ttl": "70"}`}, mac: "02:00:00:00:00:55"},
	{name: "same-bridge", chain: chain{bridge: bridgeKeys, ipam: ipam4, firewall: `"ingressPolicy": "same-bridge"`}},
}

// TestEqualResults: the same configuration has the same results, field by field, and the container finds the same inside.
func TestEqualResults(t *testing.T) {
	ours, _ := bridgedHost(t)
	theirs := referenceHost(t)
	for i, c := range equals {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			version := c.version
			if version == "" {
				version = "1.0.0"
			}
			name := fmt.Sprintf("net%d", i)
			pods := []string{"p1", "p2"}
			if c.one || c.env != nil || c.mac != "" { // what is asked for can be given once
				pods = pods[:1]
			}
			var got [2][]any
			for side, h := range []*host{ours.in(t), theirs.in(t)} {
				h.listOf(c.chain, name, version)
				for _, pod := range pods {
					space := h.pod(pod)
					made := h.cnitool("add", name, pod, c.env...)
					if made.status != 0 {
						t.Fatal(made)
					}
					got[side] = append(got[side], neutral(t, made.stdout, c.mac), inside(t, space, c.mac))
				}
				got[side] = append(got[side], outside(t, h, c.chain))
				for _, pod := range pods {
					h.cnitool("del", name, pod, c.env...)
					h.space.Output(t, "ip", "netns", "del", pod)
				}
				h.drop(c.chain, name)
			}
			if diff := cmp.Diff(got[1], got[0]); diff != "" {
				t.Errorf("-theirs +ours:\n%s", diff)
			}
		})
	}
	if left := ours.counts(); left != [3]int{} {
		t.Errorf("%v sandboxes, endpoints, ports are left", left)
	}
}

// drop takes the network's bridge away: both leave it after the last DEL.
func (h *host) drop(c chain, name string) {
	h.t.Helper()
	if h.path == plugins {
		h.space.Output(h.t, program, "network", "rm", name)
		return
	}
	h.space.Output(h.t, "ip", "link", "del", c.bridgeName(h.t))
}

func (c chain) bridgeName(t testing.TB) string {
	t.Helper()
	var keys struct{ Bridge string }
	if err := json.Unmarshal([]byte(c.merged(t)), &keys); err != nil {
		t.Fatal(err)
	}
	return keys.Bridge
}

// neutral is a result without what each may choose: the host end's name, the name of what shapes the traffic, and addresses of links.
func neutral(t testing.TB, text, mac string) any {
	t.Helper()
	var r struct {
		CNIVersion string
		Interfaces []map[string]any
		IPs        any
		Routes     any
		DNS        any
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for i, link := range r.Interfaces {
		if link["mac"] != nil && link["mac"] != mac {
			link["mac"] = "some"
		}
		if i == 1 || i > 2 {
			link["name"] = "some"
		}
	}
	if routes, ok := r.Routes.([]any); ok && len(routes) == 0 {
		r.Routes = nil
	}
	return r
}

// addr is an address as the ip command shows it.
type addr struct {
	Local     string
	PrefixLen int
}

// addrs are the global addresses of an interface.
func addrs(t testing.TB, s *flowtest.Space, link string) (all []addr) {
	t.Helper()
	var shown []struct {
		Info []addr `json:"addr_info"`
	}
	decode(t, s.Output(t, "ip", "-j", "addr", "show", "dev", link, "scope", "global"), &shown)
	for _, l := range shown {
		all = append(all, l.Info...)
	}
	return slices.DeleteFunc(all, func(a addr) bool { return a == addr{} }) // in place of those of another scope
}

// link is an interface as the ip command shows it.
type link struct {
	MTU     int
	Flags   []string
	Address string
}

func linkOf(t testing.TB, s *flowtest.Space, name, mac string) link {
	t.Helper()
	var shown []link
	decode(t, s.Output(t, "ip", "-j", "link", "show", "dev", name), &shown)
	if shown[0].Address != mac {
		shown[0].Address = ""
	}
	return shown[0]
}

// route is a route as the ip command shows it.
type route struct{ Dst, Gateway, Dev string }

// inside is what a container finds.
func inside(t testing.TB, pod *flowtest.Space, mac string) map[string]any {
	t.Helper()
	seen := map[string]any{"link": linkOf(t, pod, "eth0", mac), "addresses": addrs(t, pod, "eth0")}
	for _, family := range []string{"-4", "-6"} {
		var routes []route
		decode(t, pod.Output(t, "ip", "-j", family, "route", "show", "table", "main"), &routes)
		seen["routes "+family] = slices.DeleteFunc(routes, func(r route) bool { return strings.HasPrefix(r.Dst, "fe80:") })
	}
	for _, name := range []string{"net/ipv4/ip_default_ttl", "net/core/somaxconn", "net/ipv4/conf/eth0/arp_ignore"} {
		seen[name] = pod.ReadSysctl(t, name)
	}
	return seen
}

// outside is what the host holds: the bridge, and what its ports are set to.
func outside(t testing.TB, h *host, c chain) map[string]any {
	t.Helper()
	bridge := c.bridgeName(t)
	var ports []struct {
		Info struct {
			Slave struct{ Hairpin bool } `json:"info_slave_data"`
		} `json:"linkinfo"`
	}
	decode(t, h.space.Output(t, "ip", "-d", "-j", "link", "show", "master", bridge), &ports)
	return map[string]any{"link": linkOf(t, h.space, bridge, ""), "addresses": addrs(t, h.space, bridge), "ports": ports}
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	if strings.TrimSpace(text) == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
