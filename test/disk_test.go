package test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// disk is a small file system of the host that a test can fill, and make read-only.
type disk struct {
	w    *world
	path string
}

// disk mounts an empty one at path, seen by the host only; it goes with the host.
func (w *world) disk(path string) disk {
	w.t.Helper()
	const size = 256 << 10 // bytes
	err := w.host.Do(func() error {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		return unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", size))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return disk{w, path}
}

// fill leaves no byte free.
func (d disk) fill() {
	d.w.t.Helper()
	err := d.w.host.Do(func() error {
		f, err := os.Create(filepath.Join(d.path, "filler"))
		if err != nil {
			return err
		}
		defer f.Close()
		for size := 4096; size > 0; {
			if _, err := f.Write(make([]byte, size)); err != nil {
				size /= 2
			}
		}
		return nil
	})
	if err != nil {
		d.w.t.Fatal(err)
	}
}

// free makes room again.
func (d disk) free() {
	d.w.t.Helper()
	if err := d.w.host.Do(func() error { return os.Remove(filepath.Join(d.path, "filler")) }); err != nil {
		d.w.t.Fatal(err)
	}
}

// readOnly puts a read-only view of it over it, or takes that away. Files that are open stay open for writing.
func (d disk) readOnly(on bool) {
	d.w.t.Helper()
	err := d.w.host.Do(func() error {
		if !on {
			return unix.Unmount(d.path, 0)
		}
		return errors.Join(unix.Mount(d.path, d.path, "", unix.MS_BIND, ""),
			unix.Mount("", d.path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	})
	if err != nil {
		d.w.t.Fatal(err)
	}
}

// outOfOrder are the ways in which a disk can't be written to.
var outOfOrder = []struct {
	name        string
	begin, end  func(disk)
	errno, says string
}{
	{"full", disk.fill, disk.free, "no space left on device", "free some space"},
	{"read-only", func(d disk) { d.readOnly(true) }, func(d disk) { d.readOnly(false) }, "read-only file system", "make it writable"},
}

// A run directory that can't be written to: what runs goes on, what would change it fails as a whole, and says why; and it works again as soon as
// the disk does.
func TestRunDirectoryOutOfOrder(t *testing.T) {
	for _, o := range outOfOrder {
		t.Run(o.name, func(t *testing.T) {
			w := newWorld(t)
			run := w.disk(runDir)
			d := w.daemon("--ipv6")
			m := w.member("c1", "bridge", "-p", "8080:80", "-p", "8080:80/udp")
			flowtest.Serve(t, m.Space, 80)
			w.bridged("network", "create", "spare")
			w.bridged("port", "add", "c1", "8082:80")
			w.create("c3")
			load := w.load(t, 200, flow{from: w.lan, proto: "tcp", to: netip.AddrPortFrom(hostLAN4, 8080), server: "c1"},
				flow{from: w.lan, proto: "udp", to: netip.AddrPortFrom(hostLAN6, 8080), server: "c1", stands: true})
			var before told
			var text string
			o.begin(run)
			changes := [][]string{{"sandbox", "create", "-p", "8081:80", "c2"}, {"port", "add", "c1", "8083:80"}, {"network", "create", "second"}}
			removals := [][]string{{"sandbox", "rm", "c3"}, {"port", "rm", "c1", "8082:80"}, {"network", "rm", "spare"}}
			if o.name == "full" {
				w.useUp(t)
				before, text = w.told(), w.kernel()
				w.refused(t, runLog, o.errno, o.says, changes)
				w.unchangedSince(t, before, text)
				for _, args := range removals { // there is some room left for these
					w.bridged(args...)
				}
				w.await(t, "the last link to go", func() bool { return len(w.sandboxLinks()) == 1 })
				before, text = w.told(), w.kernel()
				w.refused(t, runLog, o.errno, o.says, changes)
				w.unchangedSince(t, before, text)
			} else { // the log is open for writing: the kernel still takes what is written
				for _, args := range append(changes, removals...) {
					w.bridged(args...)
				}
				w.bridged("sandbox", "rm", "c2")
				w.bridged("port", "rm", "c1", "8083:80")
				w.bridged("network", "rm", "second")
				w.await(t, "the last link to go", func() bool { return len(w.sandboxLinks()) == 1 })
				before, text = w.told(), w.kernel()
			}
			// A start needs no space for what is there.
			d.Kill()
			if o.name == "full" {
				d = w.daemon("--ipv6")
			} else {
				refusedStart(t, w, runDir, o.errno, o.says)
			}
			load.end(t)
			o.end(run)
			if o.name != "full" {
				d = w.daemon("--ipv6")
			}
			w.unchangedSince(t, before, text)

			// It goes on by itself.
			w.create("-p", "8081:80", "c2")
			w.bridged("network", "create", "second")
			w.consistent(t)
			d.Kill()
			w.daemon("--ipv6")
			w.consistent(t)
			w.bridged("sandbox", "rm", "c1")
			w.bridged("sandbox", "rm", "c2")
			w.consistent(t)
		})
	}
}

// The same for the state directory: only networks need it.
func TestStateDirectoryOutOfOrder(t *testing.T) {
	for _, o := range outOfOrder {
		t.Run(o.name, func(t *testing.T) {
			w := newWorld(t)
			state := w.disk(w.dir)
			d := w.daemon("--ipv6")
			m := w.member("c1", "bridge", "-p", "8080:80")
			flowtest.Serve(t, m.Space, 80)
			w.bridged("network", "create", "spare")
			load := w.load(t, 200, flow{from: w.lan, proto: "tcp", to: netip.AddrPortFrom(hostLAN4, 8080), server: "c1"})
			before, text := w.told(), w.kernel()

			o.begin(state)
			changes := [][]string{{"network", "create", "second"}}
			if o.name != "full" {
				changes = append(changes, []string{"network", "rm", "spare"}) // needs no space
			}
			w.refused(t, filepath.Join(w.dir, "networks"), o.errno, o.says, changes)
			w.unchangedSince(t, before, text)
			w.create("c2") // sandboxes are recorded elsewhere
			w.bridged("sandbox", "rm", "c2")
			w.await(t, "the last link to go", func() bool { return len(w.sandboxLinks()) == 1 })
			d.Kill()
			if o.name == "full" {
				d = w.daemon("--ipv6")
			} else {
				refusedStart(t, w, w.dir, o.errno, o.says)
			}
			load.end(t)
			o.end(state)
			if o.name != "full" {
				d = w.daemon("--ipv6")
			}
			w.unchangedSince(t, before, text)
			w.bridged("network", "create", "second")
			w.bridged("network", "rm", "spare")
			w.consistent(t)
			d.Kill()
			w.daemon("--ipv6")
			w.consistent(t)
		})
	}
}

// A first start on a disk that is full or read-only ends at once, and says why; nothing is left of it, and the next one works.
func TestFirstStartOutOfOrder(t *testing.T) {
	for _, o := range outOfOrder {
		for _, which := range []string{"run", "state"} {
			t.Run(o.name+" "+which, func(t *testing.T) {
				w := newWorld(t)
				path := w.dir
				if which == "run" {
					path = runDir
				}
				d := w.disk(path)
				before := w.kernelAlone()
				o.begin(d)
				refusedStart(t, w, path, o.errno, o.says)
				o.end(d)
				same(t, "the kernel", before, w.kernelAlone())
				w.daemon("--ipv6")
				w.create("c1")
				w.consistent(t)
			})
		}
	}
}

// useUp publishes ports until there is no room to record more.
func (w *world) useUp(t *testing.T) {
	t.Helper()
	port := 20000
	for _, n := range []int{100, 10, 1} {
		for {
			args := []string{"port", "add", "c1", fmt.Sprintf("%d-%d:%[1]d-%[2]d", port, port+n-1)}
			if r := w.try(args...); r.code != 0 {
				w.fails(69, []string{runLog}, args...)
				break
			}
			port += n
		}
	}
}

// kernelAlone is kernel where there are no tables of ours.
func (w *world) kernelAlone() string {
	w.t.Helper()
	return w.nft("list", "ruleset") + w.host.Addresses(w.t) + strings.Join(w.names("/run/netns"), " ")
}

// refused makes calls that the disk does not let through: each says which file it is about, why, and what to do.
func (w *world) refused(t *testing.T, path, errno, says string, calls [][]string) {
	t.Helper()
	for _, args := range calls {
		w.fails(69, []string{path, errno, says}, args...)
	}
}

// unchangedSince checks that calls that failed left nothing: in what the commands tell, in the kernel, and between the two.
func (w *world) unchangedSince(t *testing.T, before told, kernel string) {
	t.Helper()
	w.unchanged(t, before)
	w.await(t, "the kernel to be as it was", func() bool { return w.kernel() == kernel })
	w.consistent(t)
}

func (w *world) unchanged(t *testing.T, before told) {
	t.Helper()
	if x := cmp.Diff(before, w.told()); x != "" {
		t.Errorf("what the commands tell (-before +after):\n%s", x)
	}
}

// refusedStart starts a daemon that must end with status 69 and these words.
func refusedStart(t *testing.T, w *world, words ...string) {
	t.Helper()
	d := w.spawn("--ipv6")
	d.Wait()
	if code := d.Cmd.ProcessState.ExitCode(); code != 69 {
		t.Errorf("the daemon ended with status %d:\n%s", code, d.Log.String())
	}
	for _, word := range words {
		if !strings.Contains(d.Log.String(), word) {
			t.Errorf("%q is not in:\n%s", word, d.Log.String())
		}
	}
}
