package docker_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/docker"
)

// TestActivate: what Docker asks at first is answered at once, also before the engine is ready.
func TestActivate(t *testing.T) {
	f := newFake()
	s := serve(t, f, "")
	for path, want := range map[string]string{
		"/Plugin.Activate":                    `{"Implements":["NetworkDriver","IpamDriver"]}`,
		"/NetworkDriver.GetCapabilities":      `{"Scope":"local","ConnectivityScope":"local","GwAllocChecker":true}`,
		"/IpamDriver.GetCapabilities":         `{"RequiresMACAddress":false,"RequiresRequestReplay":false}`,
		"/IpamDriver.GetDefaultAddressSpaces": `{"LocalDefaultAddressSpace":"bridged-local","GlobalDefaultAddressSpace":"bridged-global"}`,
	} {
		for _, body := range []string{"", "{}"} {
			if a := s.must(path, body); a.text != want+"\n" {
				t.Errorf("%s: %s", path, a.text)
			}
		}
		if a := s.post(path, "[]"); !strings.Contains(a.failure(path), "must be a JSON object") {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	done := make(chan answer, 1)
	go func() { defer close(done); done <- s.post("/NetworkDriver.GwAllocCheck", `{"Options":{}}`) }()
	<-f.waits
	close(f.ready)
	if a := <-done; a.text != `{"SkipIPv4":false,"SkipIPv6":false}`+"\n" {
		t.Errorf("GwAllocCheck: %s", a.text)
	}
}

// TestStop: a call that waits for an engine that does not get ready is answered by the stop.
func TestStop(t *testing.T) {
	f := newFake()
	s := serve(t, f, "")
	done := make(chan answer, 1)
	go func() { defer close(done); done <- s.post("/NetworkDriver.DeleteNetwork", fill(`{"NetworkID":"$N"}`)) }()
	<-f.waits
	s.stop()
	if a := <-done; !strings.Contains(a.text, "stopping") {
		t.Errorf("the waiting call: %s", a.text)
	}
}

// TestListen: the socket is root's alone.
func TestListen(t *testing.T) {
	s := ready(t)
	info, err := os.Stat(s.socket)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if _, err := docker.Listen(s.socket); err == nil {
		t.Error("two listen")
	}
}

// TestStrangers: on a socket that somebody has opened to all, others than root are refused.
func TestStrangers(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, to connect as others")
		}
		t.Skip("needs root, to connect as others")
	}
	s := ready(t)
	if err := errors.Join(os.Chmod(s.socket, 0o666), os.Chmod(s.socket[:strings.LastIndex(s.socket, "/")], 0o755)); err != nil {
		t.Fatal(err)
	}
	conn := connectAs(t, s.socket, 65534)
	defer conn.Close()
	if _, err := conn.Write([]byte("POST /Plugin.Activate HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 4096)
	n, err := conn.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "denied: user 65534 may not change anything") {
		t.Errorf("a stranger: %s, %v", text[:n], err)
	}
	s.must("/Plugin.Activate", "")
}

// connectAs connects a thread of another user, which ends with that.
func connectAs(t *testing.T, path string, uid int) net.Conn {
	t.Helper()
	type result struct {
		net.Conn
		error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if _, _, errno := unix.Syscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			done <- result{nil, errno}
			return
		}
		conn, err := net.Dial("unix", path)
		done <- result{conn, err}
	}()
	r := <-done
	if r.error != nil {
		t.Fatal(r.error)
	}
	return r.Conn
}
