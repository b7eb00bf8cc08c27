package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged/internal/flowtest"
)

// Docker's engine as the daemon sees it: calls of its plugin, with the ids of a network and of an endpoint.
var (
	dockerNet  = strings.Repeat("d0", 32)
	dockerEnd  = strings.Repeat("e1", 32)
	dockerPair = fmt.Sprintf(`"NetworkID": %q, "EndpointID": %q`, dockerNet, dockerEnd)
)

const dockerSubnet = `"AddressSpace": "bridged-local", "Pool": "10.9.0.0/24"`

var (
	plug    = steps{fmt.Sprintf(`PLUGIN NetworkDriver.CreateNetwork {"NetworkID": %q, "IPv4Data": [{%s, "Gateway": "10.9.0.1/24"}]}`, dockerNet, dockerSubnet)}
	unplug  = steps{fmt.Sprintf(`PLUGIN NetworkDriver.DeleteNetwork {"NetworkID": %q}`, dockerNet)}
	endow   = steps{fmt.Sprintf(`PLUGIN NetworkDriver.CreateEndpoint {%s, "Interface": {"Address": "10.9.0.9/24"}}`, dockerPair)}
	bereave = steps{fmt.Sprintf(`PLUGIN NetworkDriver.DeleteEndpoint {%s}`, dockerPair)}
	join    = steps{fmt.Sprintf(`PLUGIN NetworkDriver.Join {%s, "SandboxKey": "/var/run/docker/netns/c"}`, dockerPair)}
	depart  = steps{fmt.Sprintf(`PLUGIN NetworkDriver.Leave {%s}`, dockerPair)}
	expose  = steps{fmt.Sprintf(`PLUGIN NetworkDriver.ProgramExternalConnectivity {%s, "Options": {"com.docker.network.portmap": [
		{"Proto": 6, "Port": 80, "HostPort": 8082, "HostPortEnd": 8082}, {"Proto": 17, "Port": 80, "HostPort": 8082, "HostPortEnd": 8082}]}}`, dockerPair)}
	cover   = steps{fmt.Sprintf(`PLUGIN NetworkDriver.RevokeExternalConnectivity {%s}`, dockerPair)}
	book    = steps{`PLUGIN IpamDriver.RequestPool {` + dockerSubnet + `}`}
	unbook  = steps{`PLUGIN IpamDriver.ReleasePool {"PoolID": "10.9.0.0/24"}`}
	gateway = steps{`PLUGIN IpamDriver.RequestAddress {"PoolID": "10.9.0.0/24", "Address": "10.9.0.1", "Options": {"RequestAddressType": "com.docker.network.gateway"}}`}
	free    = steps{`PLUGIN IpamDriver.ReleaseAddress {"PoolID": "10.9.0.0/24", "Address": "10.9.0.1"}`}
)

// dockers are what Docker's engine asks for.
func dockers() []operation {
	given := func(s ...steps) func(*crashWorld) {
		return func(w *crashWorld) { w.must(slices.Concat(s...)) }
	}
	var all []operation
	for _, p := range []inverse{
		{name: "Docker pool", make: book, unmake: unbook},
		{name: "Docker gateway", given: given(book), make: gateway, unmake: free},
		{name: "Docker network", make: plug, unmake: unplug},
		{name: "Docker endpoint", given: given(plug), make: endow, unmake: bereave},
		{name: "Docker link", given: given(plug, endow), make: join, unmake: depart},
		{name: "Docker ports", given: given(plug, endow, join), make: expose, unmake: cover, uses: sent(8082), traces: "dport=8082"},
	} {
		all = append(all, p.both()...)
	}
	everything := slices.Concat(endow, join, expose)
	contained := func(w *crashWorld) { given(plug, everything)(w); w.contain() }
	reached := func(w *crashWorld) {
		w.echo.Say(w.t, "still there")
		for _, proto := range []string{"tcp", "udp"} {
			flowtest.Reaches(w.t, w.lan, proto, netip.AddrPortFrom(hostLAN4, 8082), "c")
		}
	}
	deleted := func(w *crashWorld) { w.host.IP(w.t, "link del "+w.leasePort()) }
	return append(all,
		operation{
			name: "Docker network of a pool add", given: given(book, gateway), do: request(plug), undo: given(unplug, book, gateway),
		},
		operation{ // which takes the pool along
			name: "Docker network of a pool rm", given: given(book, gateway, plug), do: request(unplug), undo: given(book, gateway, plug),
		},
		operation{
			name: "Docker endpoint with everything rm", given: given(plug, everything), undo: given(everything), traces: "dport=8082",
			do: func(w *crashWorld) bool { sent(8082)(w); return request(bereave)(w) },
		},
		operation{
			name: "repair a lease's port", first: true, dies: true, given: given(plug, endow, join),
			do: func(w *crashWorld) bool { w.host.IP(w.t, "link set "+w.leasePort()+" nomaster down"); return true },
		},
		operation{ // which goes on, and so do its connections
			name: "start on a container of Docker's", starts: true, do: launched(usual), given: contained, reached: reached,
		},
		operation{
			name: "repair the bridge of a container of Docker's", first: true, dies: true, given: contained, reached: reached,
			do: func(w *crashWorld) bool {
				for _, line := range lines(w.host.Output(w.t, "ip", "-br", "link", "show", "type", "bridge")) {
					if name := strings.Fields(line)[0]; strings.HasPrefix(name, "bd") {
						w.host.IP(w.t, "link del "+name)
					}
				}
				return true
			},
		},
		operation{
			name: "start without a lease's link", starts: true, do: launched(usual), given: given(plug, everything), undo: given(join),
			ahead: func(w *crashWorld) { w.died(); deleted(w) },
		},
	)
}

// contain does what Docker's engine does with the other end of a lease's pair: it goes into a container's namespace. From then on there is a
// connection to it.
func (w *crashWorld) contain() {
	w.t.Helper()
	peer := ""
	for _, line := range lines(w.host.Output(w.t, "ip", "-br", "link")) {
		if strings.HasPrefix(line, "bp") {
			peer, _, _ = strings.Cut(strings.Fields(line)[0], "@")
		}
	}
	w.netns("c", "link set lo up")
	w.host.IP(w.t, "link set "+peer+" netns c")
	c := w.host.Open(w.t, "c", "/run/netns/c")
	c.IP(w.t, "link set "+peer+" name eth0", "addr add 10.9.0.9/24 dev eth0", "link set eth0 up", "route add default via 10.9.0.1")
	flowtest.Serve(w.t, c, 80)
	w.echo = flowtest.OpenEcho(w.t, w.lan, netip.AddrPortFrom(hostLAN4, 8082))
}

// leasePort is the host's end of the pair of the one lease that has one.
func (w *crashWorld) leasePort() string {
	w.t.Helper()
	for _, line := range lines(w.host.Output(w.t, "ip", "-o", "link")) {
		if strings.Contains(line, "key="+dockerEnd) {
			name, _, _ := strings.Cut(strings.Fields(line)[1], "@")
			return name
		}
	}
	w.t.Fatal("no link is the lease's")
	return ""
}
