package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bridged/bridged"
)

// batched makes of a line of iproute2's batch mode, for each of n addresses, a file of them.
func batched(t testing.TB, n int, line string) (path string) {
	t.Helper()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, line+"\n", fmt.Sprintf("10.%d.%d.%d", 200+i>>16, i>>8&255, i&255))
	}
	path = filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCrowdedContainer: a start does not read all the addresses and routes that a container has made to keep it busy, and takes it as it is;
// the container beside it gets its route back.
func TestCrowdedContainer(t *testing.T) {
	host, cfg := giveNamespace(t), testConfig(t)
	e, stop := startIn(t, host, cfg)
	ctx := t.Context()
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	spaces := make(map[string]string)
	for _, name := range []string{"crowded", "plain"} {
		spaces[name] = giveNamespace(t)
		if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: name, NetNS: spaces[name]}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Connect(ctx, bridged.ConnectSpec{Network: "a", Sandbox: name}); err != nil {
			t.Fatal(err)
		}
		in(t, spaces[name], "ip", "route", "del", "default")
	}
	stop()
	in(t, spaces["crowded"], "ip", "-batch", batched(t, mostInside+1000, "route add blackhole %s"))
	in(t, spaces["crowded"], "ip", "-batch", batched(t, mostInside+1000, "addr add %s/32 dev eth0"))
	in(t, spaces["crowded"], "ip", "link", "set", "eth0", "down")
	e, stop = startIn(t, host, cfg)
	defer stop()
	if link := in(t, spaces["crowded"], "ip", "-br", "link", "show", "eth0"); strings.Contains(link, ",UP") {
		t.Errorf("the interface that the container took down is up:\n%s", link)
	}
	for name, routes := range map[string]int{"crowded": 0, "plain": 1} {
		if text := in(t, spaces[name], "ip", "-4", "route", "show", "default"); strings.Count(text, "default") != routes {
			t.Errorf("the default routes of %s are %q", name, text)
		}
	}
	if s := e.Status(); s.Transactions > 1 || len(s.Warnings) > 0 {
		t.Errorf("status is %+v", s)
	}
}
