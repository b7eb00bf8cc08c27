package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// capabilities that the daemon keeps, as bits: see internal/privilege.
const keptCapabilities = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SYS_ADMIN |
	1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH

// threads are the lines of /proc/PID/task/*/status that say what a process may do.
func threads(t *testing.T, pid int) []map[string]string {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	var all []map[string]string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		status := make(map[string]string)
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			status[key] = strings.TrimSpace(value)
		}
		all = append(all, status)
	}
	if len(all) == 0 {
		t.Fatalf("process %d has no threads", pid)
	}
	return all
}

// restricted checks every thread of a daemon.
func restricted(t *testing.T, pid int) {
	t.Helper()
	kept, none := fmt.Sprintf("%016x", keptCapabilities), fmt.Sprintf("%016x", 0)
	want := map[string]string{"CapInh": none, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2"}
	if raced() { // C may have threads that Go knows nothing of
		want = map[string]string{"NoNewPrivs": "1", "Seccomp": "2"}
	}
	for _, thread := range threads(t, pid) {
		for key, value := range want {
			if thread[key] != value {
				t.Errorf("thread %s of the daemon: %s is %s, want %s", thread["Pid"], key, thread[key], value)
			}
		}
	}
}

// raced: the daemon is a build with the race detector, and so with cgo.
func raced() bool { return os.Getenv("BRIDGED_TEST_RACE") == "1" }

// The daemon keeps the capabilities that it works with, in all threads, also in those that come later, and can't get new ones.
func TestPrivileges(t *testing.T) {
	w := newWorld(t)
	other := exec.Command("sleep", "infinity")
	if err := w.host.Start(other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	for _, thread := range threads(t, other.Process.Pid) { // or the daemon had nothing to give up
		if bounding, err := strconv.ParseUint(thread["CapBnd"], 16, 64); err != nil || bounding&^keptCapabilities == 0 || thread["Seccomp"] != "0" {
			t.Fatalf("another process here: %v", thread)
		}
	}
	d := w.daemon("--ipv6")
	restricted(t, d.Cmd.Process.Pid)
	for i := range 8 {
		w.create("-p", fmt.Sprint(80+i), fmt.Sprint("c", i))
	}
	restricted(t, d.Cmd.Process.Pid)
	if warnings := decode[statusJSON](w, "status", "--json").Warnings; len(warnings) > 0 {
		t.Errorf("status warns: %q", warnings)
	}
}

// Nothing that the daemon could do starts a process, looks into one, or changes the kernel: tried by a program that gives up what the
// daemon does, in a thread from before and in one from afterwards. Without that none of it fails so.
func TestStartsNoProcess(t *testing.T) {
	need(t)
	confined := filepath.Join(t.TempDir(), "confined")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", confined, "./testdata/confined")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	attempts := func(how string) (results []string) {
		t.Helper()
		out, err := exec.Command(confined, how).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", how, err, out)
		}
		return lines(string(out))
	}
	count := 0
	for _, result := range attempts("restricted") {
		what, errno, _ := strings.Cut(result, ": ")
		want := "EPERM"
		switch _, call, _ := strings.Cut(what, " "); call {
		case "unshare net", "thread":
			want = "ok"
		case "clone3":
			want = "ENOSYS"
		}
		if errno != want {
			t.Errorf("restricted, %s, want %s", result, want)
		}
		count++
	}
	if count < 40 {
		t.Errorf("only %d attempts", count)
	}
	free := attempts("free")
	if len(free) != count {
		t.Errorf("%d attempts restricted, %d free", count, len(free))
	}
	for _, result := range free {
		if strings.HasSuffix(result, ": EPERM") || strings.HasSuffix(result, "clone3: ENOSYS") {
			t.Errorf("free, %s: another reason than the restriction", result)
		}
	}
}

// Each capability is kept for something that does not work without it, and works with the others.
func TestEachCapability(t *testing.T) {
	need(t, "setpriv")
	for _, must := range []string{"net_admin", "net_raw", "sys_admin"} {
		t.Run(must, func(t *testing.T) {
			d := newWorld(t).spawnOf(without(t, must))
			d.Wait()
			if code := d.Cmd.ProcessState.ExitCode(); code != 5 || !strings.Contains(d.Log.String(), "the daemon lacks CAP_"+strings.ToUpper(must)) {
				t.Errorf("status %d: %s", code, d.Log.String())
			}
		})
	}
	for name, args := range map[string]func(w *world) string{
		"net_bind_service": func(*world) string { return "-p 80:80" },
		"sys_ptrace":       func(w *world) string { return fmt.Sprintf("--pid %d", w.stranger()) },
		"dac_read_search":  func(w *world) string { return "--netns " + w.privateNamespace() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			create := append([]string{"sandbox", "create"}, strings.Fields(args(w)+" special")...)
			d := w.spawnOf(without(t, name, "dac_override")) // which a build with cgo would keep
			d.ready()
			if r := w.try(create...); r.code == 0 {
				t.Errorf("it needs no CAP_%s: %v", strings.ToUpper(name), r)
			}
			w.create("-p", "8080:80", "ordinary")
			d.Stop()
			w.daemon()
			w.bridged(create...)
			w.bridged("sandbox", "rm", "special")
		})
	}
}

// without is the daemon's binary in a script that runs it without capabilities.
func without(t *testing.T, capabilities ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bridged")
	script := fmt.Sprintf("#!/bin/sh\nexec %s --bounding-set -%s %s \"$@\"\n", mustFind(t, "setpriv"), strings.Join(capabilities, ",-"), program)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// stranger is a process of another user in a network namespace of its own.
func (w *world) stranger() int {
	w.t.Helper()
	cmd := exec.Command("setpriv", "--reuid", "65534", "--clear-groups", "sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := w.host.Start(cmd); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

// privateNamespace is a path to a namespace in a directory that is another user's alone.
func (w *world) privateNamespace() string {
	w.t.Helper()
	w.host.Output(w.t, "sh", "-ec", "mkdir /run/theirs; touch /run/theirs/ns; unshare --net=/run/theirs/ns true; chown 65534 /run/theirs; chmod 700 /run/theirs")
	return "/run/theirs/ns"
}

// Who may write: root, and the group bridged, as a member's first group or a further one. Nobody else can so much as connect, and on a
// socket that somebody opened to all others may look and change nothing.
func TestPeers(t *testing.T) {
	w := newWorld(t)
	const group = 4242
	w.host.Output(t, "sh", "-ec", fmt.Sprintf("echo bridged:x:%d: | cat /etc/group - > /run/group; mount --bind /run/group /etc/group", group))
	w.daemon()
	if owner := w.host.Output(t, "stat", "-c", "%a %u %g", "/run/bridged/bridged.sock"); owner != fmt.Sprintf("660 0 %d\n", group) {
		t.Errorf("the socket is %s", owner)
	}
	may := map[string]syscall.Credential{
		"root":            {},
		"of the group":    {Uid: 65534, Gid: group},
		"a member of it":  {Uid: 65534, Gid: 65534, Groups: []uint32{7, group, 9}},
		"with the others": {Uid: 65533, Gid: 65533, Groups: []uint32{group}},
	}
	mayNot := map[string]syscall.Credential{
		"a stranger":      {Uid: 65534, Gid: 65534},
		"of root's group": {Uid: 65534, Gid: 0, Groups: []uint32{1, 2}},
	}
	changes := [][]string{
		{"network", "create", "n"}, {"network", "rm", "n"}, {"sandbox", "create", "--network", "none", "c"}, {"sandbox", "rm", "c"},
	}
	for who, c := range may {
		for _, args := range changes {
			if r := w.as(c, args...); r.code != 0 {
				t.Errorf("%s: %v", who, r)
			}
		}
	}
	w.create("--network", "none", "victim")
	refused := [][]string{
		{"network", "create", "n"}, {"network", "rm", "n"}, {"sandbox", "create", "c"}, {"sandbox", "rm", "victim"},
		{"port", "add", "victim", "80:80"}, {"port", "rm", "victim", "80:80"}, {"link", "add", "victim", "c"}, {"link", "rm", "victim", "c"},
	}
	look := [][]string{{"status"}, {"network", "ls"}, {"sandbox", "inspect", "victim"}, {"ruleset"}}
	for who, c := range mayNot {
		for _, args := range slices.Concat(refused, look) {
			if r := w.as(c, args...); r.code != 5 {
				t.Errorf("%s: %v", who, r)
			}
		}
	}
	w.host.Output(t, "chmod", "666", "/run/bridged/bridged.sock")
	before := w.snapshot(t)
	for who, c := range mayNot {
		for _, args := range refused {
			if r := w.as(c, args...); r.code != 5 || !strings.Contains(r.stderr, "be root or a member of the group bridged") {
				t.Errorf("%s, the socket is open to all: %v", who, r)
			}
		}
		for _, args := range look {
			if r := w.as(c, args...); r.code != 0 {
				t.Errorf("%s, the socket is open to all: %v", who, r)
			}
		}
	}
	unchanged(t, before, w.snapshot(t))
}
