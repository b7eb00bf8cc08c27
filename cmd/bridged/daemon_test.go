package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/nstest"
)

// daemonProcess is this program's daemon, in a network namespace of its own (see isolatedMain), and what it tells systemd.
type daemonProcess struct {
	t       *testing.T
	dir     string
	socket  string
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	notices *net.UnixConn
}

// startProcess starts the daemon, without a default bridge. Files are sockets as from systemd.
func startProcess(t *testing.T, files ...*os.File) *daemonProcess {
	t.Helper()
	nstest.NeedRoot(t)
	dir, err := os.MkdirTemp("", "br") // the path of a socket is short: not the test's own directory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &daemonProcess{t: t, dir: dir, socket: filepath.Join(dir, "s")}
	notify := filepath.Join(dir, "notify")
	if p.notices, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.notices.Close() })
	if err := p.notices.SetReadDeadline(time.Now().Add(time.Minute)); err != nil { // for a daemon that dies before
		t.Fatal(err)
	}

	// The shell becomes the daemon, so $$ is the number that systemd would have put there.
	p.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ exec bridged daemon -b none --socket "$0/s" --run-dir "$0/run" --state-dir "$0/state"`, dir)
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify, fmt.Sprintf("LISTEN_FDS=%d", len(files)))
	p.cmd.ExtraFiles = files
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Log(p.stderr.String())
		}
	})
	return p
}

// notice waits for the next word to systemd, other than what to keep.
func (p *daemonProcess) notice() string {
	p.t.Helper()
	text := make([]byte, 4096)
	for {
		n, err := p.notices.Read(text)
		if err != nil {
			p.t.Fatal(err)
		}
		if word := string(text[:n]); !strings.HasPrefix(word, "FDSTORE") {
			return word
		}
	}
}

// stop sends a signal and returns the exit status.
func (p *daemonProcess) stop(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// TestDaemon: it tells systemd when it is ready, which is when status says so, and ends cleanly with either signal.
func TestDaemon(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			p := startProcess(t)
			if n := p.notice(); n != "READY=1" {
				t.Fatalf("the first notice is %q", n)
			}
			c, err := client.Dial("unix://" + p.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if status, err := c.Status(context.Background()); err != nil || !status.Ready || status.Version != programVersion() {
				t.Errorf("status: %+v, %v", status, err)
			}
			if status := p.stop(signal); status != 0 {
				t.Errorf("exit status %d", status)
			}
			if n := p.notice(); n != "STOPPING=1" {
				t.Errorf("the last notice is %q", n)
			}
			if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

// TestSecondDaemon: a run directory has one daemon, whatever socket a second one has.
func TestSecondDaemon(t *testing.T) {
	p := startProcess(t)
	p.notice()
	second := exec.Command("bridged", "daemon", "-b", "none", "--socket", p.socket+"2", "--run-dir", p.dir+"/run", "--state-dir", p.dir+"/state")
	stderr, _ := second.CombinedOutput() // its status is looked at
	if status := second.ProcessState.ExitCode(); status != 4 || !strings.Contains(string(stderr), "is in use by another daemon") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	if _, err := os.Lstat(p.socket + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is left: %v", err)
	}
	if status := p.stop(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d of the first", status)
	}
}

// given is a file of a listener, as systemd gives it.
func given(t *testing.T, l interface{ File() (*os.File, error) }, err error) *os.File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestActivation: the daemon answers on the socket that systemd gives it, and leaves it when it ends.
func TestActivation(t *testing.T) {
	dir, err := os.MkdirTemp("", "br")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "given")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	p := startProcess(t, given(t, l, err))
	defer l.Close()
	p.notice()
	c, err := client.Dial("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made a socket of its own: %v", err)
	}
	if status := p.stop(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's socket is gone: %v", err)
	}
}

// TestActivationRefuses: sockets that can't be the daemon's are wrong usage.
func TestActivationRefuses(t *testing.T) {
	stream := func(name string) *os.File {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), name), Net: "unix"})
		return given(t, l, err)
	}
	datagram := func() *os.File {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "d"), Net: "unixgram"})
		return given(t, l, err)
	}
	for name, files := range map[string][]*os.File{
		"two":      {stream("1"), stream("2")},
		"datagram": {datagram()},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t, files...)
			_ = p.cmd.Wait() // its status is looked at
			want := fmt.Sprintf("bridged: systemd gives %d sockets: want one, a stream socket of the family AF_UNIX\n", len(files))
			if status := p.cmd.ProcessState.ExitCode(); status != 2 || p.stderr.String() != want {
				t.Errorf("exit status %d: %s", status, p.stderr.String())
			}
		})
	}
}
