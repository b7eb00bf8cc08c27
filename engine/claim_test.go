package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/internal/reserve"
)

// occupy takes TCP ports of the host at path, as another program would.
func occupy(t testing.TB, path string, first uint16, n int) {
	t.Helper()
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	err = ns.Do(func() error {
		for i := range n {
			s, err := reserve.Bind(reserve.Port{Addr: netip.IPv4Unspecified(), Proto: uint8(bridged.TCP), Port: first + uint16(i)})
			if err != nil {
				return err
			}
			t.Cleanup(func() { s.Close() })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTakenPort: whoever gets no host port is told who has it, of a range the first one.
func TestTakenPort(t *testing.T) {
	host := giveNamespace(t)
	e, stop := startIn(t, host, testConfig(t))
	defer stop()
	c, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "c", NetNS: giveNamespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	occupy(t, host, 8080, 3)
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	held := fmt.Sprintf("Bind for 0.0.0.0:8080 failed: 0.0.0.0:8080/tcp is in use by %s (pid %d): address already in use",
		strings.TrimSpace(string(comm)), os.Getpid())
	for _, tt := range []struct{ spec, want string }{
		{"0.0.0.0:8080:80", held},
		{"0.0.0.0:8080-8082:80", "no free host port is left in 8080-8082 for 0.0.0.0:8080-8082:80/tcp: " + held},
		{"0.0.0.0:8080-8083:80", ""}, // the last one is free
	} {
		_, _, err := e.AddPorts(t.Context(), c.Name, specs(t, tt.spec))
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, bridged.ErrConflict) || !errors.Is(err, unix.EADDRINUSE) || err.Error() != tt.want) {
			t.Errorf("%s: %v, want %q", tt.spec, err, tt.want)
		}
	}
	if err := e.RemoveSandbox(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
}
