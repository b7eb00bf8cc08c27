package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// smallDisk mounts a tmpfs of so many bytes over dir, seen by the test's thread only, which dies with the test.
func smallDisk(t *testing.T, dir string, bytes int) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("mounting a small disk needs root")
		}
		t.Skip("mounting a small disk needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func checkFull(t *testing.T, err error, dir string) {
	t.Helper()
	if !errors.Is(err, unix.ENOSPC) || !errors.Is(err, bridged.ErrUnavailable) || !strings.Contains(err.Error(), dir) {
		t.Errorf("on a full disk: %v", err)
	}
}

func TestFullRunDirectory(t *testing.T) {
	d := newDisk(t)
	if err := os.Mkdir(d.dirs.Run, 0o700); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, d.dirs.Run, 64<<10)
	s, _ := d.open(t)
	var want bridged.State
	for i := 0; ; i++ {
		c := sandbox(fmt.Sprintf("s%d", i))
		c.Networks = network(fmt.Sprintf("n%d", i)).Networks
		if err := s.Append(c); err != nil {
			checkFull(t, err, d.dirs.Run)
			break
		}
		want.Apply(c)
	}
	if len(want.Sandboxes) < 50 {
		t.Errorf("full after %d changes", len(want.Sandboxes))
	}
	checkFull(t, s.Compact(want.Whole()), d.dirs.Run)
	s.Close()
	s, got := d.open(t)
	if x := diff(want, got); x != "" || len(s.Warnings()) > 0 {
		t.Errorf("opened again, %q (-want +got):\n%s", s.Warnings(), x)
	}
	// With less to say there is room again.
	small := bridged.State{Networks: want.Networks}
	for id, sb := range want.Sandboxes {
		if strings.HasSuffix(id, "0") {
			small.Apply(bridged.Change{Sandboxes: map[string]*bridged.Sandbox{id: &sb}})
		}
	}
	if err := s.Compact(small.Whole()); err == nil {
		mustAppend(t, s, sandbox("more"))
		small.Apply(sandbox("more"))
	} else {
		small = want // not even a second small file fits
		checkFull(t, err, d.dirs.Run)
	}
	s.Close()
	if got, _ := d.reopen(t); diff(small, got) != "" {
		t.Errorf("at the end (-want +got):\n%s", diff(small, got))
	}
}

func TestFullStateDirectory(t *testing.T) {
	d := newDisk(t)
	if err := os.Mkdir(d.dirs.State, 0o700); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, d.dirs.State, 128<<10)
	s, _ := d.open(t)
	var want bridged.State
	for i := 0; ; i++ {
		c := bridged.Change{
			Networks: map[string]*bridged.Network{
				"n0":                        {ID: "n0", MTU: i},
				fmt.Sprintf("n%d", 2*i+1):   {ID: fmt.Sprintf("n%d", 2*i+1)},
				fmt.Sprintf("n%d", 2*(i+1)): {ID: fmt.Sprintf("n%d", 2*(i+1))},
			},
			Sandboxes: sandbox(fmt.Sprintf("s%d", i)).Sandboxes,
		}
		if err := s.Append(c); err != nil {
			checkFull(t, err, d.dirs.State)
			break
		}
		want.Apply(c)
	}
	checkFull(t, s.SetValue("large", make([]byte, 128<<10)), filepath.Join(d.dirs.State, "values"))
	mustAppend(t, s, sandbox("other")) // the log is elsewhere
	want.Apply(sandbox("other"))
	gone := bridged.Change{Networks: map[string]*bridged.Network{"n1": nil, "n2": nil}}
	mustAppend(t, s, gone, network("new"))
	want.Apply(gone)
	want.Apply(network("new"))
	s.Close()
	if got, warnings := d.reopen(t); diff(want, got) != "" || len(warnings) > 0 {
		t.Errorf("opened again, %q (-want +got):\n%s", warnings, diff(want, got))
	}
}

// What begins is refused while there is room left to finish or take back what was begun.
func TestReserve(t *testing.T) {
	d := newDisk(t)
	if err := os.Mkdir(d.dirs.Run, 0o700); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, d.dirs.Run, 8*reserve)
	writeFile(t, filepath.Join(d.dirs.Run, "other"), make([]byte, 5*reserve))
	s, _ := d.open(t)
	var want bridged.State
	begin := func(i int) error {
		c := sandbox(fmt.Sprintf("s%d", i))
		err := s.Begin(c)
		if err == nil {
			want.Apply(c)
		}
		return err
	}
	last := 0
	for begin(last) == nil {
		last++
	}
	checkFull(t, begin(last), s.logPath())
	// Somebody else takes everything that is free: the reserve is ours.
	filler, err := os.Create(filepath.Join(d.dirs.Run, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 1<<10))
	}
	for i := range last {
		gone := bridged.Change{Sandboxes: map[string]*bridged.Sandbox{fmt.Sprintf("s%d", i): nil}}
		if i*len(`00000000 {"Sandboxes":{"s1000":null}}`) > reserve {
			break
		}
		mustAppend(t, s, gone)
		want.Apply(gone)
	}
	checkFull(t, begin(last), s.logPath())
	s.Close()
	s, got := d.open(t)
	if x := diff(want, got); x != "" || len(s.Warnings()) > 0 {
		t.Errorf("opened again, %q (-want +got):\n%s", s.Warnings(), x)
	}
	// With room there is the reserve again.
	filler.Close()
	if err := errors.Join(os.Remove(filler.Name()), os.Remove(filepath.Join(d.dirs.Run, "other"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(want.Whole()); err != nil {
		t.Fatal(err)
	}
	if err := begin(last); err != nil {
		t.Error(err)
	}
	s.Close()
}
