package docker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/engine"
	"github.com/bridged/bridged/internal/flowtest"
	"github.com/bridged/bridged/internal/nstest"
)

// host is an engine on the kernel, in a namespace of its own, that is served.
type host struct {
	*served
	space *flowtest.Space
	cfg   engine.Config
	real  *engine.Engine
	stop  func()
}

func newHost(t *testing.T) *host {
	t.Helper()
	nstest.NeedRoot(t)
	dir := t.TempDir()
	h := &host{space: flowtest.NewSpace(t, "host", true), cfg: engine.Config{
		RunDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state"), Bridge: "none", ICC: true, IPMasq: true, IPForward: true,
		Protection: "auto", IP: netip.IPv4Unspecified(),
		Pools: []engine.AddressPool{{Base: netip.MustParsePrefix("10.77.0.0/16"), Size: 24}, {Base: netip.MustParsePrefix("fd77:1::/48"), Size: 64}},
	}}
	h.start(t)
	t.Cleanup(func() { h.stop() })
	return h
}

func (h *host) start(t *testing.T) {
	t.Helper()
	err := h.space.Do(func() (err error) { h.real, err = engine.New(h.cfg); return err })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.real.Run(ctx) }()
	h.served = serve(t, h.real, "")
	h.stop = func() {
		h.served.stop()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
	}
	select {
	case <-h.real.Ready():
	case err := <-done:
		t.Fatalf("the engine did not start: %v", err)
	}
}

// moby does what Docker's engine does between the calls: it moves the end of a link that a Join names into the container, where it gets a name, the
// endpoint's addresses and a way to the world.
type moby struct {
	player
	*host
	endpoints map[string]*container // by the endpoint's id
	reached   *int                  // ports
}

// container is an endpoint's: each of the recorded ones had a namespace of its own, or shared that of another.
type container struct {
	*flowtest.Space
	key   string
	addrs []string
	mac   string
}

// call plays a record, and acts as the engine did then.
func (m moby) call(t *testing.T, r recorded) answer {
	t.Helper()
	m.player.served = m.host.served // which a restart has changed
	a := m.play(r)
	if a.failure(r.Path) != "" || r.Body == nil {
		return a
	}
	body := m.translate(r.Body).(map[string]any)
	id, _ := body["EndpointID"].(string)
	switch _, name, _ := strings.Cut(r.Path, "."); name {
	case "CreateEndpoint":
		m.create(t, id, body, a)
	case "Join":
		m.join(t, id, body["SandboxKey"].(string), a)
	case "ProgramExternalConnectivity":
		m.reach(t, id)
	case "DeleteEndpoint":
		m.delete(id)
	}
	return a
}

// delete forgets an endpoint, and lets its container go with the last of them.
func (m moby) delete(id string) {
	c := m.endpoints[id]
	delete(m.endpoints, id)
	for _, other := range m.endpoints {
		if other.Space == c.Space {
			return
		}
	}
	c.Close()
}

// create takes down what an endpoint gets: from the request, and what that left open from the answer.
func (m moby) create(t *testing.T, id string, body map[string]any, a answer) {
	t.Helper()
	asked, _ := body["Interface"].(map[string]any)
	given, _ := a.fields["Interface"].(map[string]any)
	c := &container{}
	for _, field := range []string{"Address", "AddressIPv6"} {
		for _, from := range []map[string]any{asked, given} {
			if text, _ := from[field].(string); text != "" {
				c.addrs = append(c.addrs, text)
			}
		}
	}
	for _, from := range []map[string]any{asked, given} {
		if text, _ := from["MacAddress"].(string); text != "" {
			c.mac = text
		}
	}
	m.endpoints[id] = c
}

func (m moby) join(t *testing.T, id, key string, a answer) {
	t.Helper()
	c := m.endpoints[id]
	index := 0
	for _, other := range m.endpoints {
		if other.Space != nil && other.key == key {
			c.Space = other.Space // the container is in another network, too
			index++
		}
	}
	if c.Space == nil {
		c.Space = flowtest.NewSpace(t, "c-"+id[:6], false)
	}
	c.key = key
	names := a.fields["InterfaceName"].(map[string]any)
	inside := fmt.Sprintf("%s%d", names["DstPrefix"], index)
	m.space.IP(t, fmt.Sprintf("link set %s netns %s name %s", names["SrcName"], c.Path(), inside))
	var lines []string
	for _, address := range c.addrs {
		lines = append(lines, fmt.Sprintf("address add %s dev %s nodad", address, inside))
	}
	lines = append(lines, "link set "+inside+" up")
	for _, field := range []string{"Gateway", "GatewayIPv6"} {
		if gateway := a.fields[field].(string); gateway != "" && index == 0 {
			lines = append(lines, "route add default via "+gateway)
		}
	}
	c.IP(t, lines...)
	if have := c.Output(t, "ip", "-o", "link", "show", "dev", inside); !strings.Contains(have, "link/ether "+c.mac+" ") {
		t.Errorf("%s has not the MAC %s: %s", inside, c.mac, have)
	}
}

// reach connects to each TCP port of the container that is published on all addresses.
func (m moby) reach(t *testing.T, id string) {
	t.Helper()
	ports, err := m.real.Ports("")
	if err != nil {
		t.Fatal(err)
	}
	c := m.endpoints[id]
	for _, p := range ports {
		if p.Sandbox != id || p.Binding.Proto != bridged.TCP || p.Binding.HostIP != netip.IPv4Unspecified() {
			continue
		}
		server := flowtest.Serve(t, c.Space, p.ContainerPort)
		flowtest.Reaches(t, m.space, "tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.Binding.HostPort), c.Name)
		server.Close()
		*m.reached++
	}
}

// TestReplayOnKernel: all recorded calls against an engine on the kernel, with containers that are reached where the calls say so, and a new engine
// every now and then: Docker does not notice. In the end nothing is left.
func TestReplayOnKernel(t *testing.T) {
	h := newHost(t)
	m := moby{player{nil, make(map[string]string)}, h, make(map[string]*container), new(int)}
	for i, r := range records(t) {
		if i%40 == 39 {
			h.stop()
			h.start(t)
		}
		want := r.refusal()
		a := m.call(t, r)
		if failure := a.failure(r.Path); a.status != 200 || !strings.Contains(failure, want) || (failure != "") != (want != "") {
			body, _ := json.Marshal(r.Body)
			t.Errorf("line %d, %s, %s: %s %.200s: %d %s", i+1, r.Engine, r.Phase, r.Path, body, a.status, a.text)
		}
	}
	if *m.reached < 20 {
		t.Errorf("only %d ports were reached", *m.reached)
	}
	h.nothingLeft(t)
	h.start(t)
	h.must("/IpamDriver.RequestPool", `{"AddressSpace":"bridged-local","Pool":"10.77.0.0/24","SubPool":"","Options":{},"V6":false}`)
}

// nothingLeft stops the engine, and looks for what it has left in the kernel and in its directory.
func (h *host) nothingLeft(t *testing.T) {
	t.Helper()
	for _, n := range h.real.Networks() {
		if !n.Predefined() {
			t.Errorf("network %s is left", n.Name)
		}
	}
	if s := h.real.Status(); s.Endpoints != 0 || s.Ports != 0 {
		t.Errorf("left are %+v", s)
	}
	if text, differs, err := h.real.Ruleset(t.Context(), bridged.RulesetDiff); err != nil || differs {
		t.Errorf("the kernel differs (%v):\n%s", err, text)
	}
	h.stop() // waits for what is done behind the answers
	for line := range strings.Lines(h.space.Output(t, "ip", "-br", "link")) {
		if !strings.HasPrefix(line, "lo ") {
			t.Errorf("a link is left: %s", line)
		}
	}
	for _, dir := range []string{"networks", "reservations"} {
		files, err := os.ReadDir(filepath.Join(h.cfg.StateDir, dir))
		if err != nil && !os.IsNotExist(err) || len(files) > 2 {
			t.Errorf("%s: %v, %v", dir, files, err)
		}
	}
}

// TestRepeatedOnKernel: a call that is made again, because the daemon was replaced before its answer came, is answered as it was then.
func TestRepeatedOnKernel(t *testing.T) {
	h := newHost(t)
	const ref = `"NetworkID":"$N","EndpointID":"$E"`
	const ports = `"Options":{"com.docker.network.portmap":[{"Proto":6,"Port":80},{"Proto":17,"Port":53,"HostPort":5353}]}`
	for _, c := range []struct{ call, body string }{
		{"CreateNetwork", `{"NetworkID":"$N","Options":{"com.docker.network.enable_ipv6":true,"com.docker.network.generic":{"my.opt":"1"}},
			"IPv4Data":[{"Pool":"10.1.0.0/24","Gateway":"10.1.0.1/24","AuxAddresses":{"a":"10.1.0.9/24"}}],"IPv6Data":[{"Pool":"fd01::/64","Gateway":"fd01::1/64"}]}`},
		{"CreateEndpoint", `{` + ref + `,"Interface":{"Address":"10.1.0.2/24","AddressIPv6":"fd01::2/64"},` + ports + `}`},
		{"Join", `{` + ref + `,"SandboxKey":"/run/docker/netns/1",` + ports + `}`},
		{"ProgramExternalConnectivity", `{` + ref + `,` + ports + `}`},
		{"EndpointOperInfo", `{` + ref + `}`},
		{"RevokeExternalConnectivity", `{` + ref + `}`},
		{"Leave", `{` + ref + `}`},
	} {
		first := h.must("/NetworkDriver."+c.call, fill(c.body)).text
		seen := h.seen(t)
		h.stop()
		h.start(t)
		if again := h.must("/NetworkDriver."+c.call, fill(c.body)).text; again != first || h.seen(t) != seen {
			t.Errorf("%s: %s, and again: %s\n%s\n%s", c.call, first, again, seen, h.seen(t))
		}
	}
	h.must("/NetworkDriver.DeleteEndpoint", fill(`{`+ref+`}`))
	h.must("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`))
	h.nothingLeft(t)
	h.start(t)
}

// TestAtOnceOnKernel: the calls of the same few endpoints at the same time, whose links nobody moves.
func TestAtOnceOnKernel(t *testing.T) {
	h := newHost(t)
	h.must("/NetworkDriver.CreateNetwork", fill(`{"NetworkID":"$N","IPv4Data":[{"Pool":"10.1.0.0/24"}]}`))
	h.storm(t, 6, 10)
	h.must("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`))
	h.nothingLeft(t)
	h.start(t)
}

// TestAnyOrderOnKernel: any calls in any order; what is refused changes nothing, and what is there in the end can be taken away.
func TestAnyOrderOnKernel(t *testing.T) {
	h := newHost(t)
	random := rand.New(rand.NewPCG(7, 7))
	done := 0
	for range 600 {
		path, body := randomCall(random.IntN)
		before := h.seen(t)
		a := h.post(path, body)
		switch failure := a.failure(path); {
		case a.status != 200:
			t.Errorf("%s %s: %d %s", path, body, a.status, a.text)
		case failure == "":
			done++
		case h.seen(t) != before:
			t.Errorf("%s %s: refused, and changed something: %s", path, body, failure)
		}
	}
	if done < 100 {
		t.Errorf("only %d calls were done", done)
	}
	for _, id := range []string{networkID, otherID} {
		if err := h.try("DeleteNetwork", `{"NetworkID":"`+id+`"}`); err != nil {
			t.Error(err)
		}
	}
	for _, pool := range []string{"10.1.0.0/24", "10.2.0.0/24"} {
		h.must("/IpamDriver.ReleasePool", `{"PoolID":"`+pool+`"}`)
	}
	h.nothingLeft(t)
	h.start(t)
}

// seen is what the engine has, in words.
func (h *host) seen(t *testing.T) string {
	t.Helper()
	ports, err := h.real.Ports("")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(h.real.Networks(), ports)
}
