package docker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestRun: the calls of a container's life, and what is answered to each.
func TestRun(t *testing.T) {
	s := furnished(t)
	const options = `"Options":{"com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}],"com.docker.network.portmap":[
		{"Proto":17,"IP":"","Port":53,"HostIP":"127.0.0.1","HostPort":0,"HostPortEnd":0},
		{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8000,"HostPortEnd":8010},
		{"Proto":6,"IP":"","Port":80,"HostIP":"::","HostPort":8080,"HostPortEnd":8080}]}`
	const ref = `"NetworkID":"$O","EndpointID":"$X"`
	for _, c := range []struct{ call, body, want string }{
		{"CreateEndpoint", ref + `,"Interface":{"Address":"10.2.0.2/24","AddressIPv6":"fd02::2/64","MacAddress":""},` + options, `{"Interface":{"MacAddress":"02:42:0a:02:00:02"}}`},
		{"CreateEndpoint", ref + `,"Interface":{"Address":"10.2.0.2/24","AddressIPv6":"","MacAddress":"02:42:0a:02:00:02"},` + options, `{"Interface":{"AddressIPv6":"fd02::2/64"}}`},
		{"EndpointOperInfo", ref, `{"Value":{}}`},
		{"Join", ref + `,"SandboxKey":"/run/docker/netns/1",` + options, `{"InterfaceName":{"SrcName":"PEER","DstPrefix":"eth"},` +
			`"Gateway":"10.2.0.1","GatewayIPv6":"fd02::1","StaticRoutes":[],"DisableGatewayService":true}`},
		{"ProgramExternalConnectivity", ref + "," + options, `{}`},
		{"EndpointOperInfo", ref, `{"Value":{"bridged.port":"PORT"}}`},
		{"ProgramExternalConnectivity", ref + "," + options, `{}`},
		{"RevokeExternalConnectivity", ref, `{}`},
		{"Leave", ref, `{}`},
		{"DeleteEndpoint", ref, `{}`},
	} {
		a := s.must("/NetworkDriver."+c.call, fill("{"+c.body+"}"))
		j, peer, _ := s.engine.Interface(strangeID)
		want := strings.NewReplacer("PEER", peer, "PORT", j.Endpoint.HostInterface).Replace(c.want) + "\n"
		if a.text != want || a.header.Get("Content-Type") != "application/vnd.docker.plugins.v1.2+json" {
			t.Errorf("%s: %s want %s", c.call, a.text, want)
		}
		ports := strings.Join(s.engine.published(strangeID), " ")
		if has := ports == "127.0.0.1::53/udp 8000-8010:80/tcp [::]:8080:80/tcp"; has != (c.call == "ProgramExternalConnectivity" || strings.Contains(c.want, "PORT")) || !has && ports != "" {
			t.Errorf("%s: published are %s", c.call, ports)
		}
	}
	s.refuses("/NetworkDriver.DeleteEndpoint", fill("{"+ref+"}"), "not found")
}

// TestJoin: which gateways a network has, and how its interfaces are called.
func TestJoin(t *testing.T) {
	for _, c := range []struct{ network, gateway4, gateway6, prefix string }{
		{`"Options":{},"IPv4Data":[{"Pool":"10.9.0.0/24","Gateway":"10.9.0.9/24"}]`, "10.9.0.9", "", "eth"},
		{`"Options":{"com.docker.network.enable_ipv4":false,"com.docker.network.enable_ipv6":true},"IPv6Data":[{"Pool":"fd09::/64"}]`, "", "fd09::1", "eth"},
		{`"Options":{"com.docker.network.internal":true,"com.docker.network.enable_ipv6":true},"IPv4Data":[{"Pool":"10.9.0.0/24"}],"IPv6Data":[{"Pool":"fd09::/64"}]`, "", "", "eth"},
		{`"Options":{"com.docker.network.generic":{"com.docker.network.container_iface_prefix":"lan"}},"IPv4Data":[{"Pool":"10.9.0.0/24"}]`, "10.9.0.1", "", "lan"},
		{`"Options":{"com.docker.network.generic":{"com.docker.network.bridge.inhibit_ipv4":"true"}},"IPv4Data":[{"Pool":"10.9.0.0/24"}]`, "10.9.0.1", "", "eth"},
	} {
		s := ready(t)
		s.must("/NetworkDriver.CreateNetwork", fill(`{"NetworkID":"$N",`+c.network+`}`))
		s.must("/NetworkDriver.CreateEndpoint", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
		a := s.must("/NetworkDriver.Join", fill(`{"NetworkID":"$N","EndpointID":"$E"}`))
		name, _ := a.fields["InterfaceName"].(map[string]any)
		if a.fields["Gateway"] != c.gateway4 || a.fields["GatewayIPv6"] != c.gateway6 || name["DstPrefix"] != c.prefix {
			t.Errorf("%s: %s", c.network, a.text)
		}
	}
}

// TestInterfaceName: the name that a user asked for is Docker's to give; what it begins with is told as long as the endpoint is there.
func TestInterfaceName(t *testing.T) {
	s := furnished(t)
	const ref = `"NetworkID":"$N","EndpointID":"$X"`
	for _, c := range []struct{ options, prefix string }{{`"com.docker.network.endpoint.ifname":"wan0"`, "wan"}, {"", "eth"}} {
		s.must("/NetworkDriver.CreateEndpoint", fill("{"+ref+`,"Options":{`+c.options+"}}"))
		for range 2 {
			a := s.must("/NetworkDriver.Join", fill("{"+ref+"}"))
			if name, _ := a.fields["InterfaceName"].(map[string]any); name["DstPrefix"] != c.prefix {
				t.Errorf("%s: %s", c.options, a.text)
			}
		}
		s.must("/NetworkDriver.DeleteEndpoint", fill("{"+ref+"}"))
	}
	for _, name := range []string{"wan", "wan1", "0", ""} {
		s.refuses("/NetworkDriver.CreateEndpoint", fill("{"+ref+`,"Options":{"com.docker.network.endpoint.ifname":"`+name+`"}}`), "invalid")
	}
}

// TestForgotten: what Docker has forgotten of a network goes with it; what is not Docker's keeps it.
func TestForgotten(t *testing.T) {
	s := furnished(t)
	l := s.engine.leases[leasedID]
	l.Endpoint.Sandbox = "somebody's"
	s.engine.leases["somebody's"] = l
	delete(s.engine.leases, leasedID)
	s.refuses("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`), "has active endpoints")
	delete(s.engine.leases, "somebody's")
	s.must("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`))
	if len(s.engine.leases) != 0 || s.engine.networks[networkID].ID != "" {
		t.Errorf("left are %v", s.engine.snapshot())
	}
	s.refuses("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`), "not found")
}

// TestAnyOrder: whatever calls come, in whatever order, each is done or refused, and never do ports outlive a link, or endpoints a network.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &served{t: t, engine: newFake()}
		close(s.engine.ready)
		run := serve(t, s.engine, "")
		defer run.stop()
		for range rapid.IntRange(1, 40).Draw(rt, "calls") {
			path, body := randomCall(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "choice") })
			before := s.engine.snapshot()
			a := run.post(path, body)
			if a.status != 200 || a.failure(path) != "" && !s.engine.unchanged(before) {
				rt.Errorf("%s %s: %s", path, body, a.text)
			}
			s.engine.check(rt)
		}
	})
}

// check holds what must be true at any time.
func (f *fake) check(t interface{ Errorf(string, ...any) }) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, l := range f.leases {
		if _, ok := f.networks[l.Network.ID]; !ok {
			t.Errorf("endpoint %s is left of a network", key)
		}
		if l.Endpoint.Peer == "" && len(l.ports) > 0 {
			t.Errorf("endpoint %s has no link, and publishes %v", key, l.ports)
		}
	}
}

// TestAtOnce: many clients make the calls of the same few endpoints at the same time.
func TestAtOnce(t *testing.T) {
	s := furnished(t)
	s.storm(t, 8, 50)
	s.engine.check(t)
	s.must("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`))
}

// storm makes the calls of three endpoints from so many clients, so many times each.
func (s *served) storm(t *testing.T, clients, rounds int) {
	t.Helper()
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for round := range rounds {
				id := strings.Repeat(fmt.Sprint((client+round)%3), 64)
				for _, name := range []string{"CreateEndpoint", "Join", "ProgramExternalConnectivity", "EndpointOperInfo", "RevokeExternalConnectivity", "Leave", "DeleteEndpoint"} {
					body := fill(`{"NetworkID":"$N","EndpointID":"` + id + `","Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80,"HostPort":8080}]}}`)
					if err := s.try(name, body); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// try makes a call of the network driver, and leaves open whether it is done or refused.
func (s *served) try(name, body string) error {
	resp, err := s.http.Post("http://plugin/NetworkDriver."+name, "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var fields map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&fields); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d %v %w", resp.StatusCode, fields, err)
	}
	return nil
}

// randomCall is one of any kind about two networks, three endpoints and two pools.
func randomCall(choose func(n int) int) (path, body string) {
	pick := func(of ...string) string { return of[choose(len(of))] }
	path = pick(paths()...)
	pool := pick("10.1.0.0/24", "10.2.0.0/24")
	if strings.HasPrefix(path, "/IpamDriver.") {
		return path, fmt.Sprintf(`{"Pool":%q,"PoolID":%[1]q,"Address":%q}`, pool, pick("", "10.1.0.2", "10.2.0.1"))
	}
	return path, fmt.Sprintf(`{"NetworkID":%q,"EndpointID":%q,"IPv4Data":[{"Pool":%q}],"Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80}]}}`,
		pick(networkID, otherID), pick(endpointID, leasedID, strangeID), pool)
}
