package main

import (
	"bufio"
	"bytes"
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
func startProcess(t *testing.T, files ...givenFile) *daemonProcess {
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
	var names []string
	for _, f := range files {
		p.cmd.ExtraFiles, names = append(p.cmd.ExtraFiles, f.File), append(names, f.name)
	}
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify, fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
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

// givenFile is a file with the name that systemd has for it.
type givenFile struct {
	*os.File
	name string
}

// given is a file of a listener, as systemd gives it.
func given(t *testing.T, name string, l interface{ File() (*os.File, error) }, err error) givenFile {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return givenFile{f, name}
}

// TestActivation: the daemon answers on the sockets that systemd gives it, also what was asked before it began, and leaves them when it ends.
func TestActivation(t *testing.T) {
	dir, err := os.MkdirTemp("", "br")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, plugin := filepath.Join(dir, "given"), filepath.Join(dir, "plugin")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	own := given(t, "bridged.socket", l, err)
	defer l.Close()
	pl, err := net.ListenUnix("unix", &net.UnixAddr{Name: plugin, Net: "unix"})
	early := given(t, "docker-plugin", pl, err)
	defer pl.Close()
	waiting := ask(t, plugin)
	p := startProcess(t, early, own)
	p.notice()
	activated(t, waiting)
	c, err := client.Dial("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(context.Background()); err != nil {
		t.Error(err)
	}
	activated(t, ask(t, plugin))
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it made a socket of its own: %v", err)
	}
	if status := p.stop(syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, path := range []string{path, plugin} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("systemd's socket is gone: %v", err)
		}
	}
}

// ask asks at a socket what Docker's engine asks at first.
func ask(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err == nil {
		_, err = conn.Write([]byte("POST /Plugin.Activate HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// activated reads the answer to that.
func activated(t *testing.T, conn net.Conn) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); string(text) != `{"Implements":["NetworkDriver","IpamDriver"]}`+"\n" {
		t.Errorf("the plugin answers %q, %v", text, err)
	}
}

// TestActivationRefuses: sockets that can't be the daemon's are wrong usage.
func TestActivationRefuses(t *testing.T) {
	stream := func(name string) givenFile {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
		return given(t, name, l, err)
	}
	datagram := func(name string) givenFile {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "d"), Net: "unixgram"})
		return given(t, name, l, err)
	}
	const second = `systemd gives a second socket, with the name "%s": want one for the API, and one with the name docker-plugin`
	const unfit = `systemd gives a socket with the name "%s" that is no stream socket of the family AF_UNIX which listens`
	for name, tt := range map[string]struct {
		files []givenFile
		want  string
	}{
		"two":             {[]givenFile{stream("1"), stream("2")}, fmt.Sprintf(second, "2")},
		"two for Docker":  {[]givenFile{stream("docker-plugin"), stream("docker-plugin")}, fmt.Sprintf(second, "docker-plugin")},
		"datagram":        {[]givenFile{datagram("1")}, fmt.Sprintf(unfit, "1")},
		"Docker datagram": {[]givenFile{stream("1"), datagram("docker-plugin")}, fmt.Sprintf(unfit, "docker-plugin")},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcess(t, tt.files...)
			_ = p.cmd.Wait() // its status is looked at
			if status := p.cmd.ProcessState.ExitCode(); status != 2 || p.stderr.String() != "bridged: "+tt.want+"\n" {
				t.Errorf("exit status %d: %s", status, p.stderr.String())
			}
		})
	}
}
