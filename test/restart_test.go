package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bridged/bridged/client"
)

// variant builds another bridged: of another version, and, when edit is not nil, with another packet program.
func variant(t *testing.T, version string, edit func(source string) string) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "bridged")
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X main.version=" + version, "-o", binary}
	if edit != nil {
		args = append(args, "-overlay", overlay(t, dir, "../engine/program.go", edit))
	}
	cmd := exec.Command("go", append(args, "../cmd/bridged")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build version %s: %v\n%s", version, err, out)
	}
	return binary
}

// overlay puts an edited file in the place of a source file, for one build.
func overlay(t *testing.T, dir, path string, edit func(string) string) string {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		t.Fatal(err)
	}
	edited, list := filepath.Join(dir, "edited.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {path: edited}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{edited: edit(string(source)), list: string(text)} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// newerProgram has a set, a chain and a rule more, the latter where every packet passes.
func newerProgram(t *testing.T) func(string) string {
	const constant = "func Program() []nft.Table {"
	return func(source string) string {
		if strings.Count(source, constant) != 1 {
			t.Fatalf("the program is not made by %q", constant)
		}
		return strings.Replace(source, constant, "func olderProgram() []nft.Table {", 1) + `
func Program() []nft.Table {
	tables := olderProgram()
	inet := &tables[0]
	inet.Sets = append(inet.Sets, nft.Set{Name: "later", Key: []nft.Type{nft.TypeIfName}, Size: 16})
	inet.Chains = append(inet.Chains, nft.Chain{Name: "later", Rules: []nft.Rule{{nft.IIFName.In("later"), nft.Drop}}})
	for i := range inet.Chains {
		if c := &inet.Chains[i]; c.Name == "forward" || c.Name == "prerouting" {
			c.Rules = append([]nft.Rule{{nft.Jump("later")}}, c.Rules...)
		}
	}
	return tables
}
`
	}
}

// The daemon is stopped, killed, replaced by another version and by one with another program, and back, under a thousand requests a second:
// no connection breaks, none is refused, no packet is lost. A change of the program is one transaction that touches no element.
func TestReplaced(t *testing.T) {
	newVersion := variant(t, "9.9.9", nil)
	newProgram := variant(t, "10.0.0", newerProgram(t))
	protections(t, func(t *testing.T, flag string) {
		w := newWorld(t)
		d := w.daemon("--ipv6", flag)
		l := w.load(t, 1000, w.busy(t)...)
		g := w.generations()
		for _, step := range []struct {
			name   string
			end    func(*daemon)
			binary string
			rules  bool // are written
		}{
			{"stopped", (*daemon).Stop, program, false},
			{"killed", (*daemon).Kill, program, false},
			{"another version", (*daemon).Stop, newVersion, false},
			{"another version, back after a kill", (*daemon).Kill, program, false},
			{"another program", (*daemon).Stop, newProgram, true},
			{"the same program", (*daemon).Kill, newProgram, false},
			{"the first program again, after a kill", (*daemon).Kill, program, true},
			{"another program, after a kill", (*daemon).Kill, newProgram, true},
			{"the first program again", (*daemon).Stop, program, true},
		} {
			g.take(t)
			step.end(d)
			d = w.spawnOf(step.binary, "--ipv6", flag)
			d.ready()
			w.settled()
			written := batch{}
			for _, b := range g.take(t) {
				for kind, n := range b {
					written[kind] += n
				}
			}
			for kind := range written {
				if kind != "new table" && (!step.rules || strings.HasSuffix(kind, "element")) {
					t.Errorf("%s: %s: the start wrote %v", step.name, kind, written)
				}
			}
			if step.rules != (written["new rule"] > 0) {
				t.Errorf("%s: the start wrote %v; want new rules: %t", step.name, written, step.rules)
			}
			if there := strings.Contains(w.filter(), "set later"); there != (step.binary == newProgram) {
				t.Errorf("%s: the set of the newer program is there: %t", step.name, there)
			}
		}
		l.end(t)
	})
}

// The kind of protection changes while connections stand: the tables are made anew, in one transaction. New connections are no part of
// this: a packet that the kernel looks at just then, by the old rules, finds the old sets empty already, and is lost.
func TestProtectionReplaced(t *testing.T) {
	w := newWorld(t)
	d := w.daemon("--ipv6")
	l := w.load(t, 1000, slices.DeleteFunc(w.busy(t), func(f flow) bool { return !f.stands || f.proto != "tcp" })...)
	for _, protection := range []string{"monitor", "owner+persist", "monitor", "auto"} {
		d.Stop()
		d = w.daemon("--ipv6", "--protection", protection)
		w.settled()
		if s := decode[statusJSON](w, "status", "--json"); protection != "auto" && s.Protection != protection || s.Transactions > 2 {
			t.Errorf("with --protection %s: %+v", protection, s)
		}
	}
	l.end(t)
}

// A start with many sandboxes writes nothing, neither to the kernel nor to the state directory, and changes nothing that is shown.
func TestRestartOfMany(t *testing.T) {
	const sandboxes, ports = 300, 10
	protections(t, func(t *testing.T, flag string) {
		w := newWorld(t)
		d := w.daemon(flag)
		w.crowd(t, d, sandboxes, ports)
		if s := decode[statusJSON](w, "status", "--json"); s.Sandboxes != sandboxes || s.Ports != sandboxes*ports {
			t.Fatalf("the status is %+v", s)
		}
		w.settled()
		objects, filter, links, files := w.objects(), w.filter(), w.host.Addresses(t), w.writtenFiles(t)
		g := w.generations()
		d.Stop()
		began := time.Now()
		w.daemon(flag)
		t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
		all := g.take(t)
		s := decode[statusJSON](w, "status", "--json")
		if len(all) > 1 || len(all) == 1 && (len(all[0]) != 1 || all[0]["new table"] == 0) || s.Transactions != len(all) || s.Repairs != 0 {
			t.Errorf("the start made the transactions %v; status %+v", all, s)
		}
		w.settled()
		same(t, "objects", objects, w.objects())
		same(t, "packet filter", filter, w.filter())
		same(t, "links", links, w.host.Addresses(t))
		same(t, "files", files, w.writtenFiles(t))
	})
}

// crowd makes sandboxes with published ports, several at a time.
func (w *world) crowd(t testing.TB, d *daemon, sandboxes, ports int) {
	t.Helper()
	c, err := client.Dial(fmt.Sprintf("unix:///proc/%d/root/run/bridged/bridged.sock", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var next atomic.Int32
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < sandboxes; i = int(next.Add(1)) - 1 {
				first := 10000 + ports*i
				_, err := c.CreateSandbox(t.Context(), client.SandboxCreate{
					Name: fmt.Sprintf("c%d", i), Ports: []string{fmt.Sprintf("%d-%d:1-%d", first, first+ports-1, ports)},
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// writtenFiles are the files of the state directory with what they hold and when that was written, without the lock.
func (w *world) writtenFiles(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	files := w.stateFiles(t)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if filepath.Base(path) == "lock" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %s %q\n", path, info.ModTime(), files[path])
	}
	return all.String()
}
