package serve_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// socketDir is a directory whose path is short enough for sockets.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listen(path string) (net.Listener, error) { return serve.Listen(path, serve.Access{Mode: 0o660}) }

func TestListen(t *testing.T) {
	path := filepath.Join(socketDir(t), "new", "s")
	l, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if _, err := listen(path); !errors.Is(err, bridged.ErrConflict) || !strings.Contains(err.Error(), "another daemon is listening") {
		t.Errorf("a second time: %v", err)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket behind Close: %v", err)
	}
}

// TestListenMakesDirectories: those in which the socket is to be found, for those who may connect.
func TestListenMakesDirectories(t *testing.T) {
	for mode, want := range map[os.FileMode]os.FileMode{0o600: 0o700, 0o660: 0o755, 0o666: 0o755} {
		made := filepath.Join(socketDir(t), "made")
		l, err := serve.Listen(filepath.Join(made, "in", "s"), serve.Access{Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{made, filepath.Join(made, "in")} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
				t.Errorf("for a socket of %o, %s is %v, want %o", mode, dir, info.Mode(), want)
			}
		}
		l.Close()
	}
}

// TestCloseLeavesOthers: a socket that somebody put in the place of ours is not removed.
func TestCloseLeavesOthers(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	first, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
}

// TestListenReplacesStale: a socket that its daemon left when it was killed is no obstacle.
func TestListenReplacesStale(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestListenLongPaths: as long as a path can be, and no longer.
func TestListenLongPaths(t *testing.T) {
	dir := socketDir(t)
	for _, tt := range []struct {
		length int
		end    string
		ok     bool
	}{{106, "s", true}, {107, "s", true}, {107, "~", true}, {108, "s", false}} {
		path := dir + "/" + strings.Repeat("a", tt.length-len(dir)-1-len(tt.end)) + tt.end
		l, err := listen(path)
		if (err == nil) != tt.ok {
			t.Errorf("%d bytes: %v", len(path), err)
		}
		if err != nil {
			continue
		}
		if conn, err := net.Dial("unix", path); err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
		l.Close()
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("left are %v, %v", files, err)
	}
}

// TestListenReplacesAtOnce: whoever looks for the socket of a dead daemon finds that one or the next, never none and never one that is not listened on.
func TestListenReplacesAtOnce(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	if err := unix.Mknod(path, unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	began, connected := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			conn, err := net.Dial("unix", path)
			if i == 0 {
				close(began)
			}
			if errors.Is(err, unix.ECONNREFUSED) {
				continue
			}
			if err == nil {
				err = conn.Close()
			}
			connected <- err
			return
		}
	}()
	<-began
	l, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := <-connected; err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("in the directory are %v, %v", files, err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := socketDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                         "the file exists and is no socket",
		filepath.Join(file, "s"):     "not a directory",
		filepath.Join(dir, "a\x00b"): "invalid argument",
		dir:                          "the file exists and is no socket",
	} {
		_, err := listen(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "cannot listen on the socket") {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// TestListenTogether: of several that start at once over a stale socket one gets it, and it works.
func TestListenTogether(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	for range 50 {
		if err := unix.Mknod(path, unix.S_IFSOCK|0o600, 0); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		won := make(chan net.Listener, 4)
		for range cap(won) {
			wg.Go(func() {
				l, err := listen(path)
				switch {
				case err == nil:
					won <- l
				case !errors.Is(err, bridged.ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		close(won)
		winners := 0
		for l := range won {
			winners++
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Errorf("the winner can't be reached: %v", err)
			} else {
				conn.Close()
			}
			l.Close()
		}
		if winners != 1 {
			t.Fatalf("%d have the socket", winners)
		}
	}
}
