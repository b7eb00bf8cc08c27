package engine

import (
	"strings"
	"testing"
)

// TestPortsLeaveIPv6ToTheBridge: the host has no IPv6 route by a sandbox's port, of which the kernel would go through those of all ports, and IPv6 passes
// the bridge all the same.
func TestPortsLeaveIPv6ToTheBridge(t *testing.T) {
	w := newWorld(t, testConfig(t), less{})
	w.startWith("0")
	routes := func(link string) string { return w.host.run("ip -6 route show table all dev " + link) }
	for _, s := range w.engine.Sandboxes() {
		for _, j := range s.Joined {
			if r := routes(j.Endpoint.HostInterface); r != "" {
				t.Errorf("by %s's port go\n%s", s.Name, r)
			}
			if bridge := j.Network.Bridge; !strings.Contains(routes(bridge), "ff00::/8") {
				t.Errorf("bridge %s has no multicast route:\n%s", bridge, routes(bridge))
			}
		}
	}
	w.check(flow{from: "c2", to: "c1", port: 80, server: "c1"})
	w.check(flow{from: "c2", to: "host", port: 8080, server: "c1"})
	w.end()
}
