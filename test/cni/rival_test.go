package cni

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRivals: several callers want the same interface of the same container at once, and others take it away. One at a time has it, and nothing
// is left at the end.
func TestRivals(t *testing.T) {
	h, _ := bridgedHost(t)
	h.pod("p1")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				command := "ADD"
				if i%2 == 1 {
					command = "DEL"
				}
				if r := h.plugin(command, withPorts); r.status != 0 {
					r.fails(t, 100, "eth0")
				}
			}
		})
	}
	wg.Wait()
	h.plugin("DEL", withPorts).works(t)
	h.empty("after the rivals")
	h.plugin("ADD", withPorts).works(t)
}

// TestKilledPlugin: a runtime gives up and kills the plugin, at any moment. Its DEL takes back what was done.
func TestKilledPlugin(t *testing.T) {
	h, _ := bridgedHost(t)
	h.pod("p1")
	config := `{"cniVersion": "1.1.0", "name": "podnet", "type": "bridged-cni", ` + withPorts + `}`
	done := 0
	for i := range 40 {
		ctx, stop := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		cmd := exec.CommandContext(ctx, filepath.Join(plugins, "bridged-cni"))
		cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/p1", "CNI_IFNAME=eth0"}
		cmd.Stdin = strings.NewReader(config)
		err := h.space.Do(cmd.Run)
		stop()
		var exit *exec.ExitError
		switch {
		case err == nil:
			done++
		case !errors.As(err, &exit) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrProcessDone):
			t.Fatal(err)
		}
		h.plugin("DEL", withPorts).works(t)
	}
	t.Logf("%d of 40 were faster", done)
	h.empty("after the kills")
	h.plugin("ADD", withPorts).works(t)
}
