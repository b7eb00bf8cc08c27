package test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// The daemon in a root directory that holds nothing but its binary and the kernel's file systems, with an empty PATH: it
// needs no program, no library and no file of a distribution.
func TestEmptyRoot(t *testing.T) {
	if os.Getenv("BRIDGED_TEST_RACE") == "1" {
		t.Skip("a binary with the race detector is not static")
	}
	w := newWorld(t)
	root := t.TempDir()
	w.bareRoot(t, root)
	run := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := bare(root, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := w.host.Do(cmd.Run); err != nil {
			t.Fatalf("bridged %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
		}
		return strings.TrimSpace(out.String())
	}

	d := w.host.Launch(t, bare(root, "daemon", "--ipv6", "--state-dir", "/run/state"))
	run("status", "--wait", "10s")

	run("network", "create", "--ipv6", "mine")
	run("sandbox", "create", "-p", "8080:80", "-p", "8080:80/udp", "c1")
	run("sandbox", "create", "--network", "mine", "-p", "8081:80", "c2")
	for i, name := range []string{"c1", "c2"} {
		flowtest.Serve(t, w.host.Open(t, name, root+"/run/netns/"+name), 80)
		for _, host := range []netip.Addr{hostLAN4, hostLAN6} {
			flowtest.Reaches(t, w.lan, "tcp", netip.AddrPortFrom(host, uint16(8080+i)), name)
		}
	}
	if out := run("ruleset", "--diff"); out != "" {
		t.Errorf("ruleset --diff prints %s", out)
	}
	if out := run("sandbox", "exec", "c1", "--", "/bridged", "version"); out == "" {
		t.Error("exec printed nothing")
	}
	run("sandbox", "rm", "c1", "c2")
	run("network", "rm", "mine")
	d.Stop()
	if strings.Contains(d.Log.String(), "level=ERROR") || strings.Contains(d.Log.String(), "level=WARN") {
		t.Errorf("the daemon complained:\n%s", d.Log.String())
	}
}

// bareRoot fills a directory of the host's mount namespace: the binary, /proc, /sys, /run and an empty /dev.
func (w *world) bareRoot(t *testing.T, root string) {
	t.Helper()
	err := w.host.Do(func() error {
		for _, dir := range []string{"proc", "sys", "run", "dev"} {
			if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
				return err
			}
		}
		for dir, kind := range map[string]string{"proc": "proc", "sys": "sysfs", "run": "tmpfs", "dev": "tmpfs"} {
			if err := unix.Mount(kind, filepath.Join(root, dir), kind, 0, ""); err != nil {
				return fmt.Errorf("mount %s: %w", dir, err)
			}
		}
		return copyFile(filepath.Join(root, "bridged"), program)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

// bare is a command of the binary in that root directory.
func bare(root string, args ...string) *exec.Cmd {
	return &exec.Cmd{
		Path:        "/bridged",
		Args:        append([]string{"bridged"}, args...),
		Env:         []string{"PATH="},
		Dir:         "/",
		SysProcAttr: &syscall.SysProcAttr{Chroot: root},
	}
}

// Nothing that is linked into the binary can start a process.
func TestNoProcessIsStarted(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../cmd/bridged").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) == "os/exec" {
			t.Error("os/exec is linked into bridged")
		}
	}
	if !strings.Contains(string(out), "github.com/bridged/bridged/engine") {
		t.Errorf("go list lists other packages than the binary's:\n%s", out)
	}
}
