package dockerengine

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
)

// holder stands in for systemd: it listens on the plugin's socket, and hands it to one daemon after the other.
type holder struct {
	*world
	name     string // the socket's, as a daemon is told
	listener *os.File
}

// hold listens where the unit says.
func (w *world) hold() *holder {
	w.t.Helper()
	unit := make(map[string]string)
	text, err := os.ReadFile("../../packaging/bridged-docker.socket")
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		unit[key] = value
	}
	h := &holder{world: w, name: unit["FileDescriptorName"]}
	err = w.host.Do(func() error {
		if err := os.MkdirAll(filepath.Dir(unit["ListenStream"]), 0o755); err != nil {
			return err
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: unit["ListenStream"], Net: "unix"})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		defer l.Close()
		h.listener, err = l.File()
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.listener.Close() })
	return h
}

// start starts a daemon, and waits until it is ready.
func (h *holder) start() {
	h.t.Helper()
	d := daemonCommand()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, d.Args...)...)
	cmd.ExtraFiles = []*os.File{h.listener}
	cmd.Env = append(d.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES="+h.name)
	h.ours = h.host.Launch(h.t, cmd)
	if r := h.tryBridged("status", "--wait", "10s"); r.code != 0 {
		h.t.Fatal(r)
	}
}

// waiting returns when somebody waits for an answer, and there is no daemon.
func (h *holder) waiting() {
	h.t.Helper()
	raw, err := h.listener.SyscallConn()
	if err != nil {
		h.t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(flowtest.Patience.Milliseconds()))
		if n != 1 {
			h.t.Errorf("nobody asks: %v", err)
		}
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// With the socket held, whatever the engine asks while there is no daemon waits for the next one and is done: nothing fails, and no retry costs
// its seconds. An engine can also start first.
func TestSocketActivation(t *testing.T) {
	w := newWorld(t)
	h := w.hold()
	h.start()
	h.engines = h.engine("", bare...)
	h.importImage()
	h.network("n1")
	h.run("c1", "--network", "n1", "-p", "8080:80")
	h.run("c2", "--network", "n1", "-p", "8081:80")
	meanwhile := func(f func()) {
		t.Helper()
		var asking sync.WaitGroup
		asking.Go(f)
		h.waiting()
		h.start()
		asking.Wait()
	}
	for _, end := range []func(*flowtest.Process){(*flowtest.Process).Stop, (*flowtest.Process).Kill} {
		end(h.ours)
		meanwhile(func() { h.docker("rm", "-f", "c2") })
		h.published(bothFamilies("c1", "80/tcp", 8080)...)
		end(h.ours)
		meanwhile(func() { h.run("c2", "--network", "n1", "-p", "8081:80") })
		h.published(append(bothFamilies("c1", "80/tcp", 8080), bothFamilies("c2", "80/tcp", 8081)...)...)
	}
	h.engines.Kill()
	h.ours.Kill()
	meanwhile(func() { h.engines = h.engine("", bare...) })
	if log := h.engines.Log.String(); strings.Contains(log, "Unable to connect to plugin") {
		t.Errorf("the engine did not find the plugin:\n%s", log)
	}
	h.docker("rm", "-f", "c1", "c2")
	h.docker("network", "rm", "n1")
	h.nothingLeft()
}

// Daemons that end all the time while containers come and go. Who is stopped answers what it was asked. Who is killed does not, and the
// engine asks again without saying what (Docker 20.10 repeats a call without its body): that fails, can be done afterwards, and nothing is left. A stop
// may meet the engine in the very instant in which it begins to write on a connection that is idle: Go's client takes that for an interruption, too.
func TestEndedAllTheTime(t *testing.T) {
	for name, end := range map[string]func(*flowtest.Process){"stopped": (*flowtest.Process).Stop, "killed": (*flowtest.Process).Kill} {
		t.Run(name, func(t *testing.T) {
			h := newWorld(t).hold()
			h.start()
			h.engines = h.engine("", bare...)
			h.importImage()
			h.network("n1")
			var working sync.WaitGroup
			var interrupted atomic.Int64
			worked := make(chan struct{})
			for i := range 3 {
				working.Go(func() { interrupted.Add(h.comesAndGoes(t, i)) })
			}
			go func() {
				working.Wait()
				close(worked)
			}()
			for n := 1; ; n++ {
				end(h.ours)
				h.start()
				select {
				case <-worked:
				default:
					continue
				}
				t.Logf("%s %d times: %d calls were interrupted", name, n, interrupted.Load())
				break
			}
			if name == "stopped" && interrupted.Load() > 1 {
				t.Error("stops interrupt calls")
			}
			run := h.run("c9", "--network", "n1", "-p", "8000-8003:80-83")
			flowtest.Serve(t, run.Space, 80)
			flowtest.Reaches(t, h.lan, "tcp", netip.AddrPortFrom(host4, 8000), "c9")
			h.docker("rm", "-f", "c9")
			h.docker("network", "rm", "n1")
			h.nothingLeft()
		})
	}
}

// comesAndGoes starts, restarts and removes a container a few times. It counts what failed because a call was interrupted; nothing else may.
func (h *holder) comesAndGoes(t *testing.T, i int) (interrupted int64) {
	name := fmt.Sprintf("c%d", i)
	for range 2 {
		for _, args := range [][]string{
			{"run", "-d", "--stop-signal", "KILL", "--name", name, "--network", "n1", "-p", fmt.Sprintf("%d:80", 8000+i), "-p", "81", image},
			{"restart", name},
			{"rm", "-f", name},
		} {
			switch r := h.tryDocker(args...); {
			case r.code == 0:
			case strings.Contains(r.stderr, "the body is empty"):
				interrupted++
			default:
				t.Error(r)
			}
		}
	}
	return interrupted
}
