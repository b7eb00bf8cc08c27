package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// space is a place to act in: a network namespace and, for a host, a mount namespace. Safe for use by several goroutines.
type space struct {
	name string
	net  *os.File
	mnt  *os.File // nil: the test's own

	spawner chan func() // made by the first call of start
	once    sync.Once
}

// newSpace makes a network namespace with lo up. A host gets its own mount namespace too, with an empty /run and a /sys of
// its network.
func newSpace(t testing.TB, name string, host bool) *space {
	t.Helper()
	s := &space{name: name}
	err := onNewThread(func() (err error) {
		flags := unix.CLONE_NEWNET
		if host {
			flags |= unix.CLONE_NEWNS
		}
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if s.net, err = os.Open("/proc/thread-self/ns/net"); err != nil || !host {
			return err
		}
		if s.mnt, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return err
		}
		return errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"),
			unix.Mount("sysfs", "/sys", "sysfs", 0, ""),
		)
	})
	if err != nil {
		t.Fatalf("cannot make namespace %s: %v", name, err)
	}
	t.Cleanup(s.close)
	// Addresses are usable at once: nobody else could have them.
	s.sysctl(t, "net/ipv6/conf/all/accept_dad", "0")
	s.sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	s.ip(t, "link set lo up")
	return s
}

// open is the network namespace at a path, as seen from s.
func (s *space) open(t testing.TB, name, path string) *space {
	t.Helper()
	n := &space{name: name}
	err := s.do(func() (err error) {
		n.net, err = os.Open(path)
		return err
	})
	if err != nil {
		t.Fatalf("cannot open namespace %s: %v", name, err)
	}
	t.Cleanup(n.close)
	return n
}

func (s *space) close() {
	s.net.Close()
	if s.mnt != nil {
		s.mnt.Close()
	}
	if s.spawner != nil {
		close(s.spawner)
	}
}

// onNewThread runs f in a thread that ends with it.
func onNewThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not used again
		done <- f()
	}()
	return <-done
}

// do runs f in the space: what it opens and starts belongs there.
func (s *space) do(f func() error) error {
	return onNewThread(func() error {
		if err := s.enter(); err != nil {
			return err
		}
		return f()
	})
}

func (s *space) enter() error {
	if s.mnt != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(int(s.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("setns to the mounts of %s: %w", s.name, err)
		}
	}
	if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns to %s: %w", s.name, err)
	}
	return nil
}

// start starts a process in the space that must be waited for by the caller, and that dies with the test.
func (s *space) start(cmd *exec.Cmd) error {
	s.once.Do(func() {
		s.spawner = make(chan func())
		ready := make(chan error)
		// The parent-death signal follows the thread, not the process: it must live as long as the space.
		go func() {
			runtime.LockOSThread()
			ready <- s.enter()
			for f := range s.spawner {
				f()
			}
		}()
		if err := <-ready; err != nil {
			panic(err)
		}
	})
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	done := make(chan error)
	s.spawner <- func() { done <- cmd.Start() }
	return <-done
}

// output runs a command in the space and returns what it printed. A failure ends the test.
func (s *space) output(t testing.TB, name string, args ...string) string {
	t.Helper()
	return s.input(t, "", name, args...)
}

// input is output for a command that reads text.
func (s *space) input(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	err := s.do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
		return cmd.Run()
	})
	if err != nil {
		t.Fatalf("in %s: %s %s: %v\n%s%s", s.name, name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// ip runs lines of ip commands in the space, as one batch.
func (s *space) ip(t testing.TB, lines ...string) {
	t.Helper()
	s.input(t, strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
}

// sysctl writes one setting, named by its path under /proc/sys.
func (s *space) sysctl(t testing.TB, name, value string) {
	t.Helper()
	err := s.do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatalf("in %s: cannot set %s to %s: %v", s.name, name, value, err)
	}
}

func (s *space) readSysctl(t testing.TB, name string) string {
	t.Helper()
	var text []byte
	err := s.do(func() (err error) {
		text, err = os.ReadFile("/proc/sys/" + name)
		return err
	})
	if err != nil {
		t.Fatalf("in %s: %v", s.name, err)
	}
	return strings.TrimSpace(string(text))
}

// onFirstCPU makes the calling thread send its packets from the first CPU that it may use. A packet between namespaces
// waits in the queue of the CPU that sends it: one queue keeps packets in order.
func onFirstCPU() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for i := range 1024 {
		if all.IsSet(i) {
			one.Set(i)
			break
		}
	}
	return unix.SchedSetaffinity(0, &one)
}
