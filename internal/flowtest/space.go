package flowtest

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

// The main goroutine keeps the main thread: a goroutine that ends in a foreign namespace must take its thread along, and
// the main thread can't end.
func init() { runtime.LockOSThread() }

// Space is a place to act in: a network namespace and, for a host, a mount namespace. Safe for use by several goroutines.
type Space struct {
	Name string
	net  *os.File
	mnt  *os.File // nil: the test's own

	spawner chan func() // made by the first call of start
	once    sync.Once
}

// NewSpace makes a network namespace with lo up. A host gets its own mount namespace too, with an empty /run and a /sys of
// its network, where the machine's cgroups still are.
func NewSpace(t testing.TB, name string, host bool) *Space {
	t.Helper()
	s := &Space{Name: name}
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
			os.Mkdir("/run/cgroup", 0o755),
			unix.Mount("/sys/fs/cgroup", "/run/cgroup", "", unix.MS_BIND|unix.MS_REC, ""),
			unix.Mount("sysfs", "/sys", "sysfs", 0, ""),
			unix.Mount("/run/cgroup", "/sys/fs/cgroup", "", unix.MS_MOVE, ""),
			os.Remove("/run/cgroup"),
		)
	})
	if err != nil {
		t.Fatalf("cannot make namespace %s: %v", name, err)
	}
	t.Cleanup(s.Close)
	// Addresses are usable at once: nobody else could have them.
	s.Sysctl(t, "net/ipv6/conf/all/accept_dad", "0")
	s.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	s.IP(t, "link set lo up")
	return s
}

// Open is the network namespace at a path, as seen from s.
func (s *Space) Open(t testing.TB, name, path string) *Space {
	t.Helper()
	n := &Space{Name: name}
	err := s.Do(func() (err error) {
		n.net, err = os.Open(path)
		return err
	})
	if err != nil {
		t.Fatalf("cannot open namespace %s: %v", name, err)
	}
	t.Cleanup(n.Close)
	return n
}

// Close forgets the namespaces: they end with their last process. What the test makes and opens is closed with it.
func (s *Space) Close() {
	s.net.Close()
	if s.mnt != nil {
		s.mnt.Close()
	}
	if s.spawner != nil {
		close(s.spawner)
	}
}

// Path is a file that programs can open the network namespace by.
func (s *Space) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.net.Fd()) }

// onNewThread runs f in a thread that ends with it.
func onNewThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not used again
		done <- f()
	}()
	return <-done
}

// Do runs f in the space: what it opens and starts belongs there.
func (s *Space) Do(f func() error) error {
	return onNewThread(func() error {
		if err := s.enter(); err != nil {
			return err
		}
		return f()
	})
}

func (s *Space) enter() error {
	if s.mnt != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(int(s.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("setns to the mounts of %s: %w", s.Name, err)
		}
	}
	if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("setns to %s: %w", s.Name, err)
	}
	return nil
}

// Start starts a process in the space that must be waited for by the caller, and that dies with the test.
func (s *Space) Start(cmd *exec.Cmd) error {
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

// Output runs a command in the space and returns what it printed. A failure ends the test.
func (s *Space) Output(t testing.TB, name string, args ...string) string {
	t.Helper()
	return s.Input(t, "", name, args...)
}

// Input is output for a command that reads text.
func (s *Space) Input(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	err := s.Do(func() error {
		cmd := exec.Command(name, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
		return cmd.Run()
	})
	if err != nil {
		t.Fatalf("in %s: %s %s: %v\n%s%s", s.Name, name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// IP runs lines of IP commands in the space, as one batch.
func (s *Space) IP(t testing.TB, lines ...string) {
	t.Helper()
	s.Input(t, strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
}

// Addresses is what the ip command shows of the space's links and their addresses. Who asks for one link makes the kernel look after its
// carrier, which it would do in its own time else: what is shown is what stays. A bridge's carrier follows those of its ports, hence twice;
// a link may go meanwhile.
func (s *Space) Addresses(t testing.TB) string {
	t.Helper()
	const ask = `ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/link show dev \1/' | ip -force -batch - > /dev/null 2>&1 || true; `
	return s.Output(t, "sh", "-c", ask+ask+"ip addr")
}

// Sysctl writes one setting, named by its path under /proc/sys.
func (s *Space) Sysctl(t testing.TB, name, value string) {
	t.Helper()
	err := s.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
	if err != nil {
		t.Fatalf("in %s: cannot set %s to %s: %v", s.Name, name, value, err)
	}
}

// ReadSysctl reads one setting, named by its path under /proc/sys.
func (s *Space) ReadSysctl(t testing.TB, name string) string {
	t.Helper()
	var text []byte
	err := s.Do(func() (err error) {
		text, err = os.ReadFile("/proc/sys/" + name)
		return err
	})
	if err != nil {
		t.Fatalf("in %s: %v", s.Name, err)
	}
	return strings.TrimSpace(string(text))
}

// OnFirstCPU makes the calling thread send its packets from the first CPU that it may use. A packet between namespaces
// waits in the queue of the CPU that sends it: one queue keeps packets in order.
func OnFirstCPU() error {
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

// Join makes a link from s, a router, to a neighbour: .1 and ::1 of the prefixes are s, .2 and ::2 the neighbour's eth0, whose default
// route is s.
func (s *Space) Join(t testing.TB, link string, to *Space, prefix4, prefix6 string) {
	t.Helper()
	peer := to.Name + "eth0"
	s.IP(t,
		fmt.Sprintf("link add %s type veth peer name %s", link, peer),
		fmt.Sprintf("link set %s netns %s name eth0", peer, to.Path()),
		fmt.Sprintf("link set %s up", link),
		fmt.Sprintf("addr add %s.1/24 dev %s", prefix4, link),
		fmt.Sprintf("addr add %s::1/64 dev %s nodad", prefix6, link),
	)
	to.IP(t,
		"link set eth0 up",
		fmt.Sprintf("addr add %s.2/24 dev eth0", prefix4),
		fmt.Sprintf("addr add %s::2/64 dev eth0 nodad", prefix6),
		fmt.Sprintf("route add default via %s.1", prefix4),
		fmt.Sprintf("route add default via %s::1", prefix6),
	)
	// Who asks for a link makes the kernel look after its carrier, which it would do within a second else: what a test sees first is what stays.
	s.IP(t, "link show dev "+link)
	to.IP(t, "link show dev eth0")
}
