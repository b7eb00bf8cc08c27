package cni

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
	"github.com/bridged/bridged/internal/nstest"
)

const image = "docker.io/library/busybox:test"

// containerd starts containerd on the host, with an image that has busybox in it. It finds plugins and configurations in its default places, which are
// empty and the host's own.
func (h *host) containerd() {
	h.t.Helper()
	for _, tool := range []string{"containerd", "containerd-shim-runc-v2", "runc", "ctr", "busybox"} {
		nstest.NeedTool(h.t, tool)
	}
	h.space.Output(h.t, "cp", "-a", "/etc", "/run/etc")
	h.do(func() error {
		return errors.Join(
			unix.Mount("/run/etc", "/etc", "", unix.MS_BIND, ""),
			unix.Mount("tmpfs", "/opt", "tmpfs", 0, ""),
			os.WriteFile("/run/containerd.toml", []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600),
			os.WriteFile("/run/image.tar", busyboxImage(h.t), 0o600),
		)
	})
	cmd := exec.Command("containerd", "--config", "/run/containerd.toml")
	var log flowtest.Log
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := h.space.Start(cmd); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if h.t.Failed() {
			h.t.Logf("log of containerd:\n%s", log.String())
		}
	})
	// Its client waits for the socket as long as it is told.
	h.space.Output(h.t, "ctr", "--connect-timeout", "30s", "images", "import", "--snapshotter", "native", "/run/image.tar")
}

// busyboxImage is an image as `docker save` writes it: one layer with /bin/busybox, and /bin/sh which is the same.
func busyboxImage(t testing.TB) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	layer := archive(t, map[string][]byte{"bin/busybox": busybox, "bin/sh": busybox, "www/index.html": []byte("hello from busybox\n")})
	config := fmt.Appendf(nil, `{"architecture": %q, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:%x"]}}`,
		runtime.GOARCH, sha256.Sum256(layer))
	manifest := fmt.Appendf(nil, `[{"Config": "config.json", "RepoTags": [%q], "Layers": ["layer.tar"]}]`, image)
	return archive(t, map[string][]byte{"layer.tar": layer, "config.json": config, "manifest.json": manifest})
}

func archive(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))})
		if _, wrong := w.Write(text); err != nil || wrong != nil {
			t.Fatal(err, wrong)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// container is one that `ctr run --cni` runs. It ends when its input does.
type container struct {
	h     *host
	stdin io.Closer
	out   *bufio.Reader
	cmd   *exec.Cmd
	errs  flowtest.Log
}

// runContainer runs a script in a container; its first line of output has come when the function returns.
func (h *host) runContainer(name, script string) (c *container, first string) {
	h.t.Helper()
	c = &container{h: h, cmd: exec.Command("ctr", "run", "--rm", "--cni", "--snapshotter", "native", image, name, "/bin/sh", "-c", script)}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	c.stdin, c.out, c.cmd.Stderr = stdin, bufio.NewReader(stdout), &c.errs
	if err := h.space.Start(c.cmd); err != nil {
		h.t.Fatal(err)
	}
	if first, err = c.out.ReadString('\n'); err != nil {
		_ = c.cmd.Wait()
		h.t.Fatalf("container %s says nothing: %v\n%s", name, err, c.errs.String())
	}
	return c, strings.TrimSpace(first)
}

// end ends the container, and waits until its runtime is done with it.
func (c *container) end() {
	c.h.t.Helper()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil || c.errs.String() != "" {
		c.h.t.Errorf("the container ended with %v:\n%s", err, c.errs.String())
	}
}

// script serves a page on port 80, prints the container's address, and waits for the end of its input.
const script = `busybox httpd -p 80 -h /www; busybox ip -4 -o addr show eth0 | busybox awk '{print $4}'; exec busybox cat`

// TestContainerd: containers of containerd's reach the LAN and one another, and leave nothing behind, with what `bridged cni install` wrote.
func TestContainerd(t *testing.T) {
	h, _ := bridgedHost(t)
	h.containerd()
	h.space.Output(t, program, "cni", "install")
	flowtest.Serve(t, h.lan, 80)

	c1, first := h.runContainer("c1", script)
	address, err := netip.ParsePrefix(first)
	if err != nil || address.Bits() != 16 {
		t.Fatalf("the container's address is %q", first)
	}
	page := h.space.Output(t, "curl", "-s", "http://"+address.Addr().String()+"/")
	if page != "hello from busybox\n" {
		t.Errorf("the host got %q", page)
	}
	c2, line := h.runContainer("c2", "busybox nc 192.0.2.2 80 </dev/null | busybox head -n 1; busybox wget -q -O - http://"+address.Addr().String()+"/; exec busybox cat")
	if !strings.Contains(line, "lan") || !strings.Contains(line, hostLAN4.String()) {
		t.Errorf("the LAN answered %q: want its name, and the host's address as the source", line)
	}
	if sibling, err := c2.out.ReadString('\n'); err != nil || sibling != page {
		t.Errorf("the sibling got %q, %v", sibling, err)
	}
	if got := h.counts(); got != [3]int{2, 2, 0} {
		t.Errorf("%v sandboxes, endpoints, ports with two containers", got)
	}
	c2.end()
	c1.end()
	h.empty("after the containers")
}

// TestContainerdReference is the control: the harness works with the reference plugins.
func TestContainerdReference(t *testing.T) {
	h := referenceHost(t)
	h.containerd()
	var entries []json.RawMessage
	for _, e := range (chain{bridge: bridgeKeys, ipam: ipam4}).entries() {
		entries = append(entries, json.RawMessage(e))
	}
	text, err := json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": "n", "plugins": entries})
	if err != nil {
		t.Fatal(err)
	}
	h.do(func() error {
		return errors.Join(os.MkdirAll("/etc/cni/net.d", 0o755), os.WriteFile("/etc/cni/net.d/10-n.conflist", text, 0o600),
			os.MkdirAll("/opt/cni", 0o755), os.Symlink(filepath.Clean(h.path), "/opt/cni/bin"))
	})
	flowtest.Serve(t, h.lan, 80)
	c, first := h.runContainer("c1", script)
	address, err := netip.ParsePrefix(first)
	if err != nil {
		t.Fatal(err)
	}
	if page := h.space.Output(t, "curl", "-s", "http://"+address.Addr().String()+"/"); page != "hello from busybox\n" {
		t.Errorf("the host got %q", page)
	}
	c.end()
}
