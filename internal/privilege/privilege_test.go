package privilege

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/nstest"
)

// without runs f in a thread whose effective capabilities lack these, and ends that thread.
func without(t *testing.T, bits []uint, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var words [2]unix.CapUserData
		err := unix.Capget(&header, &words[0])
		for _, b := range bits {
			words[b/32].Effective &^= 1 << (b % 32)
		}
		if err == nil {
			err = unix.Capset(&header, &words[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	nstest.NeedRoot(t)
	for _, tt := range []struct {
		lost []uint
		want string
	}{
		{nil, ""},
		{[]uint{unix.CAP_SYS_TIME}, ""},
		{[]uint{unix.CAP_NET_ADMIN}, "lacks CAP_NET_ADMIN (for links, addresses and the packet filter): run it as root"},
		{[]uint{unix.CAP_SYS_ADMIN, unix.CAP_NET_RAW}, "lacks CAP_NET_RAW (for announcing addresses), CAP_SYS_ADMIN (for network namespaces): run it as root"},
	} {
		var err error
		without(t, tt.lost, func() { err = Check() })
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, bridged.ErrDenied) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("without %v: %v, want %q", tt.lost, err, tt.want)
		}
	}
}

func TestPeerOf(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	client.Close() // what counts is who connected
	want := Peer{PID: os.Getpid(), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	if got, err := PeerOf(server); got != want || err != nil {
		t.Errorf("PeerOf = %+v, %v, want %+v", got, err, want)
	}
	server.Close()
	if _, err := PeerOf(server); !errors.Is(err, net.ErrClosed) {
		t.Errorf("PeerOf a closed connection: %v", err)
	}
}
