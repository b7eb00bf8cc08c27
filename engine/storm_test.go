package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/netns"
)

const (
	stormClients         = 64
	stormTime, stormLong = 7 * time.Second, time.Minute
	// stuck is how long a single request may take before the storm ends with all goroutines shown.
	stuck = 30 * time.Second
)

// TestStorm: clients create, attach, publish, link, share, allocate and remove at random, through the server on its socket, while
// others look. What was acknowledged is there in the end and nothing else is, the kernel is as wanted, a restart writes nothing,
// and when everything was given back, nothing is left.
//
// Each storm is a process of its own, with its own network and mounts: all that it makes goes with it. BRIDGED_SEED repeats the draws of
// a storm, as far as clients that run at a time can be repeated; BRIDGED_SOAK=1 makes it a minute long.
func TestStorm(t *testing.T) {
	needRoot(t)
	for name, protection := range map[string]string{"owned": "auto", "vandals": "monitor"} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv("BRIDGED_STORM") != "" {
				newStorm(t, protection).run()
				return
			}
			seed := os.Getenv("BRIDGED_SEED")
			if seed == "" {
				seed = strconv.FormatUint(rand.Uint64(), 10)
			}
			t.Logf("repeat it with BRIDGED_SEED=%s", seed)
			cmd := exec.Command(os.Args[0], "-test.run=^TestStorm$/^"+name+"$", "-test.v", "-test.timeout=10m")
			cmd.Env = append(os.Environ(), "BRIDGED_STORM=1", "BRIDGED_SEED="+seed, "TMPDIR="+t.TempDir())
			// The parent-death signal follows the thread.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// storm is a world with an engine, a server, and clients.
type storm struct {
	t       *testing.T
	cfg     Config
	seed    uint64
	vandals bool
	given   []string // paths of namespaces for sandboxes, some for each client
	mounts  []string // of these, and of those that the machine had before
	socket  string
	e       *Engine
	end     func()       // of the server and the engine
	steps   atomic.Int64 // of a reconcile at the start
	ledger  *ledger
	clients []*stormClient
	calls   atomic.Int64
}

// newStorm takes the process's namespaces for the world.
func newStorm(t *testing.T, protection string) *storm {
	seed, err := strconv.ParseUint(os.Getenv("BRIDGED_SEED"), 10, 64)
	if err != nil {
		t.Fatalf("BRIDGED_SEED: %v", err)
	}
	if err := errors.Join(unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"), unix.Mount("sysfs", "/sys", "sysfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	command(t, "ip", "link", "set", "lo", "up")
	s := &storm{t: t, cfg: testConfig(t), seed: seed, vandals: protection == "monitor", socket: "/run/socket", ledger: newLedger()}
	s.cfg.Protection = protection
	s.cfg.Log = slog.New(&stormLog{s: s})
	for i := range stormClients {
		s.given = append(s.given, fmt.Sprintf("/run/given%d", i))
		ns, err := netns.Make(s.given[i], "")
		if err != nil {
			t.Fatal(err)
		}
		ns.Close()
	}
	s.mounts = mountedNamespaces(t)
	return s
}

// stormLog counts the steps that a start needs, and shows what is an error.
type stormLog struct{ s *storm }

func (l *stormLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *stormLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *stormLog) WithGroup(string) slog.Handler            { return l }
func (l *stormLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "reconcile" {
		l.s.steps.Add(1)
	}
	if r.Level >= slog.LevelError && !l.s.vandals {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
		l.s.t.Errorf("the log says: %s", text)
	}
	return nil
}

// start runs the engine and the server.
func (s *storm) start() {
	e, err := New(s.cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	var stopEngine func()
	s.e, stopEngine = run(s.t, e)
	listener, err := api.Listen(s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.New(e, api.Options{Log: s.cfg.Log}).Serve(ctx, listener) }()
	s.end = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Serve: %v", err)
		}
		stopEngine()
	}
}

func (s *storm) dial() *client.Client {
	c, err := client.Dial("unix://" + s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *storm) run() {
	t := s.t
	goroutines := goleak.IgnoreCurrent()
	s.start()
	s.warmUp()
	files := openFiles(t)
	programme := rulesetLines(t)
	s.blow()
	t.Logf("%d calls; %s", s.calls.Load(), s.ledger.counts())
	s.covered()
	s.equal("after the storm")
	s.promised()
	if repairs := s.e.Status().Repairs; !s.vandals && repairs > 0 || s.vandals && repairs == 0 {
		t.Errorf("%d repairs", repairs)
	}

	links, state := settings(t), s.e.State()
	s.end()
	s.steps.Store(0)
	s.start()
	if n := s.e.Status().Transactions; n > 1 {
		t.Errorf("the restart took %d transactions, want at most the adoption", n)
	}
	if n := s.steps.Load(); n > 0 {
		t.Errorf("the restart took %d steps in the kernel", n)
	}
	s.same("links after the restart", settings(t), links)
	if now := s.e.State(); !reflect.DeepEqual(now, state) {
		t.Errorf("the restart changed the state:\n%+v\n---\n%+v", state, now)
	}
	s.equal("after the restart")
	s.promised()

	s.giveBack()
	s.equal("after everything was given back")
	s.promised()
	s.nothingLeft(programme)
	s.e.settle()
	s.e.host.(*machine).stock.Close() // its sockets are for whoever comes next
	if !eventually(func() bool { return len(openFiles(t)) <= len(files) }) {
		t.Errorf("descriptors at the start and now:\n%s\n---\n%s", strings.Join(files, "\n"), strings.Join(openFiles(t), "\n"))
	}
	s.end()
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
}

// warmUp makes what is made once and stays.
func (s *storm) warmUp() {
	c := newStormClient(s, 0)
	c.create()
	c.giveBack()
	s.e.settle()
}

// blow lets everybody loose for the time of a storm.
func (s *storm) blow() {
	length := stormTime
	if os.Getenv("BRIDGED_SOAK") != "" {
		length = stormLong
	}
	over := make(chan struct{})
	timer := time.AfterFunc(length, func() { close(over) })
	defer timer.Stop()
	var all sync.WaitGroup
	for i := range stormClients {
		c := newStormClient(s, i)
		s.clients = append(s.clients, c)
		all.Go(func() { c.loop(over) })
	}
	for i := range 4 {
		all.Go(func() { s.look(i, over) })
	}
	if s.vandals {
		all.Go(func() { s.vandalize(over) })
	}
	all.Wait()
	for _, c := range s.clients {
		c.api.Close()
	}
}

// covered says which calls never came through, of those that were tried often.
func (s *storm) covered() {
	const often = 20
	for _, what := range sortedKeys(s.ledger.calls) {
		if n := s.ledger.calls[what]; n.done == 0 && n.refused >= often && !s.vandals {
			s.t.Errorf("the storm did not %s", what)
		}
	}
}

// within makes one call; a call that does not come back ends the process, with all goroutines shown.
func (s *storm) within(what string, f func() error) error {
	s.calls.Add(1)
	timer := time.AfterFunc(stuck, func() {
		buf := make([]byte, 16<<20)
		panic(fmt.Sprintf("%s takes longer than %s\n%s", what, stuck, buf[:runtime.Stack(buf, true)]))
	})
	defer timer.Stop()
	return f()
}

// look reads everything again and again: what is shown is never half.
func (s *storm) look(i int, over <-chan struct{}) {
	c, ctx, rnd := s.dial(), context.Background(), rand.New(rand.NewPCG(s.seed, uint64(1000+i)))
	defer c.Close()
	for n := 0; ; n++ {
		select {
		case <-over:
			return
		default:
		}
		err := s.within("reading", func() error {
			switch rnd.IntN(6) {
			case 0:
				_, err := c.Status(ctx)
				return err
			case 1:
				all, err := c.Sandboxes(ctx)
				if err != nil || len(all) == 0 {
					return err
				}
				_, err = c.Sandbox(ctx, all[rnd.IntN(len(all))].ID)
				return maybeGone(err)
			case 2:
				all, err := c.Networks(ctx)
				if err != nil {
					return err
				}
				_, err = c.Network(ctx, all[rnd.IntN(len(all))].ID)
				return maybeGone(err)
			case 3:
				_, err := c.Ports(ctx, "")
				return err
			case 4:
				_, err := c.Links(ctx, "")
				return err
			}
			if i > 0 || n%8 > 0 { // it stops everybody else
				return nil
			}
			r, err := c.Ruleset(ctx, bridged.RulesetDiff)
			if err == nil && r.Differs && !s.vandals {
				return fmt.Errorf("the kernel differs from what is wanted:\n%s", r.Text)
			}
			return err
		})
		if err != nil {
			s.t.Errorf("looking: %v", err)
			return
		}
	}
}

func maybeGone(err error) error {
	if errors.Is(err, bridged.ErrNotFound) {
		return nil
	}
	return err
}

// vandalize takes things away that are ours, one after the other.
func (s *storm) vandalize(over <-chan struct{}) {
	rnd := rand.New(rand.NewPCG(s.seed, 2000))
	pick := func(prefix string) string {
		all := slices.DeleteFunc(hostLinks(s.t), func(l string) bool { return !strings.HasPrefix(l, prefix) })
		if len(all) == 0 {
			return "docker0"
		}
		return all[rnd.IntN(len(all))]
	}
	pace := time.NewTicker(200 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-over:
			return
		case <-pace.C:
		}
		var words string
		switch rnd.IntN(9) {
		case 0:
			words = "nft flush ruleset"
		case 1:
			words = "nft delete table bridge bridged"
		case 2:
			words = "nft flush map inet bridged publish4any"
		case 3, 4:
			words = "ip link del " + pick("bv")
		case 5:
			words = "ip link set " + pick("bv") + " nomaster"
		case 6:
			words = "ip link del " + pick("bd")
		case 7:
			words = "ip link set " + pick("bd") + " down"
		case 8:
			words = "ip addr flush dev " + pick("bd")
		}
		args := strings.Fields(words)
		_ = exec.Command(args[0], args[1:]...).Run() // it may be gone already
	}
}

// equal holds the kernel against what is wanted: rules, links, addresses and routes.
func (s *storm) equal(when string) {
	s.t.Helper()
	ctx := context.Background()
	differs := func() (string, error) {
		s.e.settle()
		_ = s.e.mends.wait(ctx, every[suspicion])
		_ = s.e.lost.wait(ctx, every[string])
		_ = s.e.repairs.wait(ctx, every[struct{}])
		s.e.world.Lock()
		defer s.e.world.Unlock()
		plan, _, err := s.e.difference(ctx, nil)
		return plan.String(), err
	}
	var text string
	var err error
	if eventually(func() bool { text, err = differs(); return err != nil || text == "" }); err != nil || text != "" {
		s.t.Errorf("%s, the kernel differs (%v):\n%s", when, err, text)
	}
}

// eventually waits for what follows from what the kernel has announced already, or will.
func eventually(holds func() bool) bool {
	for end := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// command runs a command that must succeed in the process's own namespaces.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &errs // it may say that others changed something meanwhile
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &errs)
	}
	return string(out)
}

// hostLinks are the names of the host's links.
func hostLinks(t testing.TB) []string {
	t.Helper()
	var all []struct{ IfName string }
	if err := json.Unmarshal([]byte(command(t, "ip", "-j", "link")), &all); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range all {
		names = append(names, l.IfName)
	}
	return names
}

// settings are the host's links and addresses with what they are set to, and not what the kernel counts.
func settings(t testing.TB) (all []string) {
	t.Helper()
	for _, words := range []string{"-o -d link", "-o addr"} {
		for line := range strings.Lines(command(t, "ip", strings.Fields(words)...)) {
			all = append(all, regexp.MustCompile(`(hello|gc|tcn|topology_change|message_age|forward_delay|hold)_timer +\S+|link-netns\S* \S+`).ReplaceAllString(line, ""))
		}
	}
	return all
}

// openFiles are the process's open files.
func openFiles(t testing.TB) (all []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil { // the one that reads the directory is closed by now
			all = append(all, to)
		}
	}
	slices.Sort(all)
	return all
}

// rulesetLines are what nft shows, without counters.
func rulesetLines(t testing.TB) []string {
	t.Helper()
	return strings.Split(command(t, "nft", "-s", "list", "ruleset"), "\n")
}

// giveBack removes everything by the names that the clients know.
func (s *storm) giveBack() {
	var all sync.WaitGroup
	for _, c := range s.clients {
		all.Go(c.giveBack)
	}
	all.Wait()
	c := s.dial()
	defer c.Close()
	networks, err := c.Networks(context.Background())
	if err != nil {
		s.t.Error(err)
	}
	for _, n := range networks {
		if n.Name == "host" || n.Name == "none" || n.Name == "bridge" {
			continue
		}
		if err := c.RemoveNetwork(context.Background(), n.ID); err != nil {
			s.t.Error(err)
		}
		s.violated(s.ledger.forgetNetwork(n.ID))
	}
}

// mountedNamespaces are the lines of mountinfo about namespaces, also of those that the storm's own /run hides.
func mountedNamespaces(t *testing.T) (lines []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " /run/") && strings.Contains(line, " - nsfs ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// nothingLeft looks for leftovers, in memory and in the kernel.
func (s *storm) nothingLeft(programme []string) {
	t, e := s.t, s.e
	if now := rulesetLines(t); !slices.Equal(now, programme) {
		t.Errorf("the rules at the start and now:\n%s\n---\n%s", strings.Join(programme, "\n"), strings.Join(now, "\n"))
	}
	if links := slices.DeleteFunc(hostLinks(t), func(l string) bool { return l == "lo" || l == "docker0" }); len(links) > 0 {
		t.Errorf("links are left: %s", links)
	}
	if names, err := os.ReadDir(namespaceDir); err != nil || len(names) > 0 {
		t.Errorf("namespaces are left: %v, %v", names, err)
	}
	for _, line := range mountedNamespaces(t) {
		if !slices.Contains(s.mounts, line) {
			t.Errorf("a namespace is still mounted: %s", line)
		}
	}
	for _, path := range s.given {
		if links := in(t, path, "ip", "-br", "link"); strings.Contains(links, "eth") {
			t.Errorf("in %s is left:\n%s", path, links)
		}
	}
	if text := command(t, "ss", "-Hanu"); text != "" {
		t.Errorf("sockets are left:\n%s", text)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.index
	for what, n := range map[string]int{
		"sandboxes": len(x.Sandboxes), "endpoints": len(x.Endpoints), "ports": len(x.Ports), "links": len(x.Links),
		"names of sandboxes": len(x.sandboxNames), "namespaces": len(x.namespaces), "MACs": len(x.macs), "host ends": len(x.hostEnds),
		"users": len(x.users), "members": len(x.members), "endpoints by sandbox": len(x.endpoints), "ports by sandbox": len(x.ports),
		"links by stack": len(x.links), "addresses": len(x.addrs), "reservations": len(e.book.m), "sockets": len(e.book.sockets),
		"locks": len(e.locks.m), "networks beyond the first three": len(x.Networks) - 3, "pools": len(x.pools) - 2,
	} {
		if n != 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
	// Each address that was ever given out can be had again.
	for id, pool := range x.pools {
		next, _ := pool.History()
		a := x.Networks[id.Network].IPv4.Gateway
		if id.IPv6 {
			a = x.Networks[id.Network].IPv6.Gateway
		}
		for a = a.Next(); a.Less(next); a = a.Next() {
			if err := pool.Claim(a); err != nil {
				t.Errorf("an address that nobody has: %v", err)
			}
		}
	}
}

// taken says that nobody else can have a port.
func taken(network, address string) bool {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, address)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, unix.EADDRINUSE)
	}
	l, err := net.Listen(network, address)
	if err == nil {
		l.Close()
	}
	return errors.Is(err, unix.EADDRINUSE)
}

// namespacesOf are the names in the directory of namespaces.
func namespacesOf(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(namespaceDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
