package netns_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/nstest"
)

// The mark is there as long as the path is, mounted or not, and others' namespaces have none.
func TestMark(t *testing.T) {
	host := nstest.New(t)
	const mark = "0123456789abcdef"
	path, further := netns.Dir+"/marked", netns.Dir+"/further"
	marked := func(path, want string) {
		t.Helper()
		if got, err := netns.Mark(path); err != nil || got != want {
			t.Errorf("%s has the mark %q, %v; want %q", path, got, err, want)
		}
	}
	n, err := netns.Make(path, mark)
	id(t, n, err)
	check(t, n.Mount(further, mark))
	if _, err := netns.Make(path, "other"); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second namespace at the path: %v", err)
	}
	marked(path, mark)
	marked(further, mark)
	check(t, unix.Unmount(further, unix.MNT_DETACH))
	marked(further, mark)
	host.Run("ip netns add theirs")
	marked(netns.Dir+"/theirs", "")
	host.Run("ip netns del marked")
	host.Run("ip netns add marked")
	marked(path, "")
	for _, name := range []string{"marked", "further", "theirs"} {
		check(t, netns.Remove(filepath.Join(netns.Dir, name)))
	}
	marked(path, "")
	if left, err := os.ReadDir(netns.Dir); err != nil || len(left) > 0 {
		t.Errorf("left is %v, %v", left, err)
	}
}
