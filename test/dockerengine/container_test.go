package dockerengine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/bridged/bridged/internal/flowtest"
)

// container is one that runs.
type container struct {
	*flowtest.Space
	id       string
	networks map[string]endpoint
}

// endpoint is what the engine knows of a container on a network.
type endpoint struct {
	NetworkID, EndpointID, Gateway, IPAddress, IPv6Gateway, GlobalIPv6Address, MacAddress string
	IPPrefixLen, GlobalIPv6PrefixLen                                                      int
}

func (e endpoint) addr(like netip.Addr) netip.Addr {
	text := e.IPAddress
	if like.Is6() {
		text = e.GlobalIPv6Address
	}
	a, _ := netip.ParseAddr(text)
	return a
}

// run starts a container that waits; args are further arguments of `docker run`.
func (w *world) run(name string, args ...string) container {
	w.t.Helper()
	w.docker(append(append([]string{"run", "-d", "--stop-signal", "KILL", "--name", name}, args...), image)...)
	return w.container(name)
}

// container is one that runs already.
func (w *world) container(name string) container {
	w.t.Helper()
	var all []struct {
		ID    string `json:"Id"`
		State struct {
			Running bool
			Pid     int
		}
		NetworkSettings struct{ Networks map[string]endpoint }
	}
	text := w.docker("inspect", name)
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 || !all[0].State.Running {
		w.t.Fatalf("container %s: %v\n%s", name, err, text)
	}
	c := all[0]
	return container{w.host.Open(w.t, name, fmt.Sprintf("/proc/%d/ns/net", c.State.Pid)), c.ID, c.NetworkSettings.Networks}
}

// on is the container's endpoint on a network.
func (c container) on(network string) endpoint { return c.networks[network] }

// gateway is the address of a network's bridge.
func (w *world) gateway(network string, like netip.Addr) netip.Addr {
	w.t.Helper()
	var all []struct {
		IPAM struct {
			Config []struct{ Subnet, Gateway string }
		}
	}
	text := w.docker("network", "inspect", network)
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		w.t.Fatalf("network %s: %v\n%s", network, err, text)
	}
	for _, c := range all[0].IPAM.Config {
		text, _, _ := strings.Cut(c.Gateway, "/") // the engine keeps what an IPAM driver says with its prefix
		if a, err := netip.ParseAddr(text); err == nil && a.Is4() == like.Is4() {
			return a
		}
	}
	w.t.Fatalf("network %s has no gateway\n%s", network, text)
	return netip.Addr{}
}
