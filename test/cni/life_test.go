package cni

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/bridged/bridged/internal/flowtest"
)

// members are those of the tests' own network, without a list.
const members = `"bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "ipam": {"type": "bridged", "ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"}]]}`

// withPorts are the members with a published port.
const withPorts = members + `, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}`

// with adds the result of an ADD, as runtimes keep it.
func (r answer) prev(members string) string { return members + `, "prevResult": ` + r.stdout }

// TestCommands: each command, one after the other, repeated where that must be possible.
func TestCommands(t *testing.T) {
	h, _ := bridgedHost(t)
	h.pod("p1")
	h.plugin("STATUS", members).works(t)
	if r := h.plugin("VERSION", ""); !strings.Contains(r.stdout, `"supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]`) {
		t.Error(r)
	}
	made := h.plugin("ADD", withPorts)
	made.works(t)
	h.plugin("CHECK", made.prev(withPorts)).works(t)
	h.plugin("ADD", withPorts).fails(t, 100, "eth0")
	h.plugin("CHECK", made.prev(withPorts)).works(t)
	h.plugin("ADD", withPorts, "CNI_IFNAME=eth1").fails(t, 100) // the range has one address
	for range 2 {
		h.plugin("DEL", withPorts).works(t)
		h.empty("after a DEL")
	}
	h.plugin("CHECK", made.prev(withPorts)).fails(t, 3, "c1")
	h.plugin("DEL", withPorts, "CNI_CONTAINERID=unheard").works(t)
	h.plugin("ADD", withPorts).works(t) // address and port are free again
}

// TestErrors: each error that needs a host is told by its code.
func TestErrors(t *testing.T) {
	h, _ := bridgedHost(t)
	h.pod("p1")
	h.pod("p2")
	flowtest.ServeAt(t, h.space, netip.MustParseAddrPort("0.0.0.0:9999"))
	h.plugin("ADD", members, "CNI_NETNS=").fails(t, 4, "CNI_NETNS")
	h.plugin("ADD", members, "CNI_CONTAINERID=").fails(t, 4, "CNI_CONTAINERID")
	h.plugin("ADD", members, "CNI_ARGS=X=1").fails(t, 4, "X")
	h.plugin("ADD", members+`, "unheard": 1`).fails(t, 2, "unheard", "1")
	h.plugin("ADD", members+`, "vlan": 7`).fails(t, 7, "vlan", "7")
	h.plugin("ADD", members+`, "mtu": {}`).fails(t, 6, "mtu")
	h.plugin("ADD", members+`, `).fails(t, 6)
	h.plugin("ADD", strings.Replace(members, `"type": "bridged"`, `"type": "bridged", "resolvConf": "/nonexistent"`, 1)).fails(t, 5, "ipam.resolvConf", "/nonexistent")
	h.plugin("ADD", members+`, "cniVersion": "9.0.0"`).fails(t, 1, "9.0.0")
	h.plugin("ADD", strings.Replace(members, `"bridged"`, `"dhcp"`, 1)).fails(t, 7, "ipam.type", "dhcp", "host-local")
	h.plugin("ADD", members, "CNI_NETNS=/run/netns/none").fails(t, 8, "/run/netns/none")
	h.plugin("ADD", members, "CNI_NETNS=/proc/self/ns/net").fails(t, 8, "host")
	h.plugin("ADD", members, "CNI_NETNS=/proc/1/ns/mnt").fails(t, 8)
	h.plugin("ADD", members+`, "socket": "/run/none"`).fails(t, 11, "/run/none", "bridged daemon")
	h.plugin("ADD", strings.Replace(members, "cni0", "lan0", 1)).fails(t, 100, "lan0")
	h.plugin("ADD", strings.Replace(withPorts, "8080", "9999", 1)).fails(t, 100, "9999")
	h.plugin("ADD", members+`, "sysctl": {"net.nonsense": "1"}`).fails(t, 7, "net/nonsense")
	h.plugin("ADD", members+`, "sysctl": {"kernel.hostname": "x"}`).fails(t, 7, "kernel")
	h.plugin("ADD", members, "CNI_ARGS=IP=10.88.0.200").fails(t, 7, "10.88.0.200")
	h.plugin("ADD", members, "CNI_ARGS=MAC=01:00:00:00:00:01").fails(t, 7, "01:00:00:00:00:01")
	h.plugin("CHECK", members+`, "prevResult": {}`).fails(t, 3, "c1")
	h.plugin("GC", members+`, "cniVersion": "1.0.0"`).fails(t, 1, "GC")
	h.empty("after refusals")

	h.plugin("ADD", members).works(t) // the control
	h.plugin("ADD", members, "CNI_CONTAINERID=c2", "CNI_NETNS=/run/netns/p2").fails(t, 100)
	h.plugin("DEL", members).works(t)
	h.plugin("ADD", members, "CNI_CONTAINERID=c2", "CNI_NETNS=/run/netns/p2").works(t)
}

// TestNamespaceGone: a DEL takes everything back when the namespace is gone, whether the runtime names it or not.
func TestNamespaceGone(t *testing.T) {
	h, _ := bridgedHost(t)
	for _, env := range []string{"CNI_NETNS=", "CNI_NETNS=/run/netns/p1"} {
		h.pod("p1").Close()
		made := h.plugin("ADD", withPorts+`, "ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000, "egressBurst": 8000`)
		made.works(t)
		h.space.Output(t, "ip", "netns", "del", "p1")
		h.plugin("CHECK", made.prev(members)).fails(t, 8, "/run/netns/p1")
		h.plugin("DEL", withPorts, env).works(t)
		h.empty(env)
	}
}

// TestNamespaceVanishes: a namespace goes while an ADD is under way. Either the ADD was faster, or it says that the namespace is gone; the DEL
// leaves nothing.
func TestNamespaceVanishes(t *testing.T) {
	h, _ := bridgedHost(t)
	for range 30 {
		h.pod("p1").Close()
		var wg sync.WaitGroup
		wg.Go(func() { h.space.Output(t, "ip", "netns", "del", "p1") })
		if r := h.plugin("ADD", withPorts); r.status != 0 {
			r.fails(t, 8)
		}
		wg.Wait()
		h.plugin("DEL", withPorts).works(t)
		h.empty("a namespace that vanished")
	}
}

// TestNoDaemon: what is said without a daemon.
func TestNoDaemon(t *testing.T) {
	h, d := bridgedHost(t)
	p1 := h.pod("p1")
	h.pod("p2")
	made := h.plugin("ADD", withPorts)
	made.works(t)
	flowtest.Serve(t, p1, 80)
	d.Kill()
	h.plugin("STATUS", members).fails(t, 50, "bridged daemon")
	h.plugin("ADD", members, "CNI_CONTAINERID=c2", "CNI_NETNS=/run/netns/p2").fails(t, 11, "bridged daemon")
	h.plugin("CHECK", made.prev(withPorts)).fails(t, 11)
	h.plugin("GC", members).fails(t, 11)
	flowtest.Reaches(t, h.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "p1")

	h.space.Sysctl(t, "net/ipv4/ip_forward", "0")
	h.plugin("STATUS", members).fails(t, 51, "ip_forward")
	h.space.Sysctl(t, "net/ipv4/ip_forward", "1")
	h.space.IP(t, "link set cni0 down")
	h.plugin("STATUS", members).fails(t, 51, "cni0", "down")
	h.space.IP(t, "link set cni0 up")
	h.plugin("STATUS", members).fails(t, 50)
}

// TestRestart: a daemon that is killed and started again knows its attachments.
func TestRestart(t *testing.T) {
	h, d := bridgedHost(t)
	p1 := h.pod("p1")
	made := h.plugin("ADD", withPorts)
	made.works(t)
	flowtest.Serve(t, p1, 80)
	d.Kill()
	h.daemon()
	h.plugin("CHECK", made.prev(withPorts)).works(t)
	h.settled()
	flowtest.Reaches(t, h.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "p1")
	h.plugin("DEL", withPorts).works(t)
	h.empty("after a restart and a DEL")
}

// TestGC: what is not valid any more goes, of this network only.
func TestGC(t *testing.T) {
	h, _ := bridgedHost(t)
	wide := strings.ReplaceAll(members, `, "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"`, "")
	other := strings.NewReplacer("cni0", "cni1", "10.88.", "10.89.").Replace(wide) + `, "name": "other"`
	results := map[string]answer{}
	for _, c := range []string{"c1", "c2", "c3"} {
		h.pod(c)
		results[c] = h.plugin("ADD", wide, "CNI_CONTAINERID="+c, "CNI_NETNS=/run/netns/"+c)
		results[c].works(t)
	}
	h.plugin("ADD", other, "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/c1", "CNI_IFNAME=net1").works(t)
	h.space.Output(t, "ip", "netns", "del", "c3")
	h.plugin("GC", wide+`, "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "unheard", "ifname": "eth0"}]`).works(t)
	if got := h.counts(); got != [3]int{2, 2, 0} {
		t.Errorf("%v sandboxes, endpoints, ports: want c2, and c1 in the other network", got)
	}
	h.plugin("CHECK", results["c2"].prev(wide), "CNI_CONTAINERID=c2", "CNI_NETNS=/run/netns/c2").works(t)
	h.plugin("CHECK", results["c1"].prev(wide), "CNI_NETNS=/run/netns/c1").fails(t, 3)
	h.plugin("GC", wide+`, "name": "unheard"`).works(t)
	h.plugin("GC", wide).works(t)
	h.plugin("GC", other).works(t)
	h.empty("after a GC of all")
}

// TestGCByCnitool: the same by libcni.
func TestGCByCnitool(t *testing.T) {
	h, _ := bridgedHost(t)
	h.list("podnet", "1.1.0", entry("cni0", "10.88.0.0/24", "fd00:88::/64"))
	h.pod("p1")
	h.must("status", "podnet", "p1")
	h.must("add", "podnet", "p1")
	h.must("gc", "podnet", "p1")
	h.empty("after a GC")
}

// TestChosenSubnet: without a range the daemon chooses the subnets, once for the network.
func TestChosenSubnet(t *testing.T) {
	h, d := bridgedHost(t)
	chosen := `"isDefaultGateway": true, "ipMasq": true, "ipam": {"type": "bridged", "ipv6": true}`
	other := chosen + `, "name": "other", "bridge": "cni1"`
	var seen []result
	for i, config := range []string{chosen, chosen, other} {
		name := fmt.Sprintf("p%d", i+1)
		space := h.pod(name)
		made := h.plugin("ADD", config, "CNI_CONTAINERID=c"+name, "CNI_NETNS=/run/netns/"+name)
		made.works(t)
		h.plugin("CHECK", made.prev(config), "CNI_CONTAINERID=c"+name, "CNI_NETNS=/run/netns/"+name).works(t)
		var r result
		decode(t, made.stdout, &r)
		if len(r.IPs) != 2 || len(r.Routes) != 2 || r.Routes[0].GW != r.IPs[0].Gateway || r.Routes[1].GW != r.IPs[1].Gateway {
			t.Fatal(made)
		}
		seen = append(seen, r)
		flowtest.Serve(t, space, 80)
		if i == 0 {
			d.Kill()
			h.daemon()
		}
	}
	if seen[0].IPs[0].Gateway != seen[1].IPs[0].Gateway || seen[0].IPs[0].Gateway == seen[2].IPs[0].Gateway {
		t.Errorf("the subnets of two pods of a network, and of another network: %+v", seen)
	}
	for _, f := range families {
		flowtest.Reaches(t, h.space.Open(t, "p1", "/run/netns/p1"), "tcp", netip.AddrPortFrom(seen[1].ip(t, f.is), 80), "p2")
	}
}

// TestInstalledList: of the versions in the list that `bridged cni install` writes a runtime takes the newest that it knows.
func TestInstalledList(t *testing.T) {
	h, _ := bridgedHost(t)
	h.space.Output(t, program, "cni", "install", "--bin-dir", h.dir, "--conf-dir", confDir, "--network", "podnet")
	h.path = h.dir
	h.pod("p1")
	h.must("status", "podnet", "p1")
	if made := h.must("add", "podnet", "p1", ports("8080:80/tcp")); made.CNIVersion != "1.1.0" || made.Interfaces[2].MTU == 0 {
		t.Errorf("got %+v", made)
	}
	h.must("check", "podnet", "p1", ports("8080:80/tcp"))
	h.must("del", "podnet", "p1", ports("8080:80/tcp"))
	h.empty("after the DEL")
}
