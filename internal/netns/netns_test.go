package netns_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/nstest"
)

func TestMain(m *testing.M) { nstest.PrivateMounts(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// id is the identity of a namespace, which is closed with the test.
func id(t testing.TB, n *netns.NS, err error) [2]uint64 {
	t.Helper()
	check(t, err)
	t.Cleanup(func() { n.Close() })
	dev, ino := n.ID()
	return [2]uint64{dev, ino}
}

func TestMake(t *testing.T) {
	nstest.NeedRoot(t)
	path := netns.Dir + "/one"
	n, err := netns.Make(path, "")
	made := id(t, n, err)
	n, err = netns.Current()
	if made == id(t, n, err) {
		t.Error("the namespace is not a new one")
	}
	n, err = netns.Open(path)
	if made != id(t, n, err) {
		t.Error("another namespace is at the path")
	}
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != 0o444 {
		t.Errorf("mode is %v", info.Mode())
	}
	if _, err := netns.Make(path, ""); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), path) {
		t.Errorf("error is %v", err)
	}
	n, err = netns.Open(path)
	if made != id(t, n, err) {
		t.Error("the refused Make changed the namespace")
	}
	check(t, netns.Remove(path))
	check(t, netns.Remove(path)) // gone
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

// Namespaces of ours and of "ip netns" are the same thing.
func TestMakeLikeIP(t *testing.T) {
	host := nstest.New(t)
	n, err := netns.Make(netns.Dir+"/ours", "")
	id(t, n, err)
	host.Run("ip netns add theirs")
	if got := host.Run("ip netns list"); !strings.Contains(got, "ours") || !strings.Contains(got, "theirs") {
		t.Errorf("ip netns list prints %q", got)
	}
	if got := host.Run("ip -n ours -br link"); !strings.HasPrefix(got, "lo ") {
		t.Errorf("the namespace has %q", got)
	}
	host.Run("ip netns del ours")
	check(t, netns.Remove(netns.Dir+"/theirs"))
	if got := host.Run("ip netns list"); strings.TrimSpace(got) != "" {
		t.Errorf("ip netns list prints %q", got)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	check(t, err)
	if n := strings.Count(string(mounts), "tmpfs "+netns.Dir+" "); n != 1 {
		t.Errorf("%s is mounted %d times:\n%s", netns.Dir, n, mounts)
	}
}

// A mount namespace that was there before sees a namespace made after it, and its removal.
func TestMakeIsSeenElsewhere(t *testing.T) {
	nstest.NeedRoot(t)
	n, err := netns.Make(netns.Dir+"/before", "")
	id(t, n, err)
	defer func() { check(t, netns.Remove(netns.Dir+"/before")) }()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	stdin, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	defer func() {
		stdin.Close()
		check(t, cmd.Wait())
	}()
	mounted := func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", cmd.Process.Pid))
		check(t, err)
		return strings.Contains(string(b), netns.Dir+"/after ")
	}
	n, err = netns.Make(netns.Dir+"/after", "")
	id(t, n, err)
	if !mounted() {
		t.Error("the namespace is not seen")
	}
	check(t, netns.Remove(netns.Dir+"/after"))
	if mounted() {
		t.Error("the namespace is still seen")
	}
}

func TestMakeRefused(t *testing.T) {
	nstest.NeedRoot(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, os.Symlink("nowhere", filepath.Join(dir, "symlink")))
	for path, errno := range map[string]error{
		file:                           unix.EEXIST,
		filepath.Join(dir, "symlink"):  unix.EEXIST,
		filepath.Join(dir, "no/where"): unix.ENOENT,
		filepath.Join(file, "x"):       unix.ENOTDIR,
	} {
		if _, err := netns.Make(path, ""); !errors.Is(err, errno) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %v", path, err, errno)
		}
	}
	n, err := netns.Make(filepath.Join(dir, "fine"), "") // the control
	id(t, n, err)
	check(t, netns.Remove(filepath.Join(dir, "fine")))
	left, err := os.ReadDir(dir)
	check(t, err)
	if len(left) != 2 {
		t.Errorf("left is %v", left)
	}
}

func TestRemoveWithoutMount(t *testing.T) {
	nstest.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(path, nil, 0o444)) // Make was interrupted
	check(t, netns.Remove(path))
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

func TestOpenRefused(t *testing.T) {
	nstest.NeedRoot(t)
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, unix.Mkfifo(pipe, 0o600)) // to open it would wait for a writer
	for path, want := range map[string]struct {
		errno error
		says  string
	}{
		filepath.Join(dir, "missing"): {unix.ENOENT, "no such file"},
		file:                          {unix.EINVAL, file + " is no network namespace"},
		dir:                           {unix.EINVAL, "is no network namespace"},
		pipe:                          {unix.EINVAL, "is no network namespace"},
		"/dev/null":                   {unix.EINVAL, "is no network namespace"},
		"/proc/self/ns/mnt":           {unix.EINVAL, "is no network namespace"},
		"/proc/self/status":           {unix.EINVAL, "is no network namespace"},
		"":                            {unix.ENOENT, "no such file"},
	} {
		if _, err := netns.Open(path); !errors.Is(err, want.errno) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: error %v, want %v and %q", path, err, want.errno, want.says)
		}
	}
}

func TestOpenPID(t *testing.T) {
	host := nstest.New(t)
	n, err := netns.OpenPID(os.Getpid())
	mine := id(t, n, err)
	n, err = netns.Current()
	if mine != id(t, n, err) {
		t.Error("this process is in another namespace than this thread")
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	check(t, err)
	host.Do(func() { check(t, cmd.Start()) })
	n, err = netns.OpenPID(cmd.Process.Pid)
	theirs := id(t, n, err)
	n, err = netns.Open(host.Path())
	if theirs != id(t, n, err) {
		t.Error("the process is in another namespace")
	}
	check(t, stdin.Close())
	// It has exited, and is a zombie as long as nobody waits for it.
	check(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	dead := func() {
		t.Helper()
		if _, err := netns.OpenPID(cmd.Process.Pid); !errors.Is(err, unix.ESRCH) || !strings.Contains(err.Error(), "has exited") {
			t.Errorf("error is %v", err)
		}
	}
	dead()
	check(t, cmd.Wait())
	dead()
	for _, pid := range []int{0, -1} {
		if _, err := netns.OpenPID(pid); !errors.Is(err, unix.ESRCH) {
			t.Errorf("%d: error is %v", pid, err)
		}
	}
}

func TestDo(t *testing.T) {
	host := nstest.New(t)
	n, err := netns.Open(host.Path())
	want := id(t, n, err)
	home, err := netns.Current()
	before := id(t, home, err)

	failure := errors.New("failure")
	err = n.Do(func() error {
		c, err := netns.Current()
		check(t, err)
		defer c.Close()
		if dev, ino := c.ID(); [2]uint64{dev, ino} != want {
			t.Error("the function runs in another namespace")
		}
		return failure
	})
	if err != failure {
		t.Errorf("error is %v", err)
	}
	if err := n.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error although the function ended its goroutine")
	}
	for range 100 { // no thread stays behind in the namespace
		done := make(chan [2]uint64)
		go func() {
			c, _ := netns.Current()
			defer c.Close()
			dev, ino := c.ID()
			done <- [2]uint64{dev, ino}
		}()
		if <-done != before {
			t.Fatal("a thread is in the wrong namespace")
		}
		check(t, n.Do(func() error { return nil }))
	}
}

// Make leaves no thread in the namespaces that it makes.
func TestMakeLeavesNoThread(t *testing.T) {
	nstest.NeedRoot(t)
	dir := t.TempDir()
	here, err := netns.Current()
	want := id(t, here, err)
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprint(i))
		n, err := netns.Make(path, "")
		check(t, err)
		check(t, n.Close())
		check(t, netns.Remove(path))
		c, err := netns.Current()
		if id(t, c, err) != want {
			t.Fatal("this thread moved")
		}
	}
}

// A file that is no namespace can't be entered.
func TestDoRefused(t *testing.T) {
	nstest.NeedRoot(t)
	n, err := netns.Current()
	check(t, err)
	check(t, n.Close())
	ran := false
	if err := n.Do(func() error { ran = true; return nil }); !errors.Is(err, unix.EBADF) || ran {
		t.Errorf("error is %v, ran %v", err, ran)
	}
}

// BenchmarkDo is an excursion, and a Do of who is there already.
func BenchmarkDo(b *testing.B) {
	away, err := netns.Open(nstest.New(b).Path())
	id(b, away, err)
	home, err := netns.Current()
	id(b, home, err)
	for name, n := range map[string]*netns.NS{"away": away, "home": home} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				check(b, n.Do(func() error { return nil }))
			}
		})
	}
}

func BenchmarkMake(b *testing.B) {
	nstest.NeedRoot(b)
	for b.Loop() {
		n, err := netns.Make(netns.Dir+"/benchmark", "")
		check(b, err)
		check(b, n.Close())
		check(b, netns.Remove(netns.Dir+"/benchmark"))
	}
}

// TestCookies: by handles, and on one journey, the same is found as on a visit each, and what is no namespace is passed over.
func TestCookies(t *testing.T) {
	one, two := nstest.New(t), nstest.New(t)
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	type identity struct {
		id     [2]uint64
		cookie uint64
	}
	want := make(map[string]identity)
	for _, path := range []string{one.Path(), two.Path()} {
		n, err := netns.Open(path)
		i := identity{id: id(t, n, err)}
		i.cookie, err = n.Cookie()
		check(t, err)
		want[path] = i
	}
	home, err := netns.Current()
	before := id(t, home, err)
	for what, cookies := range map[string]func([]string, func(string, netns.File, uint64)) error{"cookies": netns.Cookies, "a journey": netns.Travel} {
		got := make(map[string]identity)
		check(t, cookies([]string{one.Path(), "/nowhere", "/proc/self/ns/mnt", file, two.Path()}, func(path string, n netns.File, cookie uint64) {
			got[path] = identity{[2]uint64{n.Dev, n.Ino}, cookie}
		}))
		if !maps.Equal(got, want) || want[one.Path()] == want[two.Path()] {
			t.Errorf("%s: found %v, want %v", what, got, want)
		}
	}
	if home, err = netns.Current(); id(t, home, err) != before {
		t.Error("the caller's thread is in another namespace")
	}
}
