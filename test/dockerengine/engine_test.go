package dockerengine

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// What an engine starts itself, beside the two programs that it consists of.
var engineTools = []string{"dockerd", "containerd", "containerd-shim-runc-v2", "runc", "docker-proxy"}

// tool is the path of a program of the engine: unpacked by `make tools`, or else the machine's. The test is skipped without it, and
// fails in CI.
func tool(t testing.TB, name string) string {
	t.Helper()
	unpacked, err := filepath.Abs("../../bin/tools/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(unpacked); err == nil {
		return unpacked
	}
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("the test needs %s: make tools", name)
	}
	t.Skipf("the test needs %s: make tools", name)
	return ""
}

// bare are flags of an engine that leaves the host's packet filter and forwarding alone and has no bridge of its own.
var bare = []string{"--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"}

// engine starts Docker's engine with these flags, and waits until it is ready. path is searched for programs besides the engine's own.
func (w *world) engine(path string, flags ...string) *flowtest.Process {
	w.t.Helper()
	w.makeTools()
	ready := w.notify("/run/engine/notify")
	cmd := exec.Command("/run/engine/bin/dockerd", append([]string{
		"--config-file", "/run/engine/daemon.json", "--data-root", "/run/engine/data", "--exec-root", "/run/engine/exec",
		"--pidfile", "/run/engine/pid", "--host", "unix:///run/docker.sock",
		"--log-level", "warn", "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + w.groups,
	}, flags...)...)
	cmd.Env = []string{"PATH=/run/engine/bin:" + path, "NOTIFY_SOCKET=/run/engine/notify"}
	e := w.host.Launch(w.t, cmd)
	ready(e)
	return e
}

// makeTools is the directory of the host that the engine finds its programs in.
func (w *world) makeTools() {
	w.t.Helper()
	paths := make(map[string]string)
	for _, name := range engineTools {
		paths[name] = tool(w.t, name)
	}
	err := w.host.Do(func() error {
		if err := os.MkdirAll("/run/engine/bin", 0o755); err != nil {
			return err
		}
		for name, path := range paths {
			if err := os.Symlink(path, "/run/engine/bin/"+name); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
		return os.WriteFile("/run/engine/daemon.json", []byte("{}"), 0o644)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// notify listens for what a daemon tells its manager, as sd_notify(3) says. The function waits until it is ready.
func (w *world) notify(path string) (ready func(*flowtest.Process)) {
	w.t.Helper()
	var c *net.UnixConn
	err := w.host.Do(func() (err error) {
		os.Remove(path)
		c, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return func(p *flowtest.Process) {
		w.t.Helper()
		defer c.Close()
		go func() {
			<-p.Ended
			c.Close()
		}()
		c.SetReadDeadline(time.Now().Add(2 * flowtest.Patience))
		for text := make([]byte, 4096); ; {
			n, err := c.Read(text)
			if err != nil {
				w.t.Fatalf("%s does not get ready: %v", p.Cmd.Args[0], err)
			}
			if bytes.Contains(text[:n], []byte("READY=1")) {
				return
			}
		}
	}
}

// image is the name of what containers run: a busybox that waits.
const image = "box"

// importImage gives the engine its image.
func (w *world) importImage() {
	w.t.Helper()
	var archive bytes.Buffer
	if err := writeImage(&archive, tool(w.t, "busybox")); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "image.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.docker("import", "-c", `CMD ["sleep", "infinity"]`, path, image)
}

// writeImage writes a root directory with a busybox in it.
func writeImage(to *bytes.Buffer, busybox string) error {
	f, err := elf.Open(busybox)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New(busybox + " is not static")
		}
	}
	text, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(to)
	if err := archive.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := archive.Write(text); err != nil {
		return err
	}
	for _, name := range []string{"sh", "sleep", "ip", "nc", "ping", "wget", "httpd", "nslookup"} {
		if err := archive.WriteHeader(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}); err != nil {
			return err
		}
	}
	return archive.Close()
}
