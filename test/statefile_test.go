package test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged/internal/flowtest"
)

// The daemon's files, as the host sees them.
const (
	runDir    = "/run/bridged"
	runLog    = runDir + "/log"
	givenPath = "/run/netns/c5"
)

// read is a file of the host.
func (w *world) read(path string) []byte {
	w.t.Helper()
	var b []byte
	err := w.host.Do(func() (err error) {
		b, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// write makes a file of the host.
func (w *world) write(path string, content []byte) {
	w.t.Helper()
	if err := w.host.Do(func() error { return os.WriteFile(path, content, 0o600) }); err != nil {
		w.t.Fatal(err)
	}
}

// inhabited is a world with sandboxes of every kind that has a link, and what must stay of them.
type inhabited struct {
	*world
	daemon *daemon
	flows  []flow
	before told
	text   string // the links and the packet filter
}

// told is what the commands say of what the kernel can tell.
type told struct {
	Networks  string
	Sandboxes []sandboxJSON
	Ports     []portJSON
	Links     string
}

func newInhabited(t *testing.T) *inhabited {
	t.Helper()
	w := newWorld(t)
	h := &inhabited{world: w, daemon: w.daemon("--ipv6")}
	w.bridged("network", "create", "--ipv6", "--label", "team=a", "second")
	w.bridged("network", "create", "--internal", "inside")
	w.bridged("network", "create", "--opt", "com.docker.network.bridge.enable_icc=false", "apart")
	w.host.Output(t, "ip", "netns", "add", "c5")
	c1 := w.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.2:81:81")
	c2 := w.member("c2", "bridge", "--mac-address", "02:00:00:00:00:77")
	w.member("c3", "second", "-p", "9000-9009:9000-9009")
	w.member("c4", "inside")
	w.bridged("sandbox", "create", "--network", "none", "c0")
	w.bridged("sandbox", "create", "--netns", givenPath, "-p", "8099:80", "c5")
	c6, c7 := w.member("c6", "apart"), w.member("c7", "apart")
	w.bridged("link", "add", "--port", "80/tcp", "c6", "c7")
	c5 := member{Space: w.host.Open(t, "c5", givenPath)}
	for _, m := range []member{c1, c2, c5, c6, c7} {
		flowtest.Serve(t, m.Space, 80)
	}
	flowtest.Serve(t, w.lan, 80)
	for _, f := range families {
		host := pick(f, hostLAN4, hostLAN6)
		for _, to := range []flow{
			{from: w.lan, to: netip.AddrPortFrom(host, 8080), server: "c1"},
			{from: c2.Space, to: netip.AddrPortFrom(c1.addr(f), 80), server: "c1"},
			{from: c1.Space, to: netip.AddrPortFrom(pick(f, lan4, lan6), 80), server: "lan"},
			{from: w.lan, to: netip.AddrPortFrom(host, 8099), server: "c5"},
		} {
			for _, stands := range []bool{false, true} {
				to.proto, to.stands = "tcp", stands
				h.flows = append(h.flows, to)
			}
		}
	}
	h.flows = append(h.flows, flow{from: c6.Space, to: netip.AddrPortFrom(c7.ip4, 80), server: "c7", proto: "tcp"})
	h.before, h.text = h.told(), h.kernel()
	return h
}

// told asks the commands.
func (w *world) told() told {
	w.t.Helper()
	s := told{
		Networks: w.bridged("network", "ls", "--json"), Sandboxes: decode[[]sandboxJSON](w, "sandbox", "ls", "--json"),
		Ports: decode[[]portJSON](w, "port", "ls", "--json"), Links: w.bridged("link", "ls"),
	}
	s.Sandboxes = slices.DeleteFunc(s.Sandboxes, func(s sandboxJSON) bool { return s.Mode == "host" })
	return s
}

// kernel is our part of the kernel, as others show it.
func (w *world) kernel() string {
	w.t.Helper()
	return w.filter() + w.host.Addresses(w.t) + strings.Join(w.names("/run/netns"), " ")
}

// as checks that everything is as it was, and was not touched: the restart wrote nothing but the adoption of the tables.
func (h *inhabited) as(t *testing.T, g *generations) {
	t.Helper()
	if x := cmp.Diff(h.before, h.told()); x != "" {
		t.Errorf("what the commands tell (-before +after):\n%s", x)
	}
	same(t, "the kernel", h.text, h.kernel())
	for _, b := range g.take(t) {
		for kind := range b {
			if kind != "new table" {
				t.Errorf("the restart wrote: %v", b)
			}
		}
	}
	h.consistent(t)
}

// Whatever becomes of the log while no daemon runs: the next one finds in the kernel what runs, and no packet is lost.
func TestLogDamaged(t *testing.T) {
	h := newInhabited(t)
	h.bridged("sandbox", "create", "--network", "host", "c8")
	for name, damage := range map[string]struct {
		do   func()
		says string // in a warning of status
	}{
		"removed":               {func() { h.host.Output(t, "rm", runLog) }, "taken from the kernel"},
		"run directory removed": {func() { h.host.Output(t, "rm", "-r", runDir) }, "taken from the kernel"},
		"empty":                 {func() { h.write(runLog, nil) }, runLog + ".broken"},
		"a directory":           {func() { h.host.Output(t, "rm", runLog); h.host.Output(t, "mkdir", "-p", runLog+"/x") }, runLog + ".broken"},
		"a pipe":                {func() { h.host.Output(t, "rm", runLog); h.host.Output(t, "mkfifo", runLog) }, runLog + ".broken"},
		"no log":                {func() { h.write(runLog, bytes.Repeat([]byte("no log\n"), 1000)) }, runLog + ".broken"},
		"zeros":                 {func() { h.write(runLog, make([]byte, len(h.read(runLog)))) }, runLog + ".broken"},
		"header only": {func() {
			header, _, _ := bytes.Cut(h.read(runLog), []byte("\n"))
			h.host.Output(t, "truncate", "-s", fmt.Sprint(len(header)+1), runLog)
		}, runLog + ".broken"},
	} {
		t.Run(name, func(t *testing.T) {
			load := h.load(t, 200, h.flows...)
			h.daemon.Kill()
			g := h.generations()
			damage.do()
			h.daemon = h.world.daemon("--ipv6")
			load.end(t)
			h.as(t, g)
			warnings := strings.Join(decode[statusJSON](h.world, "status", "--json").Warnings, "\n")
			for _, word := range []string{damage.says, "modes host and container"} {
				if !strings.Contains(warnings, word) {
					t.Errorf("%q is in no warning:\n%s", word, warnings)
				}
			}
			for _, s := range decode[[]sandboxJSON](h.world, "sandbox", "ls", "--json") {
				if s.Mode == "host" {
					t.Errorf("sandbox %s came from nowhere", s.Name)
				}
			}
			// The next start finds nothing to say.
			h.daemon.Kill()
			h.daemon = h.world.daemon("--ipv6")
			if warnings := decode[statusJSON](h.world, "status", "--json").Warnings; len(warnings) > 0 {
				t.Errorf("the start after that: %q", warnings)
			}
			if x := cmp.Diff(h.before, h.told()); x != "" {
				t.Errorf("after that, what the commands tell (-before +after):\n%s", x)
			}
			h.host.Output(t, "sh", "-c", "rm -rf "+runLog+".broken*")
		})
	}
	// What was rebuilt can be used and given back.
	h.bridged("port", "add", "c2", "8081:80")
	flowtest.Reaches(t, h.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8081), "c2")
	h.bridged("link", "rm", "c6", "c7")
	for _, name := range []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"} {
		h.bridged("sandbox", "rm", name)
	}
	h.create("-p", "8080:80", "c1")
	h.bridged("sandbox", "rm", "c1")
	h.host.Output(t, "ip", "netns", "del", "c5")
	h.consistent(t)
}

// A log that lost its end, or has a flipped bit, at many places: the kernel has the rest.
func TestLogSweep(t *testing.T) {
	h := newInhabited(t)
	h.daemon.Kill()
	whole, length := h.read(runLog), h.read(runDir+"/length") // with its history
	h.host.Output(t, "ln", runLog, "/run/kept")               // each start writes a new file
	g := h.generations()
	const places = 8
	for i := range places {
		at := len(whole) * i / places
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << (i % 8)
		for name, content := range map[string][]byte{"cut": whole[:at], "flipped": flipped} {
			h.host.Output(t, "ln", "-f", "/run/kept", runLog)
			h.write(runLog, content)
			h.write(runDir+"/length", length)
			h.daemon = h.world.daemon("--ipv6")
			if x := cmp.Diff(h.before, h.told()); x != "" {
				t.Fatalf("%s at byte %d of %d (-before +after):\n%s\n%s", name, at, len(whole), x, h.daemon.Log.String())
			}
			h.daemon.Kill()
		}
	}
	h.daemon = h.world.daemon("--ipv6")
	h.as(t, g)
}

// A daemon that is killed while it rebuilds is followed by one that rebuilds.
func TestLogLostAndKilled(t *testing.T) {
	h := newInhabited(t)
	kills := 3
	if !strings.Contains(decode[statusJSON](h.world, "status", "--json").Protection, "owner") {
		kills = 0 // a start shows no sign before it is done
	}
	h.daemon.Kill()
	h.host.Output(t, "rm", runLog)
	for range kills {
		g := h.generations()
		d := h.spawn("--ipv6")
		h.await(t, "the daemon to adopt the tables", func() bool { return len(g.take(t)) > 0 })
		d.Kill()
	}
	g := h.generations()
	h.daemon = h.world.daemon("--ipv6")
	h.as(t, g)
}

// What containers do in their namespaces has no say in what is rebuilt.
func TestLogLostAmongHostile(t *testing.T) {
	h := newInhabited(t)
	label := linksOf(t, h.host)[h.endpoint("c3", "second").HostInterface]
	evil := h.sandbox("c4")
	h.daemon.Kill()
	g := h.generations()
	h.host.Output(t, "rm", runLog)
	alias := h.host.Output(t, "cat", "/sys/class/net/"+label.Name+"/ifalias")
	evil.Output(t, "ip", "link", "set", "eth0", "alias", strings.TrimSpace(strings.Replace(alias, " c3 ", " c1 ", 1)))
	evil.IP(t, "link set eth0 down", "link set eth0 name eth9", "link set eth9 address 02:00:00:00:00:66", "link set eth9 up",
		"link add bv0123456789ab type veth peer name bvother", "link set bv0123456789ab group 1651663975")
	evil.Output(t, "ip", "link", "set", "bv0123456789ab", "alias", strings.TrimSpace(alias))
	h.daemon = h.world.daemon("--ipv6")
	if x := cmp.Diff(h.before, h.told()); x != "" {
		t.Errorf("what the commands tell (-before +after):\n%s", x)
	}
	same(t, "the kernel", h.text, h.kernel())
	if all := g.take(t); len(all) > 1 {
		t.Errorf("the restart wrote: %v", all)
	}
}

// A container that gives its interface away does not give its identity away: the namespace is the one that the link was made for.
func TestLogLostInnerEndMoved(t *testing.T) {
	h := newInhabited(t)
	nested := flowtest.NewSpace(t, "nested", false)
	h.daemon.Kill()
	h.host.Output(t, "rm", runLog)
	h.sandbox("c4").Output(t, "ip", "link", "set", "eth0", "netns", nested.Path())
	h.daemon = h.world.daemon("--ipv6")
	if x := cmp.Diff(h.before, h.told()); x != "" {
		t.Errorf("what the commands tell (-before +after):\n%s", x)
	}
	// And the sandbox can be removed.
	h.bridged("sandbox", "rm", "c4")
	if slices.Contains(h.names("/run/netns"), "c4") {
		t.Error("the namespace is still there")
	}
}

// A network's file that is damaged or gone is written anew, as long as the log says what was in it; after a reboot the network is forgotten.
func TestNetworkFileDamaged(t *testing.T) {
	h := newInhabited(t)
	files := h.networkFiles(t)
	for name, damage := range map[string]func(path string){
		"gone":        func(path string) { h.host.Output(t, "rm", path) },
		"empty":       func(path string) { h.write(path, nil) },
		"a directory": func(path string) { h.host.Output(t, "rm", path); h.host.Output(t, "mkdir", path) },
		"a flipped bit": func(path string) {
			content := h.read(path)
			content[len(content)/2] ^= 4
			h.write(path, content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			load := h.load(t, 200, h.flows...)
			h.daemon.Kill()
			g := h.generations()
			for path := range files {
				damage(path)
			}
			h.daemon = h.world.daemon("--ipv6")
			load.end(t)
			h.as(t, g)
			if x := cmp.Diff(files, h.networkFiles(t)); x != "" {
				t.Errorf("the files (-before +after):\n%s", x)
			}
			if n := len(decode[statusJSON](h.world, "status", "--json").Warnings); n != len(files) {
				t.Errorf("%d warnings about %d files", n, len(files))
			}
		})
	}
}

// networkFiles are the networks' files and their content.
func (w *world) networkFiles(t testing.TB) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for path, content := range w.stateFiles(t) {
		if strings.HasSuffix(path, ".json") {
			files[path] = content
		}
	}
	if len(files) == 0 {
		t.Fatal("no network has a file")
	}
	return files
}

// Files of a newer version are refused, with the file and what to do; the data path stays, and the files, too.
func TestNewerStateRefused(t *testing.T) {
	h := newInhabited(t)
	h.daemon.Kill()
	before := h.kernel() // without a daemon, nobody owns the tables
	var network string
	for network = range h.networkFiles(t) {
		break
	}
	for path, edit := range map[string]func([]byte) []byte{
		runLog: func(b []byte) []byte {
			header, _, _ := bytes.Cut(b, []byte("\n"))
			return append(record(bytes.Replace(header[9:], []byte(`"Format":1`), []byte(`"Format":9`), 1)), b[len(header)+1:]...)
		},
		network: func(b []byte) []byte {
			return resummed(bytes.Replace(b, []byte(`"Format": 2`), []byte(`"Format": 9`), 1))
		},
	} {
		content := h.read(path)
		newer := edit(content)
		if bytes.Equal(content, newer) {
			t.Fatalf("%s is no newer one:\n%s", path, content)
		}
		load := h.load(t, 200, h.flows...)
		h.write(path, newer)
		d := h.spawn("--ipv6")
		d.Wait()
		if code := d.Cmd.ProcessState.ExitCode(); code != 69 {
			t.Errorf("%s: the daemon ended with status %d", path, code)
		}
		for _, word := range []string{path, "newer version", "format 9", "start that version"} {
			if !strings.Contains(d.Log.String(), word) {
				t.Errorf("%s: %q is not in:\n%s", path, word, d.Log.String())
			}
		}
		load.end(t)
		if got := h.read(path); !bytes.Equal(got, newer) {
			t.Errorf("%s was changed", path)
		}
		same(t, "the kernel", before, h.kernel())
		h.write(path, content)
	}
	g := h.generations()
	h.daemon = h.world.daemon("--ipv6")
	h.as(t, g)
}

// record is a line of the log: the checksum of a JSON text, and the text.
func record(text []byte) []byte {
	return fmt.Appendf(nil, "%08x %s\n", castagnoli(text), text)
}

// resummed is a network's file with the checksum that it should have.
func resummed(b []byte) []byte {
	const before, digits = "{\n\t\"Sum\": \"", 8
	b = bytes.Clone(b)
	copy(b[len(before):], "00000000")
	copy(b[len(before):], fmt.Sprintf("%0*x", digits, castagnoli(b)))
	return b
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Permissions that others were given are taken away, and said where they could have written. People of the socket's group reach the
// socket, and nothing of the log.
func TestStatePermissions(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	w.bridged("network", "create", "second")
	mode := func(path string) os.FileMode {
		t.Helper()
		var info os.FileInfo
		err := w.host.Do(func() (err error) {
			info, err = os.Stat(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	var files []string
	for path := range w.stateFiles(t) {
		files = append(files, path)
	}
	files = append(files, runLog, runDir+"/lock", runDir+"/length")
	check := func() {
		t.Helper()
		for _, path := range files {
			if got := mode(path); got != 0o600 {
				t.Errorf("%s has the permissions %o", path, got)
			}
		}
		for path, want := range map[string]os.FileMode{runDir: 0o755, runDir + "/bridged.sock": 0o660, w.dir + "/networks": 0o700} {
			if got := mode(path); got != want {
				t.Errorf("%s has the permissions %o", path, got)
			}
		}
	}
	check()
	d.Stop()
	network := slices.IndexFunc(files, func(path string) bool { return filepath.Ext(path) == ".json" })
	w.host.Output(t, "chmod", "000", runLog)
	w.host.Output(t, "chmod", "666", files[network])
	w.host.Output(t, "chmod", "777", runDir)
	w.daemon()
	check()
	warnings := strings.Join(decode[statusJSON](w, "status", "--json").Warnings, "\n")
	for _, path := range []string{files[network], runDir} {
		if !strings.Contains(warnings, path+" had the permissions") {
			t.Errorf("%s is in no warning:\n%s", path, warnings)
		}
	}
	if strings.Contains(warnings, runLog) {
		t.Errorf("nobody else could write the log:\n%s", warnings)
	}
}
