package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/bench/report"
)

// insideVariable is set in the inner process: the options, as JSON.
const insideVariable = "BRIDGED_BENCH_INSIDE"

// resultFD is where the inner process writes its report.
const resultFD = 3

// inner is what the inner process is told.
type inner struct {
	Quick  bool
	Only   string
	Budget time.Duration // 0: by default
	Daemon string        // "": it could not be built, because of DaemonMissing
	// Version of what is measured.
	Version string
	// DaemonMissing is why there is no daemon.
	DaemonMissing string
	// Pause is what runs in Docker's containers, with the same of it.
	Pause, PauseMissing string
	ControlGroup        string
	// Built is the directory of what was built. It is removed as soon as its files are open.
	Built string
}

// measure starts this program again in namespaces of its own and returns what that reports. The processes in there, their mounts and
// network namespaces end with it: the kernel sees to that, even when somebody kills us. Control groups stay then, until the next run.
func measure(ctx context.Context, o options) (*report.Report, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("it makes network namespaces, so it must be root")
	}
	dir, err := os.MkdirTemp("", "bridged-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in := inner{Quick: o.quick, Only: o.only, Budget: o.budget, Daemon: o.daemon, Version: version(ctx), Built: dir}
	if in.Daemon == "" {
		if in.Daemon, err = build(ctx, dir, "cmd/bridged", in.Version); err != nil {
			in.DaemonMissing = err.Error()
		}
	}
	if _, err := exec.LookPath("dockerd"); err == nil {
		if in.Pause, err = build(ctx, dir, "bench/pause", in.Version); err != nil {
			in.PauseMissing = err.Error()
		}
	}
	in.ControlGroup = controlGroup()
	if err := removeStaleControlGroups(controlGroupRoot); err != nil {
		fmt.Fprintln(os.Stderr, "bench: control groups of a run that was killed are left:", err)
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	r, err := isolated(ctx, string(text))
	return r, errors.Join(err, removeControlGroups(controlGroupRoot, in.ControlGroup))
}

// build makes a program of this module as the Makefile makes the daemon.
func build(ctx context.Context, dir, program, version string) (string, error) {
	fmt.Fprintln(os.Stderr, "building", program)
	binary := filepath.Join(dir, filepath.Base(program))
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-tags", "nethttpomithttp2,purego", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", binary,
		"github.com/bridged/bridged/"+program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build it here: %w %s", err, strings.TrimSpace(string(out)))
	}
	return binary, nil
}

// version is what git says of this directory.
func version(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func isolated(ctx context.Context, in string) (*report.Report, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), insideVariable+"="+in)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot make namespaces: %w", err)
	}
	r := new(report.Report)
	decodeErr := json.NewDecoder(read).Decode(r)
	if err := errors.Join(cmd.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	return r, decodeErr
}

// inside is the inner process: the first of its namespace of processes.
func inside() (code int) {
	signal.Notify(make(chan os.Signal, 1), endings...) // a terminal sends them to us, too, but the outer process decides
	var in inner
	err := json.Unmarshal([]byte(os.Getenv(insideVariable)), &in)
	if err == nil {
		err = furnish(&in)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	r := newRun(in, raiseOpenFiles()).all(context.Background())
	if err := json.NewEncoder(os.NewFile(resultFD, "report")).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// furnish makes the fresh namespaces habitable: no mount is seen outside, none of the host's network namespaces is kept alive by a copy of
// its mount, /run is empty, /proc shows our own processes. Binaries may be in the old /run, so they are opened before.
func furnish(in *inner) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot make mounts private: %w", err)
	}
	if err := forgetNamespaces(); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount /proc: %w", err)
	}
	for _, program := range []*string{&in.Daemon, &in.Pause} {
		if *program == "" {
			continue
		}
		fd, err := unix.Open(*program, unix.O_RDONLY|unix.O_CLOEXEC, 0) // it stays open
		if err != nil {
			return fmt.Errorf("cannot open %s: %w", *program, err)
		}
		*program = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	if err := os.RemoveAll(in.Built); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cannot mount /run: %w", err)
	}
	return cover("/etc", "/opt")
}

// cover keeps what peers write in directories from the host: Docker Engine leaves files there. Kernels without overlayfs don't have it.
func cover(dirs ...string) error {
	for _, dir := range dirs {
		upper, work := "/run/covered"+dir+"/upper", "/run/covered"+dir+"/work"
		if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil {
			return err
		}
		err := unix.Mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work)
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot cover %s: %w", dir, err)
		}
	}
	return nil
}

// forgetNamespaces unmounts the copies of the host's network namespaces.
func forgetNamespaces() error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.Contains(lines.Text(), " - nsfs ") {
			points = append(points, fields[4])
		}
	}
	for _, p := range points {
		_ = unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // one that is hidden by another mount can't be reached, and does no harm but live on
	}
	return nil
}
