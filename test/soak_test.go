package test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/flowtest"
)

const (
	soakWorkers = 8
	soakKinds   = 4 // of ports, which are protocols and families
	// keptOfAKind is how many sockets of a kind the daemon keeps for the next ports.
	keptOfAKind = 16
	// soakDatagrams: one cycle of so many gets a datagram from outside, which leaves entries in conntrack.
	soakDatagrams = 10
	// maxSoakGrowth is how much more memory of its own the daemon may have in the end than after the warm-up, in KiB: its heap breathes.
	maxSoakGrowth = 6 << 10
	// maxLog is how large the log may get in bytes: it is compacted when it is a MiB.
	maxLog = 2 << 20
)

// TestSoak: after thousands of cycles the daemon and the kernel hold what they held after the first hundreds. BRIDGED_SOAK=1 makes it ten
// thousand cycles of attaches and of publications, and a thousand networks.
func TestSoak(t *testing.T) {
	attaches, publications, networks := 300, 1000, 60
	if os.Getenv("BRIDGED_SOAK") != "" {
		attaches, publications, networks = 10000, 10000, 1000
	}
	w := newWorld(t)
	need(t, "conntrack", "ss")
	d := w.daemon("--ipv6")
	// Few addresses, so that the warm-up has given out all of them: what was given out is remembered.
	w.bridged("network", "create", "--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd00:77::/64", "--ip-range", "fd00:77::/120", "few")
	phases := []struct {
		name   string
		warmUp int
		cycles int
		cycle  func(context.Context, *client.Client, int) error
	}{
		{"attach, publish, detach", 260, attaches, w.soakAttach(t)},
		{"publish, unpublish", 300, publications, w.soakPublish()},
		{"network create, rm", 20, networks, soakNetwork},
	}
	w.firstPorts(t, d, soakKinds, "--network", "few", "-p", "80", "-p", "53/udp")
	idle := w.measure(t, d)
	for _, p := range phases {
		w.soak(t, d, p.warmUp, p.cycle)
		before := w.footprint(t, d, idle)
		began := time.Now()
		w.soak(t, d, p.cycles, p.cycle)
		took := time.Since(began)
		after := w.footprint(t, d, before)
		t.Logf("%s: %d cycles in %v, %v each\nbefore %v\nafter  %v", p.name, p.cycles, took.Round(time.Millisecond),
			(took / time.Duration(p.cycles)).Round(time.Microsecond), before, after)
		if after.memory > before.memory+maxSoakGrowth {
			t.Errorf("%s: %d KiB of memory, %d after the warm-up", p.name, after.memory, before.memory)
		}
		if after.logBytes > maxLog {
			t.Errorf("%s: the log has %d bytes", p.name, after.logBytes)
		}
		w.consistent(t)
	}
	for i := range soakWorkers {
		w.bridged("sandbox", "rm", fmt.Sprintf("stays%d", i))
	}
	w.bridged("network", "rm", "few")
	w.consistent(t)
	busy := d.goroutines()
	fresh := w.daemon("--ipv6").goroutines()
	for what, n := range busy {
		if n > fresh[what] && !strings.HasPrefix(what, "runtime.") {
			t.Errorf("%d goroutines after all that, %d in a new daemon: %s", n, fresh[what], what)
		}
	}
}

// soak makes cycles, with several workers at a time, each on a connection of its own.
func (w *world) soak(t testing.TB, d *daemon, cycles int, cycle func(context.Context, *client.Client, int) error) {
	t.Helper()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range soakWorkers {
		workers.Go(func() {
			c, err := client.Dial(fmt.Sprintf("unix:///proc/%d/root/run/bridged/bridged.sock", d.Cmd.Process.Pid))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for i := next.Add(1); i <= int64(cycles); i = next.Add(1) {
				if err := cycle(t.Context(), c, int(i)); err != nil {
					t.Errorf("cycle %d: %v", i, err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// firstPorts publishes ports of so many kinds, and waits until the daemon has made what it keeps for the next ones.
func (w *world) firstPorts(t testing.TB, d *daemon, kinds int, create ...string) {
	t.Helper()
	w.create(append(create, "first")...)
	w.bridged("sandbox", "rm", "first")
	for end := time.Now().Add(flowtest.Patience); d.unbound(t) != kinds*keptOfAKind; {
		if time.Now().After(end) {
			t.Fatalf("after the first ports the daemon keeps %d sockets for the next", d.unbound(t))
		}
	}
}

// unbound is how many sockets the daemon has that hold no port.
func (d *daemon) unbound(t testing.TB) (n int) {
	t.Helper()
	pid, err := unix.PidfdOpen(d.Cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pid)
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range all {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdGetfd(pid, number, 0)
		if err != nil {
			continue // it was closed just now
		}
		switch at, _ := unix.Getsockname(fd); at := at.(type) {
		case *unix.SockaddrInet4:
			if at.Port == 0 {
				n++
			}
		case *unix.SockaddrInet6:
			if at.Port == 0 {
				n++
			}
		}
		unix.Close(fd)
	}
	return n
}

// soakAttach makes a sandbox, publishes two ports and removes it.
func (w *world) soakAttach(t testing.TB) func(context.Context, *client.Client, int) error {
	var out net.PacketConn
	if err := w.lan.Do(func() (err error) { out, err = net.ListenPacket("udp4", ":0"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	return func(ctx context.Context, c *client.Client, i int) error {
		name := fmt.Sprintf("c%d", i)
		if _, err := c.CreateSandbox(ctx, client.SandboxCreate{Name: name, Network: "few", Ports: []string{"80"}}); err != nil {
			return err
		}
		added, err := c.AddPorts(ctx, client.PortsAdd{Sandbox: name, Ports: []string{"53/udp"}})
		if err != nil {
			return err
		}
		if i%soakDatagrams == 0 {
			to := netip.MustParseAddrPort(hostLAN4.String() + ":" + added.Ports[0].HostPort)
			if _, err := out.WriteTo([]byte("soak"), net.UDPAddrFromAddrPort(to)); err != nil {
				return err
			}
		}
		return c.RemoveSandbox(ctx, name)
	}
}

// soakPublish publishes and unpublishes ports of sandboxes that stay: one number that is chosen, and some that are given.
func (w *world) soakPublish() func(context.Context, *client.Client, int) error {
	for i := range soakWorkers {
		w.create("--network", "few", fmt.Sprintf("stays%d", i))
	}
	return func(ctx context.Context, c *client.Client, i int) error {
		spec := "80"
		if i%2 == 0 {
			spec = fmt.Sprintf("%d:80", 20000+i%100)
		}
		name := fmt.Sprintf("stays%d", i%soakWorkers)
		added, err := c.AddPorts(ctx, client.PortsAdd{Sandbox: name, Ports: []string{spec}})
		if err != nil {
			return err
		}
		return c.RemovePorts(ctx, name, []string{added.Ports[0].HostPort + ":80"})
	}
}

func soakNetwork(ctx context.Context, c *client.Client, i int) error {
	yes := i%2 == 0
	n, err := c.CreateNetwork(ctx, client.NetworkCreate{Name: fmt.Sprintf("n%d", i), EnableIPv6: &yes, Internal: i%3 == 0})
	if err != nil {
		return err
	}
	return c.RemoveNetwork(ctx, n.ID)
}

// footprint is what the daemon and its objects take.
type footprint struct {
	memory   int // the daemon's own, in KiB
	threads  int
	counts   map[string]int
	logBytes int64
}

func (f footprint) String() string {
	return fmt.Sprintf("%d KiB, %d threads, %d bytes of log, %v", f.memory, f.threads, f.logBytes, f.counts)
}

// footprint waits until there is nothing of which there is more than in limit, and says what there is. That nothing is missing either, consistent says.
func (w *world) footprint(t testing.TB, d *daemon, limit footprint) footprint {
	t.Helper()
	// The kernel takes namespaces and connections away behind everybody's back: nothing but a look tells.
	for end := time.Now().Add(3 * flowtest.Patience); ; {
		more := ""
		if kept := d.unbound(t); kept != soakKinds*keptOfAKind { // it makes them again when a load is over
			more += fmt.Sprintf(" %d sockets kept for the next ports, not %d;", kept, soakKinds*keptOfAKind)
		}
		f := w.measure(t, d)
		for what, n := range f.counts {
			if n > limit.counts[what] {
				more += fmt.Sprintf(" %d %s, not %d;", n, what, limit.counts[what])
			}
		}
		if more == "" {
			return f
		}
		if time.Now().After(end) {
			t.Errorf("there are%s", more)
			return f
		}
	}
}

func (w *world) measure(t testing.TB, d *daemon) footprint {
	t.Helper()
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var f footprint
	if _, rest, ok := strings.Cut(string(rollup), "Anonymous:"); ok {
		fmt.Sscan(rest, &f.memory)
	}
	f.threads = d.memory(t, "Threads")
	links := linksOf(t, w.host)
	f.counts = map[string]int{
		"descriptors": d.files(t),
		"namespaces":  len(w.names("/run/netns")),
		"links":       len(links),
		"host ends":   len(w.sandboxLinks()),
		// The ids that the kernel has given the namespaces of links' other ends; two are those of the neighbours.
		"peers":     len(lines(w.host.Output(t, "ip", "netns", "list-id"))) - 2,
		"addresses": len(lines(w.host.Output(t, "ip", "-o", "addr"))),
		"routes":    len(lines(w.host.Output(t, "ip", "route", "show", "table", "all"))),
		"elements":  strings.Count(w.nft("list", "ruleset"), ","),
		"conntrack": len(lines(w.host.Output(t, "conntrack", "-L"))),
		"sockets":   len(lines(w.host.Output(t, "ss", "-Hantu"))),
		"mounts":    strings.Count(w.host.Output(t, "cat", "/proc/self/mountinfo"), "/run/netns/"),
	}
	err = w.host.Do(func() error {
		info, err := os.Stat("/run/bridged/log")
		if err == nil {
			f.logBytes = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// goroutines ends the daemon with SIGQUIT, which shows them, and counts them by the function that made them.
func (d *daemon) goroutines() map[string]int {
	d.w.t.Helper()
	d.Cmd.Process.Signal(syscall.SIGQUIT)
	d.Wait()
	counts := make(map[string]int)
	for _, g := range regexp.MustCompile(`(?m)^goroutine \d+ `).Split(d.Log.String(), -1)[1:] {
		made := regexp.MustCompile(`created by (\S+)`).FindStringSubmatch(g)
		if made == nil {
			made = []string{"", "the runtime"}
		}
		counts[made[1]]++
	}
	if len(counts) == 0 {
		d.w.t.Fatalf("SIGQUIT showed no goroutines:\n%s", d.Log.String())
	}
	return counts
}
