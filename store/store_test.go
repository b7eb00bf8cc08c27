package store

import (
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/bridged/bridged"
)

// disk is a pair of directories and a boot that a test can change.
type disk struct {
	dirs   Dirs
	bootID string // path
}

func newDisk(t testing.TB) disk {
	t.Helper()
	return diskIn(t, memDir(t))
}

// memDir is a temporary directory on a tmpfs where there is one, as the run directory is: syncing costs nothing there.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func diskIn(t interface {
	Helper()
	Fatal(...any)
}, dir string) disk {
	t.Helper()
	d := disk{Dirs{Run: filepath.Join(dir, "run"), State: filepath.Join(dir, "state")}, filepath.Join(dir, "boot_id")}
	if err := os.WriteFile(d.bootID, []byte("boot one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d disk) log() string { return filepath.Join(d.dirs.Run, "log") }

// noteLength says that the log is so long.
func (d disk) noteLength(t testing.TB, size int64) {
	t.Helper()
	f, err := os.Open(d.log())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	number, err := inode(f)
	if err != nil {
		t.Fatal(err)
	}
	noted, err := openLength(filepath.Join(d.dirs.Run, "length"))
	if err != nil {
		t.Fatal(err)
	}
	defer noted.close()
	noted.note(number, size)
}

func (d disk) network(id string) string { return filepath.Join(d.dirs.State, "networks", id+".json") }

// open opens the store and returns the state that it replays.
func (d disk) open(t interface {
	Helper()
	Fatal(...any)
}) (*Store, bridged.State) {
	t.Helper()
	var state bridged.State
	s, err := open(d.dirs, d.bootID, state.Apply)
	if err != nil {
		t.Fatal(err)
	}
	return s, state
}

// reopen is what a new daemon finds.
func (d disk) reopen(t interface {
	Helper()
	Fatal(...any)
}) (bridged.State, []string) {
	t.Helper()
	s, state := d.open(t)
	defer s.Close()
	return state, s.Warnings()
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	// A map without entries and no map are the same State.
	cmp.FilterValues(func(a, b bridged.State) bool { return true }, cmp.Transformer("clone", func(s bridged.State) map[string]any {
		s = s.Clone()
		return map[string]any{"networks": s.Networks, "sandboxes": s.Sandboxes, "endpoints": s.Endpoints, "ports": s.Ports, "links": s.Links,
			"pools": s.Pools, "forwarding": s.Forwarding, "reservations": s.Reservations, "reserved": s.Reserved}
	})),
}

func diff(want, got bridged.State) string { return cmp.Diff(want, got, compare) }

func sandbox(id string) bridged.Change {
	return bridged.Change{Sandboxes: map[string]*bridged.Sandbox{id: {ID: id, Name: "name of " + id, Mode: bridged.ModeBridge}}}
}

func network(id string) bridged.Change {
	return bridged.Change{Networks: map[string]*bridged.Network{id: {ID: id, Name: "name of " + id, Driver: bridged.DriverBridge}}}
}

func mustAppend(t testing.TB, s *Store, changes ...bridged.Change) {
	t.Helper()
	for _, c := range changes {
		if err := s.Append(c); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopenGivesWhatWasAppended(t *testing.T) {
	dir := memDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		d := diskIn(t, dir)
		s, _ := d.open(t)
		defer func() { s.Close() }()
		var want bridged.State
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				c := drawChange(t)
				if err := s.Append(c); err != nil {
					t.Fatal(err)
				}
				want.Apply(c)
			},
			"compact": func(t *rapid.T) {
				if err := s.Compact(want.Whole()); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				s.Close()
				var got bridged.State
				s, got = d.open(t)
				if x := diff(want, got); x != "" {
					t.Fatalf("reopened (-want +got):\n%s", x)
				}
			},
			"reboot": func(t *rapid.T) {
				s.Close()
				if err := os.WriteFile(d.bootID, []byte(rapid.StringMatching(`[a-z]{8}`).Draw(t, "boot")), 0o600); err != nil {
					t.Fatal(err)
				}
				want = bridged.State{Networks: want.Networks, Reservations: want.Reservations}
				var got bridged.State
				s, got = d.open(t)
				if x := diff(want, got); x != "" {
					t.Fatalf("after a reboot (-want +got):\n%s", x)
				}
			},
		})
	})
}

// TestReservationFiles: a reservation's file is damaged, gone, or of somebody else. In the same boot it is written anew from the log.
func TestReservationFiles(t *testing.T) {
	const id = "10.77.0.0/24,10.77.0.128/25"
	prefix, part, err := bridged.ParseReservationID(id)
	if err != nil {
		t.Fatal(err)
	}
	r := bridged.Reservation{ID: id, Prefix: prefix, Range: part, Lasting: []netip.Addr{prefix.Addr().Next()}}
	for name, spoil := range map[string]func(path string, content []byte) error{
		"damaged": func(path string, content []byte) error { return os.WriteFile(path, content[:len(content)-3], 0o600) },
		"gone":    func(path string, _ []byte) error { return os.Remove(path) },
		"of another subnet": func(path string, _ []byte) error {
			other := r
			other.Prefix = netip.MustParsePrefix("10.78.0.0/24")
			content, err := reservationKind().encode(&other)
			return errors.Join(err, os.WriteFile(path, content, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			s, _ := d.open(t)
			mustAppend(t, s, bridged.Change{Reservations: map[string]*bridged.Reservation{id: &r}})
			s.Close()
			path := filepath.Join(d.dirs.State, "reservations", "10.77.0.0%2F24%2C10.77.0.128%2F25.json")
			content := readFile(t, path)
			if err := spoil(path, content); err != nil {
				t.Fatal(err)
			}
			state, warnings := d.reopen(t)
			if x := diff(bridged.State{Reservations: map[string]bridged.Reservation{id: r}}, state); x != "" || len(warnings) == 0 {
				t.Errorf("in the same boot (-want +got), with the warnings %q:\n%s", warnings, x)
			}
			if again := readFile(t, path); !bytes.Equal(again, content) {
				t.Errorf("it was not written anew: %s", again)
			}
			if err := spoil(path, content); err != nil {
				t.Fatal(err)
			}
			writeFile(t, d.bootID, []byte("boot two\n"))
			if state, warnings := d.reopen(t); len(state.Reservations) > 0 || (len(warnings) == 0) != (name == "gone") {
				t.Errorf("after a reboot there is %v, with the warnings %q", state.Reservations, warnings)
			}
		})
	}
}

// TestHalfARemoval: a crash after the record of a removal and before that of its last file. The next Open finishes it; without the record the
// files are right.
func TestHalfARemoval(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	prefix := netip.MustParsePrefix("10.77.0.0/24")
	r := bridged.Reservation{ID: prefix.String(), Prefix: prefix}
	both := network("n1")
	both.Reservations = map[string]*bridged.Reservation{r.ID: &r}
	mustAppend(t, s, both, network("n2"))
	content := readFile(t, d.network("n1"))
	mustAppend(t, s, bridged.Change{Networks: map[string]*bridged.Network{"n1": nil}, Reservations: map[string]*bridged.Reservation{r.ID: nil}})
	s.Close()
	writeFile(t, d.network("n1"), content)
	for range 2 {
		state, warnings := d.reopen(t)
		if len(state.Networks) != 1 || state.Networks["n2"].ID == "" || len(state.Reservations) > 0 || len(warnings) > 0 {
			t.Errorf("after half a removal there is %v and %v, with the warnings %q", state.Networks, state.Reservations, warnings)
		}
	}
	if _, err := os.Stat(d.network("n1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	writeFile(t, d.network("n1"), content)
	writeFile(t, d.bootID, []byte("boot two\n"))
	if state, _ := d.reopen(t); len(state.Networks) != 2 {
		t.Errorf("after a reboot there is %v", state.Networks)
	}
}

func TestTornAtEveryByte(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	mustAppend(t, s, network("n1"), sandbox("s1"), sandbox("s2"))
	want, _ := s.reopenCopy(t, d)
	before := s.log.size
	mustAppend(t, s, sandbox("s3"))
	s.Close()
	whole := readFile(t, d.log())
	for cut := before; cut < int64(len(whole)); cut++ {
		// An end that was there is missed.
		writeFile(t, d.log(), whole[:cut])
		d.noteLength(t, int64(len(whole)))
		missed, got := d.open(t)
		if x := diff(want, got); x != "" || !missed.Incomplete() || len(missed.Warnings()) != 1 {
			t.Fatalf("an acknowledged record cut at %d: incomplete %t, %q (-want +got):\n%s", cut, missed.Incomplete(), missed.Warnings(), x)
		}
		missed.Close()

		writeFile(t, d.log(), whole[:cut])
		d.noteLength(t, before) // as it is before the record is whole
		s, got := d.open(t)
		if x := diff(want, got); x != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", cut, x)
		}
		if len(s.Warnings()) > 0 {
			t.Fatalf("cut at %d: %q", cut, s.Warnings())
		}
		mustAppend(t, s, sandbox("s4"))
		s.Close()
		after, warnings := d.reopen(t)
		if _, ok := after.Sandboxes["s4"]; !ok || len(after.Sandboxes) != 3 || len(warnings) > 0 {
			t.Fatalf("cut at %d, then appended: %v, %q", cut, after.Sandboxes, warnings)
		}
	}
}

// reopenCopy is what a daemon would find if s's died now.
func (s *Store) reopenCopy(t testing.TB, d disk) (bridged.State, []string) {
	t.Helper()
	c := newDisk(t)
	for from, to := range map[string]string{d.dirs.Run: c.dirs.Run, d.dirs.State: c.dirs.State} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return c.reopen(t)
}

// Each flipped bit of the log is noticed; the records that it does not hit are kept, and the damaged file too.
func TestDamageInTheMiddle(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	var ends []int64 // of the header and the records
	ends = append(ends, s.log.size)
	for _, id := range []string{"s1", "s2", "s3"} {
		mustAppend(t, s, sandbox(id))
		ends = append(ends, s.log.size)
	}
	s.Close()
	whole, err := os.ReadFile(d.log())
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		damaged := slices.Clone(whole)
		damaged[at] ^= 1 << (at % 8)
		if err := os.WriteFile(d.log(), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		want := len(ends) - 2 // one record is hit
		switch {
		case int64(at) < ends[0]:
			want = 0 // whose boot it is can't be known
		case slices.Contains(ends[1:len(ends)-1], int64(at)+1):
			want-- // the end of a line hits the next one, too
		}
		s, got := d.open(t)
		warnings := s.Warnings()
		if len(got.Sandboxes) != want || len(warnings) != 1 || !strings.Contains(warnings[0], d.log()) {
			t.Fatalf("byte %d flipped: %d sandboxes, want %d; warnings %q", at, len(got.Sandboxes), want, warnings)
		}
		aside, err := os.ReadFile(d.log() + ".broken")
		if err != nil || !bytes.Equal(aside, damaged) {
			t.Fatalf("byte %d flipped: the damaged log was not set aside: %v", at, err)
		}
		if !s.Incomplete() {
			t.Fatalf("byte %d flipped: the log counts as complete", at)
		}
		mustAppend(t, s, sandbox("new"))
		s.Close()
		if again, warnings := d.reopen(t); len(again.Sandboxes) != want+1 || len(warnings) > 0 {
			t.Fatalf("byte %d flipped, opened again: %d sandboxes, %q", at, len(again.Sandboxes), warnings)
		}
		if err := os.Remove(d.log() + ".broken"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedFilesDoNotReplaceOneAnother(t *testing.T) {
	d := newDisk(t)
	for range 3 {
		d.reopen(t)
		if err := os.WriteFile(d.log(), []byte("no log\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.reopen(t)
	for _, suffix := range []string{".broken", ".broken-2", ".broken-3"} {
		if _, err := os.Stat(d.log() + suffix); err != nil {
			t.Error(err)
		}
	}
}

func TestSecondDaemon(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	mustAppend(t, s, sandbox("s1"))
	for _, other := range []Dirs{d.dirs, {d.dirs.Run, t.TempDir()}, {t.TempDir(), d.dirs.State}} {
		_, err := open(other, d.bootID, func(bridged.Change) { t.Error("a second daemon reads the state") })
		if !errors.Is(err, bridged.ErrConflict) || !strings.Contains(err.Error(), "is in use by another daemon (pid ") {
			t.Errorf("second daemon: %v", err)
		}
	}
	mustAppend(t, s, sandbox("s2")) // the first one is not disturbed
	s.Close()
	if got, _ := d.reopen(t); len(got.Sandboxes) != 2 {
		t.Errorf("%d sandboxes, want 2", len(got.Sandboxes))
	}
	if _, err := open(Dirs{d.dirs.Run, d.dirs.Run + "/"}, d.bootID, nil); !errors.Is(err, bridged.ErrInvalid) {
		t.Errorf("one directory for both: %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	newLog := func(boot string) []byte {
		var b bytes.Buffer
		if err := appendRecord(&b, map[string]any{"Format": 2, "Boot": boot, "New": 1}); err != nil {
			t.Fatal(err)
		}
		b.WriteString("records of the future\n")
		return b.Bytes()
	}
	for _, tt := range []struct {
		name    string
		path    func(disk) string
		content []byte
		refused bool
	}{
		{"log", disk.log, newLog("boot one"), true},
		{"log of another boot", disk.log, newLog("boot two"), false},
		{"network", func(d disk) string { return d.network("n1") }, summed(`"Format": 3, "Network": "something else"}`), true},
	} {
		d := newDisk(t)
		d.reopen(t) // makes the directories
		if err := os.WriteFile(tt.path(d), tt.content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open(d.dirs, d.bootID, func(bridged.Change) {})
		if !tt.refused {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			s.Close()
			continue
		}
		want := tt.path(d) + " was written by a newer version of bridged (format "
		if !errors.Is(err, bridged.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", tt.name, err, want)
		}
		if now, err := os.ReadFile(tt.path(d)); err != nil || !bytes.Equal(now, tt.content) {
			t.Errorf("%s: the file was changed", tt.name)
		}
	}
}

// summed is a network's file with a right checksum.
func summed(rest string) []byte {
	b := []byte(beforeSum + noSum + "\",\n\t" + rest)
	copy(b[len(beforeSum):], checksum(b))
	return b
}

func TestDamagedNetwork(t *testing.T) {
	good, err := networkKind().encode(&bridged.Network{ID: "n2"})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty": {}, "torn": good[:len(good)/2], "another network": good, "no network": []byte(`{"Format": 1}`), "no format": []byte(`{}`),
		"wrong type": []byte(`{"Format": 1, "Network": {"MTU": "large"}}`), "newer without a checksum": []byte(`{"Format": 3, "Network": {"ID": "n1"}}`),
		"older with one": summed(`"Format": 1, "Network": {"ID": "n1"}}`), "no number": summed(`"Network": {"ID": "n1"}}`),
	} {
		d := newDisk(t)
		s, _ := d.open(t)
		mustAppend(t, s, network("n0"))
		s.Close()
		if err := os.WriteFile(d.network("n1"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, warnings := d.reopen(t)
		if len(got.Networks) != 1 || len(warnings) != 1 || !strings.Contains(warnings[0], d.network("n1")) {
			t.Errorf("%s: %v, %q", name, got.Networks, warnings)
		}
		if aside, err := os.ReadFile(d.network("n1") + ".broken"); err != nil || !bytes.Equal(aside, content) {
			t.Errorf("%s: not set aside: %v", name, err)
		}
		if _, warnings := d.reopen(t); len(warnings) != 0 {
			t.Errorf("%s: warned twice: %q", name, warnings)
		}
	}
}

// A change is all or nothing also when its second half fails.
func TestFailedAppendChangesNothing(t *testing.T) {
	old := network("n1")
	for name, c := range map[string]bridged.Change{
		"id that is no file's name": {Networks: map[string]*bridged.Network{"../n2": {ID: "../n2"}}},
		"id that differs":           {Networks: map[string]*bridged.Network{"n2": {ID: "n3"}}},
		"unencodable record": {
			Networks:  map[string]*bridged.Network{"n1": {ID: "n1", Name: "changed"}, "n2": {ID: "n2"}},
			Sandboxes: map[string]*bridged.Sandbox{"s2": {ID: "s2", Created: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		},
		"file that can't be removed": {
			Networks:  map[string]*bridged.Network{"n1": nil, "n4": nil, "n5": {ID: "n5"}},
			Sandboxes: map[string]*bridged.Sandbox{"s1": nil, "s2": {ID: "s2"}},
		},
	} {
		d := newDisk(t)
		s, _ := d.open(t)
		mustAppend(t, s, old, sandbox("s1"))
		if err := os.MkdirAll(filepath.Join(d.network("n4"), "not empty"), 0o700); err != nil {
			t.Fatal(err)
		}
		want := s.log.size
		if err := s.Append(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if fi, err := os.Stat(d.log()); err != nil || fi.Size() != want {
			t.Errorf("%s: the log has %d bytes, want %d", name, fi.Size(), want)
		}
		mustAppend(t, s, sandbox("s3")) // and it goes on
		s.Close()
		if err := os.RemoveAll(d.network("n4")); err != nil {
			t.Fatal(err)
		}
		got, warnings := d.reopen(t)
		if len(got.Networks) != 1 || got.Networks["n1"].Name != "name of n1" || len(got.Sandboxes) != 2 || len(warnings) > 0 {
			t.Errorf("%s: %v, %q", name, got, warnings)
		}
		if left, _ := filepath.Glob(filepath.Join(d.dirs.State, "networks", ".*")); len(left) > 0 {
			t.Errorf("%s: left behind: %q", name, left)
		}
	}
}

func TestOpenRemovesTemporaryFiles(t *testing.T) {
	d := newDisk(t)
	d.reopen(t)
	left := []string{
		filepath.Join(d.dirs.Run, ".log123"), filepath.Join(d.dirs.State, "networks", ".n1.json123"), filepath.Join(d.dirs.State, "values", ".ula123"),
	}
	for _, path := range left {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.reopen(t)
	for _, path := range left {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
}

func TestGrown(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	defer s.Close()
	var state bridged.State
	change := func() bridged.Change {
		c := sandbox("s1")
		c.Sandboxes["s1"].Name = strings.Repeat("x", 100_000)
		return c
	}
	for range 12 {
		if s.Grown() != (s.log.size > grownFrom) {
			t.Fatalf("grown at %d bytes: %v", s.log.size, s.Grown())
		}
		state.Apply(change())
		mustAppend(t, s, change())
	}
	if err := s.Compact(state.Whole()); err != nil {
		t.Fatal(err)
	}
	if s.Grown() || s.log.size > 110_000 {
		t.Errorf("%d bytes after the compaction", s.log.size)
	}
	mustAppend(t, s, sandbox("s2"))
	state.Apply(sandbox("s2"))
	s.Close()
	if got, _ := d.reopen(t); diff(state, got) != "" {
		t.Errorf("after the compaction (-want +got):\n%s", diff(state, got))
	}
}

func TestCompactManyObjects(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	var want bridged.State
	for range 2*chunk + 10 {
		id := bridged.NewID()
		want.Apply(sandbox(id))
	}
	if err := s.Compact(want.Whole()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got, _ := d.reopen(t); diff(want, got) != "" {
		t.Error("the compacted log says something else")
	}
}

func TestValues(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	if v, err := s.Value("ula"); v != nil || err != nil {
		t.Errorf("never set: %q, %v", v, err)
	}
	for _, v := range []string{"fd00::/48", "fd01::/48"} {
		if err := s.SetValue("ula", []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", "../networks/n1.json", ".hidden", "a/b"} {
		if err := s.SetValue(name, nil); !errors.Is(err, bridged.ErrInvalid) {
			t.Errorf("SetValue(%q): %v", name, err)
		}
		if _, err := s.Value(name); !errors.Is(err, bridged.ErrInvalid) {
			t.Errorf("Value(%q): %v", name, err)
		}
	}
	s.Close()
	s, _ = d.open(t)
	defer s.Close()
	if v, err := s.Value("ula"); string(v) != "fd01::/48" || err != nil {
		t.Errorf("opened again: %q, %v", v, err)
	}
}

func TestClosed(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, err := range map[string]error{
		"Append": s.Append(sandbox("s1")), "Compact": s.Compact(bridged.Change{}), "SetValue": s.SetValue("a", nil),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.Grown() {
		t.Error("a closed store has grown")
	}
}

func TestDirectories(t *testing.T) {
	d := newDisk(t)
	d.reopen(t)
	for dir, want := range map[string]fs.FileMode{d.dirs.Run: 0o755, d.dirs.State: 0o700, filepath.Join(d.dirs.State, "networks"): 0o700} {
		if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", dir, fi.Mode(), err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(Dirs{Run: file, State: t.TempDir()}, d.bootID, nil); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file for the run directory: %v", err)
	}
	if _, err := open(d.dirs, filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no boot id: %v", err)
	}
}

// The log of the last boot says whose the paths in /run/netns were, until that is cleared away, also if a start was cut short.
func TestFormer(t *testing.T) {
	d := newDisk(t)
	s, _ := d.open(t)
	mustAppend(t, s, network("n1"), sandbox("s1"), sandbox("s2"), bridged.Change{Sandboxes: map[string]*bridged.Sandbox{"s1": nil}})
	if former := s.Former(); len(former) > 0 {
		t.Errorf("in the same boot: %v", former)
	}
	s.Close()
	writeFile(t, d.bootID, []byte("boot two\n"))
	for range 2 {
		s, got := d.open(t)
		if former := s.Former(); len(former) != 1 || former[0].ID != "s2" || len(got.Sandboxes) > 0 || len(got.Networks) != 1 || s.Incomplete() {
			t.Errorf("after a reboot: %v, state %v, incomplete %t", former, got, s.Incomplete())
		}
		s.Close()
	}
	s, _ = d.open(t)
	if err := s.ForgetFormer(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, sandbox("s3"))
	s.Close()
	s, got := d.open(t)
	defer s.Close()
	if former := s.Former(); len(former) > 0 || len(got.Sandboxes) != 1 {
		t.Errorf("when that is cleared away: %v, state %v", former, got)
	}
	// Of a log of the last boot that can't be read, nothing is known, and nothing is wrong.
	s.Close()
	writeFile(t, d.log(), []byte("no log"))
	if err := os.Rename(d.log(), d.log()+".former"); err != nil {
		t.Fatal(err)
	}
	s, _ = d.open(t)
	if len(s.Former()) > 0 || len(s.Warnings()) > 0 {
		t.Errorf("a damaged log of the last boot: %v, %q", s.Former(), s.Warnings())
	}
}

// A network's file that is damaged or gone is written anew from the log, until a reboot.
func TestNetworkFromLog(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":        os.Remove,
		"empty":       func(path string) error { return os.Truncate(path, 0) },
		"a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		d := newDisk(t)
		s, _ := d.open(t)
		mustAppend(t, s, network("n1"), network("n2"), bridged.Change{Networks: map[string]*bridged.Network{"n2": nil}})
		if err := s.Compact(network("n1")); err != nil {
			t.Fatal(err)
		}
		changed := network("n1")
		changed.Networks["n1"].MTU = 1400
		mustAppend(t, s, changed)
		s.Close()
		whole := readFile(t, d.network("n1"))
		if err := damage(d.network("n1")); err != nil {
			t.Fatal(err)
		}
		s, got := d.open(t)
		if n := got.Networks["n1"]; len(got.Networks) != 1 || n.MTU != 1400 || s.Incomplete() {
			t.Errorf("%s: %v, incomplete %t", name, got.Networks, s.Incomplete())
		}
		if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "written anew from the log") {
			t.Errorf("%s: %q", name, w)
		}
		s.Close()
		if now := readFile(t, d.network("n1")); !bytes.Equal(now, whole) {
			t.Errorf("%s: the file is\n%s", name, now)
		}
		if _, warnings := d.reopen(t); len(warnings) > 0 {
			t.Errorf("%s: warned twice: %q", name, warnings)
		}
	}
}

// Each flipped bit of a network's file is noticed.
func TestNetworkFlipped(t *testing.T) {
	whole, err := networkKind().encode(network("n1").Networks["n1"])
	if err != nil {
		t.Fatal(err)
	}
	if _, format, err := networkKind().decode("n1.json", whole); err != nil || format != objectFormat {
		t.Fatalf("the whole file: format %d, %v", format, err)
	}
	for at := range whole {
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1 << bit
			if n, _, err := networkKind().decode("n1.json", flipped); err == nil || errors.Is(err, bridged.ErrUnavailable) {
				t.Fatalf("bit %d of byte %d flipped: %v, %v\n%s", bit, at, n, err, flipped)
			}
		}
	}
	for cut := range whole {
		if n, _, err := networkKind().decode("n1.json", whole[:cut]); err == nil {
			t.Fatalf("cut at %d: %v", cut, n)
		}
	}
}

// What is there in the place of a file or a directory is named, with what to do.
func TestWrongKind(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(d disk) error
		says string
	}{
		"a file for the networks' directory": {func(d disk) error {
			dir := filepath.Join(d.dirs.State, "networks")
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, "/networks: not a directory: a directory must be there"},
		"a directory for the lock": {func(d disk) error {
			lock := filepath.Join(d.dirs.Run, "lock")
			return errors.Join(os.RemoveAll(lock), os.Mkdir(lock, 0o700))
		}, "/lock: is a directory: a file must be there"},
	} {
		d := newDisk(t)
		d.reopen(t)
		if err := tt.make(d); err != nil {
			t.Fatal(err)
		}
		if _, err := open(d.dirs, d.bootID, nil); !errors.Is(err, bridged.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What only says how long the log is can be done without.
	d := newDisk(t)
	s, _ := d.open(t)
	mustAppend(t, s, sandbox("s1"))
	s.Close()
	length := filepath.Join(d.dirs.Run, "length")
	if err := errors.Join(os.Remove(length), os.MkdirAll(filepath.Join(length, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if got, warnings := d.reopen(t); len(got.Sandboxes) != 1 || len(warnings) > 0 {
		t.Errorf("a directory for the length: %v, %q", got.Sandboxes, warnings)
	}
}
