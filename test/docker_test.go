package test

import (
	"bufio"
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/internal/flowtest"
)

// dockerCommand is Docker's own client, with its configuration in the test's directory, as a command on the host.
func (w *world) dockerCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("docker", args...)
	cmd.Env = []string{"DOCKER_HOST=unix:///run/bridged/bridged.sock", "DOCKER_CONFIG=" + filepath.Join(w.dir, "docker"), "TZ=UTC"}
	return cmd
}

// tryDocker runs Docker's client.
func (w *world) tryDocker(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := w.dockerCommand(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := w.host.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// docker runs Docker's client, which must succeed without a word on stderr, and returns what it printed without the last newline.
func (w *world) docker(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := w.tryDocker(t, args...)
	if code != 0 || stderr != "" {
		t.Fatalf("docker %s: status %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return strings.TrimSuffix(stdout, "\n")
}

// columns are the lines of a table, one blank between its columns.
func columns(table string) []string {
	all := lines(table)
	for i, line := range all {
		all[i] = regexp.MustCompile(` {2,}`).ReplaceAllString(strings.TrimSpace(line), " | ")
	}
	return all
}

// TestDockerNetworks: networks and who is in them, with Docker's client: what it prints is what its users know, and what bridged's own
// commands print, and the kernel has it.
func TestDockerNetworks(t *testing.T) {
	need(t, "docker")
	w := newWorld(t)
	w.daemon()
	web := w.create("-p", "8080:80", "web")
	webID := w.inspect("web").ID

	backend := w.docker(t, "network", "create", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.254", "--ip-range", "10.9.0.128/25", "--aux-address",
		"printer=10.9.0.200", "--label", "tier=db", "-o", "com.docker.network.bridge.name=backend0", "backend")
	inner := w.docker(t, "network", "create", "-d", "bridge", "--internal", "--ipv6", "--subnet", "10.8.0.0/24", "--subnet", "fd00:8::/64", "inner")
	for _, id := range []string{backend, inner} {
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
			t.Errorf("network create prints %q", id)
		}
	}
	w.host.Output(t, "ip", "link", "show", "backend0")

	ids := make(map[string]string)
	for _, n := range decode[[]struct{ Name, ID string }](w, "network", "ls", "--json") {
		ids[n.Name] = n.ID[:12]
	}
	same(t, "network ls", strings.Join([]string{
		"NETWORK ID | NAME | DRIVER | SCOPE",
		ids["backend"] + " | backend | bridge | local",
		ids["bridge"] + " | bridge | bridge | local",
		ids["host"] + " | host | host | local",
		ids["inner"] + " | inner | bridge | local",
		ids["none"] + " | none | null | local",
	}, "\n"), strings.Join(columns(w.docker(t, "network", "ls")), "\n"))
	for filter, want := range map[string]string{
		"name=inn": "inner", "driver=host": "host", "label=tier=db": "backend", "label=tier=web": "", "type=custom": "backend inner", "dangling=true": "backend inner",
		"id=" + ids["none"]: "none", "scope=swarm": "",
	} {
		if have := strings.Join(strings.Fields(w.docker(t, "network", "ls", "--filter", filter, "--format", "{{.Name}}")), " "); have != want {
			t.Errorf("network ls --filter %s: %q, want %q", filter, have, want)
		}
	}

	w.docker(t, "network", "connect", "--ip", "10.9.0.77", "--alias", "www", "backend", "web")
	w.docker(t, "network", "connect", "--ip6", "fd00:8::77", ids["inner"], webID[:10])
	inside := web.Output(t, "ip", "-o", "addr")
	for _, want := range []string{"eth1 +inet 10.9.0.77/24 ", "eth2 +inet 10.8.0.2/24 ", "eth2 +inet6 fd00:8::77/64 "} {
		if !regexp.MustCompile(want).MatchString(inside) {
			t.Errorf("no %q in the sandbox:\n%s", want, inside)
		}
	}
	for _, ref := range []string{"backend", "inner", "bridge"} {
		same(t, "network inspect "+ref, w.bridged("network", "inspect", ref), w.docker(t, "network", "inspect", ref))
	}
	const view = `{{.IPAM.Config}} {{.Internal}} {{.Labels}} {{range .Containers}}{{.Name}} {{.IPv4Address}} {{.MacAddress}}{{end}}`
	same(t, "network inspect -f", "[{10.9.0.0/24 10.9.0.128/25 10.9.0.254 map[printer:10.9.0.200]}] false map[tier:db] web 10.9.0.77/24 02:42:0a:09:00:4d",
		w.docker(t, "network", "inspect", "-f", view, "backend"))

	w.docker(t, "network", "disconnect", "backend", "web")
	w.docker(t, "network", "disconnect", "-f", "inner", "web")
	w.await(t, "the interfaces to go", func() bool {
		inside := web.Output(t, "ip", "-o", "link")
		return !strings.Contains(inside, "eth1") && !strings.Contains(inside, "eth2") && strings.Contains(inside, "eth0")
	})

	// Its port waits for the next network, and is published nowhere until then.
	w.docker(t, "network", "disconnect", "bridge", "web")
	same(t, "port without a network", "", w.docker(t, "port", "web"))
	w.docker(t, "network", "connect", "bridge", "web")
	same(t, "port with one again", "80/tcp -> 0.0.0.0:8080", w.docker(t, "port", "web"))

	same(t, "network rm", "backend", w.docker(t, "network", "rm", "backend"))
	w.docker(t, "network", "create", "--label", "keep=", "kept")
	same(t, "network prune", "Deleted Networks:\ninner\n", w.docker(t, "network", "prune", "-f", "--filter", "label!=keep"))
	same(t, "network prune of old ones", "", w.docker(t, "network", "prune", "-f", "--filter", "until=24h"))
	same(t, "network prune", "Deleted Networks:\nkept\n", w.docker(t, "network", "prune", "-f"))
	w.settled()
}

// TestDockerNewer: what only a newer client than Debian's can ask for (API 1.48): networks without IPv4, the priority of gateways. An
// older one's part is played by bridged's own command, which makes the same calls.
func TestDockerNewer(t *testing.T) {
	need(t, "docker")
	w := newWorld(t)
	w.daemon()
	web := w.create("web")
	run := func(args ...string) {
		t.Helper()
		if _, stderr, code := w.tryDocker(t, args...); code != 0 {
			if !strings.Contains(stderr, "unknown flag") {
				t.Fatalf("docker %s: status %d\n%s", strings.Join(args, " "), code, stderr)
			}
			w.bridged(args...)
		}
	}
	run("network", "create", "--ipv4=false", "--ipv6", "--subnet", "fd00:6::/64", "modern")
	run("network", "create", "--subnet", "10.9.0.0/24", "uplink")
	run("network", "connect", "--gw-priority", "1", "uplink", "web")
	run("network", "connect", "modern", "web")
	same(t, "inspect of modern", "false true fd00:6::/64 fd00:6::1 ",
		w.docker(t, "network", "inspect", "-f", "{{.EnableIPv4}} {{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{end}}", "modern"))
	addrs := web.Output(t, "ip", "-o", "addr", "show", "dev", "eth2")
	if strings.Contains(addrs, "inet ") || !strings.Contains(addrs, "inet6 fd00:6::2/64") {
		t.Errorf("in the network without IPv4:\n%s", addrs)
	}
	if routes := web.Output(t, "ip", "route"); !strings.Contains(routes, "default via 10.9.0.1 dev eth1") {
		t.Errorf("the default route is not with the higher priority:\n%s", routes)
	}
	w.settled()
}

// TestDockerContainers: sandboxes as containers.
func TestDockerContainers(t *testing.T) {
	need(t, "docker")
	w := newWorld(t)
	w.daemon()
	w.create("-p", "8080:80", "-p", "127.0.0.1:53:53/udp", "web")
	w.create("db")
	w.bridged("sandbox", "create", "--network", "host", "local")
	web := w.inspect("web")

	table := columns(w.docker(t, "ps"))
	same(t, "ps", "CONTAINER ID | IMAGE | COMMAND | CREATED | STATUS | PORTS | NAMES", table[0])
	row := regexp.MustCompile(`^` + web.ID[:12] + ` \| <no image> \| "" \| .* ago \| Up .* \| 127\.0\.0\.1:53->53/udp, 0\.0\.0\.0:8080->80/tcp \| web$`)
	if len(table) != 4 || !row.MatchString(table[3]) {
		t.Errorf("ps prints %q", table)
	}
	for filter, want := range map[string]string{
		"name=^/w": "web", "name=b$": "db web", "id=" + web.ID[:12]: "web", "network=bridge": "db web", "network=host": "local", "network=none": "",
		"status=running": "local db web", "status=exited": "", "publish=8080": "web", "expose=53/udp": "web", "expose=53": "", "since=web": "local db", "before=db": "web",
		"label=x": "", "ancestor=debian": "",
	} {
		if have := strings.Join(strings.Fields(w.docker(t, "ps", "-a", "--filter", filter, "--format", "{{.Names}}")), " "); have != want {
			t.Errorf("ps --filter %s: %q, want %q", filter, have, want)
		}
	}
	same(t, "ps -l", "local", w.docker(t, "ps", "-l", "--format", "{{.Names}}"))

	ports := lines(w.docker(t, "port", "web"))
	slices.Sort(ports)
	same(t, "port", "53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:8080", strings.Join(ports, "\n"))
	same(t, "port of one", "127.0.0.1:53", w.docker(t, "port", "web", "53/udp"))

	const view = `{{.Name}} {{.State.Status}} {{.HostConfig.NetworkMode}} {{.NetworkSettings.SandboxKey}} {{with .NetworkSettings.Networks.bridge}}` +
		`{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}} {{.MacAddress}} {{.EndpointID}}{{end}}`
	e := web.Networks["bridge"]
	same(t, "inspect -f", "/web running bridge /run/netns/web "+e.IPAddress+"/16 172.17.42.1 "+e.MacAddress+" "+e.EndpointID, w.docker(t, "inspect", "-f", view, "web"))
	same(t, "inspect of a network", `["host"]`, "["+w.docker(t, "inspect", "-f", "{{json .Name}}", "host")+"]")

	version := w.docker(t, "version", "--format", "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}")
	same(t, "version", decode[statusJSON](w, "status", "--json").Version+" 1.50 1.24 linux", version)
	if text := w.docker(t, "version"); !regexp.MustCompile(`(?m)^Server: bridged\n Engine:\n  Version: +`).MatchString(text) {
		t.Errorf("version prints\n%s", text)
	}
	same(t, "info", "3 3 [bridge host null]", w.docker(t, "info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.Plugins.Network}}"))
}

// TestDockerErrors: what fails does so with the message that its users know, and changes nothing.
func TestDockerErrors(t *testing.T) {
	need(t, "docker")
	w := newWorld(t)
	w.daemon()
	w.create("web")
	w.docker(t, "network", "create", "--subnet", "10.9.0.0/24", "n")
	w.docker(t, "network", "connect", "n", "web")
	before := w.bridged("network", "ls", "--json")
	for _, c := range []struct {
		args, says string // says is a regular expression
	}{
		{"network create n", "network with name n already exists"},
		{"network create host", "network with name host already exists"},
		{"network create -d overlay m", `there is no network driver "overlay"`},
		{"network create --subnet 10.9.0.128/25 m", "overlaps with 10.9.0.0/24 of network n"},
		{"network create -o com.docker.network.bridge.colour=red m", `unknown network option "com.docker.network.bridge.colour"`},
		{"network create --attachable m", `unknown or unsupported field "Attachable"`},
		{"network create --ipam-driver dhcp m", `unknown driver "dhcp"`},
		{"network rm n", "network n has active endpoints: web"},
		{"network rm bridge", "bridge is a pre-defined network and cannot be removed"},
		{"network rm nothing", "network nothing not found|No such network: nothing"},
		{"network inspect nothing", "network nothing not found|No such network: nothing"},
		{"network connect n web", "sandbox web already connected to network n"},
		{"network connect nothing web", "network nothing not found"},
		{"network connect n nobody", "sandbox nobody not found"},
		{"network connect --ip 10.9.1.1 n web", "already connected"},
		{"network connect --link web:w n web", `unknown or unsupported field "EndpointConfig.Links"`},
		{"network disconnect bridge nobody", "sandbox nobody not found"},
		{"network disconnect host web", "sandbox web is not connected to network host"},
		{"network ls --filter colour=red", `invalid filter`},
		{"network prune -f --filter name=n", `invalid filter`},
		{"port nobody", "No such container: nobody"},
		{"port web 80", "No public port '80(/tcp)?' published for web"},
		{"inspect nothing", "No such object: nothing"},
		{"rm web", "Error response from daemon: not supported: DELETE /v1"},
		{"images", "Error response from daemon: not supported: GET /v1"},
		{"run debian", "Error response from daemon: not supported: POST /v1"},
	} {
		_, stderr, code := w.tryDocker(t, strings.Fields(c.args)...)
		if (code != 1 && code != 125) || !regexp.MustCompile(c.says).MatchString(stderr) || !strings.Contains(stderr, "Error") {
			t.Errorf("docker %s: status %d\n%s", c.args, code, stderr)
		}
	}
	same(t, "the networks", before, w.bridged("network", "ls", "--json"))
	w.settled()
}

// TestDockerEvents: Docker's client follows what happens, and asks for what happened.
func TestDockerEvents(t *testing.T) {
	need(t, "docker")
	w := newWorld(t)
	d := w.daemon()
	const format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}"
	cmd := w.dockerCommand("events", "--since", "1h", "--format", format)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(seen)
		for s := bufio.NewScanner(out); s.Scan(); {
			seen <- s.Text()
		}
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	defer func() { // it ends with the daemon
		d.Stop()
		select {
		case <-ended:
			if code := cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("docker events ends with status %d", code)
			}
		case <-time.After(flowtest.Patience):
			t.Error("the client still waits for events of a daemon that has stopped")
		}
	}()

	network := w.docker(t, "network", "create", "--subnet", "10.9.0.0/24", "n")
	w.bridged("sandbox", "create", "-p", "8080:80", "web")
	w.docker(t, "network", "connect", "n", "web")
	w.docker(t, "network", "disconnect", "n", "web")
	w.docker(t, "network", "rm", "n")
	sandbox := w.inspect("web").ID
	w.bridged("sandbox", "rm", "web")
	want := []string{
		"network create n", "network connect bridge", "container create web", "network connect n", "network disconnect n", "network destroy n",
		"network disconnect bridge", "container destroy web",
	}
	var all []string
	for deadline := time.After(flowtest.Patience); len(all) < len(want); {
		select {
		case line := <-seen:
			if line != "network create bridge" { // the start's
				all = append(all, line)
			}
		case <-deadline:
			t.Fatalf("only %q came", all)
		}
	}
	// What one transaction did has no order.
	slices.Sort(all[6:])
	slices.Sort(want[6:])
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("-want +have\n%s", d)
	}

	until := time.Now().Add(time.Second).UTC().Format(time.RFC3339) // to the second: what Docker's client can say
	for filter, want := range map[string][]string{
		"type=container":               {"container create web", "container destroy web"},
		"network=n":                    {"network create n", "network connect n", "network disconnect n", "network destroy n"},
		"network=" + network[:12]:      {"network create n", "network connect n", "network disconnect n", "network destroy n"},
		"container=web":                {"container create web", "container destroy web"},
		"container=" + sandbox[:12]:    {"container create web", "container destroy web"},
		"event=connect":                {"network connect bridge", "network connect n"},
		"label=container=" + sandbox:   {"network connect bridge", "network connect n", "network disconnect n", "network disconnect bridge"},
		"image=debian":                 nil,
		"type=volume":                  nil,
		"scope=swarm":                  nil,
		"event=destroy\x00type=volume": nil,
	} {
		args := []string{"events", "--since", "1h", "--until", until, "--format", format}
		for f := range strings.SplitSeq(filter, "\x00") {
			args = append(args, "--filter", f)
		}
		if d := cmp.Diff(want, lines(w.docker(t, args...))); d != "" {
			t.Errorf("events --filter %q: -want +have\n%s", filter, d)
		}
	}
	line := lines(w.docker(t, "events", "--since", "1h", "--until", until, "--filter", "event=connect", "--filter", "network=n"))
	want = []string{"network connect " + network + " (container=" + sandbox + ", name=n, type=bridge)"}
	if len(line) != 1 || !strings.HasSuffix(line[0], want[0]) {
		t.Errorf("events prints %q, want %q", line, want)
	}
}
