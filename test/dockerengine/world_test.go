package dockerengine

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/flowtest"
	"github.com/bridged/bridged/internal/nstest"
)

// Addresses of the world, documentation prefixes all.
var (
	host4 = netip.MustParseAddr("192.0.2.1")
	host6 = netip.MustParseAddr("2001:db8:1::1")
	lan4  = netip.MustParseAddr("192.0.2.2")
	lan6  = netip.MustParseAddr("2001:db8:1::2")
)

// world is a host with a neighbour on its LAN. There is nothing on the host yet.
type world struct {
	t    testing.TB
	host *flowtest.Space
	lan  *flowtest.Space // a neighbour; its default route is the host

	ours    *flowtest.Process // bridged
	engines *flowtest.Process // Docker's engine

	groups string // the control group of the containers, below every hierarchy's root
}

// newWorld makes the namespaces. Everything that runs in them is killed when the test ends.
func newWorld(t testing.TB) *world {
	t.Helper()
	nstest.NeedRoot(t)
	nstest.NeedTool(t, "ip")
	w := &world{t: t, host: flowtest.NewSpace(t, "host", true), lan: flowtest.NewSpace(t, "lan", false)}
	w.groups = "bridged-" + flowtest.NewMark()
	t.Cleanup(func() {
		for _, p := range nstest.Processes() {
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
		}
		w.removeGroups()
	})
	w.host.Join(t, "lan0", w.lan, "192.0.2", "2001:db8:1")
	w.host.IP(t, "route add default via 192.0.2.2", "route add default via 2001:db8:1::2")
	w.furnish()
	flowtest.Serve(t, w.lan, 80)
	return w
}

// in is the world as a subtest sees it.
func (w *world) in(t testing.TB) *world {
	c := *w
	c.t = t
	return &c
}

// furnish gives the host's mounts what an engine writes to outside of the directories that it is told: /etc/docker, /opt/containerd.
func (w *world) furnish() {
	w.t.Helper()
	err := w.host.Do(func() error {
		for _, dir := range []string{"/etc", "/opt"} {
			upper, work := filepath.Join("/run/engine/upper", dir), filepath.Join("/run/engine/work", dir)
			if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
				return err
			}
			if err := unix.Mount("overlay", dir, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)); err != nil {
				return fmt.Errorf("cannot mount on %s: %w", dir, err)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// removeGroups takes the control groups away that engines leave.
func (w *world) removeGroups() {
	w.t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		tops, _ := filepath.Glob(filepath.Join(pattern, w.groups))
		for _, top := range tops {
			var all []string
			filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
				if err == nil && e.IsDir() {
					all = append(all, path)
				}
				return nil
			})
			for i := len(all) - 1; i >= 0; i-- {
				if err := os.Remove(all[i]); err != nil {
					w.t.Errorf("left behind: %v", err)
				}
			}
		}
	}
}

// result is what a command did.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("%s: status %d\n%s%s", strings.Join(r.args, " "), r.code, r.stdout, r.stderr)
}

// command runs a program on the host to its end.
func (w *world) command(env []string, name string, args ...string) result {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &stdout, &stderr
	err := w.host.Do(cmd.Run)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return result{append([]string{filepath.Base(name)}, args...), stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// tryDocker runs Docker's client, of the engine's version.
func (w *world) tryDocker(args ...string) result {
	w.t.Helper()
	return w.command([]string{"DOCKER_CONFIG=/run/engine/client", "PATH="}, tool(w.t, "docker"), args...)
}

// docker runs Docker's client, which must succeed, and returns what it printed without the last newline.
func (w *world) docker(args ...string) string {
	w.t.Helper()
	r := w.tryDocker(args...)
	if r.code != 0 {
		w.t.Fatal(r)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// refuses runs Docker's client, which must fail with these words in the message.
func (w *world) refuses(says string, args ...string) {
	w.t.Helper()
	if r := w.tryDocker(args...); r.code == 0 || !strings.Contains(r.stderr, says) {
		w.t.Errorf("want a failure that says %q: %v", says, r)
	}
}

// bridged runs a command of the binary that must succeed, and returns what it printed without the last newline.
func (w *world) bridged(args ...string) string {
	w.t.Helper()
	r := w.tryBridged(args...)
	if r.code != 0 {
		w.t.Fatal(r)
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

func (w *world) tryBridged(args ...string) result {
	w.t.Helper()
	return w.command([]string{"PATH="}, program, args...)
}
