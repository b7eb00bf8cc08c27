package cni

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
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

// TestPluginGone: what a plugin asked for that was killed may still be in the daemon's socket when its DEL comes. Whichever of the two the daemon sees
// first, nothing is left.
func TestPluginGone(t *testing.T) {
	h, d := bridgedHost(t)
	h.pod("p1")
	const add = `{"Key": {"Network": "podnet", "Container": "c1", "Interface": "eth0"}, "NetNS": "/run/netns/p1",
		"Network": {"Bridge": "cni0", "Gateway": true, "IPv4": {"Prefix": "10.88.0.0/24"}}}`
	const del = "/bridged/v1/attachments?network=podnet&container=c1&interface=eth0"
	for i := range 20 {
		d.Freeze()
		var added, deleted net.Conn
		if i%2 == 0 { // the daemon comes to the second one later, as a rule
			deleted = h.request("DELETE", del, "")
		}
		added = h.request("POST", "/bridged/v1/attachments", add)
		added.Close()
		if i%2 == 1 {
			deleted = h.request("DELETE", del, "")
		}
		d.Thaw()
		h.answered(deleted, http.StatusNoContent)
		h.empty("after the plugin's end")
	}
	d.Freeze()
	deleted, added := h.request("DELETE", del, ""), h.request("POST", "/bridged/v1/attachments", add)
	if err := added.(*net.UnixConn).CloseWrite(); err != nil { // says all that it has to say, and waits
		t.Fatal(err)
	}
	d.Thaw()
	h.answered(deleted, http.StatusNoContent)
	h.answered(added, http.StatusCreated)
}

// request sends one to the daemon, whose answer is awaited or not.
func (h *host) request(method, path, body string) (c net.Conn) {
	h.t.Helper()
	h.do(func() (err error) {
		if c, err = net.Dial("unix", "/run/bridged/bridged.sock"); err == nil {
			_, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: bridged\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
		}
		return err
	})
	h.t.Cleanup(func() { c.Close() })
	return c
}

// answered wants an answer of this status.
func (h *host) answered(c net.Conn, status int) {
	h.t.Helper()
	if err := c.SetDeadline(flowtest.Deadline()); err != nil {
		h.t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); err != nil || r.StatusCode != status {
		h.t.Errorf("%s: %s, %v", r.Status, text, err)
	}
}
