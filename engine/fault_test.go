package engine

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/fault"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/link"
)

// allFaults is for who changes what these tests are about, and has some minutes: else each operation meets each fault, and each of its steps some
// fault, but not each step each fault.
var allFaults = flag.Bool("faults", false, "every fault at every step of every operation")

// aFault is something that goes wrong once, or from some time on.
type aFault struct {
	name string
	// passes: an operation gets over it.
	passes bool
	// times is how often it goes wrong.
	times int
	// told: the machine says, sooner or later, that something is to be looked at.
	told bool
	// tries is at how many opportunities, without -faults.
	tries int
	// at is the injection at the nth opportunity, which counts from 1. It is called for every datagram.
	at func(n int) func(fault.Datagram) (fault.Fault, bool)
	// meanwhile is what others do then.
	meanwhile func()
}

const (
	batchBegin = 0x10 // NFNL_MSG_BATCH_BEGIN
	forever    = 1 << 30
)

func isBatch(d fault.Datagram) bool {
	return d.Protocol == unix.NETLINK_NETFILTER && d.Messages[0].Kind == batchBegin
}

// nth is the fault at the nth datagram that fits.
func nth(f fault.Fault, fits func(fault.Datagram) bool) func(int) func(fault.Datagram) (fault.Fault, bool) {
	return func(n int) func(fault.Datagram) (fault.Fault, bool) {
		seen := 0
		return func(d fault.Datagram) (fault.Fault, bool) {
			if fits != nil && !fits(d) {
				return fault.Fault{}, false
			}
			seen++
			return f, seen >= n
		}
	}
}

// refused is the refusal of the nth message, in turn by what the kernel may refuse it by. Of a transaction these are the first message, one in
// the middle, and the last.
func refused(n int) func(fault.Datagram) (fault.Fault, bool) {
	seen := 0
	return func(d fault.Datagram) (fault.Fault, bool) {
		for _, i := range targets(d) {
			if seen++; seen == n {
				errnos := refusals(d.Protocol, d.Messages[i].Kind)
				return fault.Fault{Refusals: []fault.Refusal{{Message: i, Errno: errnos[n%len(errnos)]}}}, true
			}
		}
		return fault.Fault{}, false
	}
}

func targets(d fault.Datagram) []int {
	if isBatch(d) {
		last := len(d.Messages) - 2 // the end is no request
		return slices.Compact([]int{1, (last + 1) / 2, last})
	}
	all := make([]int, len(d.Messages))
	for i := range all {
		all[i] = i
	}
	return all
}

// refusals are what the kernel may refuse a message by, without lying: that something is there, or is not, is not among it where we would
// believe it.
func refusals(protocol int, kind uint16) []unix.Errno {
	switch {
	case protocol == unix.NETLINK_NETFILTER:
		return []unix.Errno{unix.EBUSY, unix.EPERM, unix.ENFILE, unix.ENOMEM}
	case kind == unix.RTM_NEWLINK:
		return []unix.Errno{unix.EBUSY, unix.EPERM, unix.ENOMEM, unix.ENODEV, unix.EEXIST}
	}
	return []unix.Errno{unix.EBUSY, unix.EPERM, unix.ENOMEM, unix.ENOBUFS}
}

var faults = []aFault{
	{name: "answer lost", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Receive: unix.ENOBUFS}, nil)},
	{name: "request lost", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Receive: unix.ENOBUFS, Undone: true}, nil)},
	{name: "no answer", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Receive: unix.EAGAIN}, nil)},
	{name: "dies", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Send: unix.ENOTCONN, Dead: true}, nil)},
	{name: "closed underneath", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Send: unix.EBADF, Dead: true}, nil)},
	{name: "dies before the answer", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Receive: unix.ECONNRESET, Dead: true}, nil)},
	{name: "dies before it is done", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Receive: unix.ENODEV, Dead: true, Undone: true}, nil)},
	{name: "batch again", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Refusals: []fault.Refusal{{Errno: unix.ERESTART}}}, isBatch)},
	{name: "list changed", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Interrupted: true}, func(d fault.Datagram) bool { return d.Messages[0].Dump() })},
	{name: "list busy", passes: true, times: 1, tries: 1, at: nth(fault.Fault{Refusals: []fault.Refusal{{Errno: unix.EBUSY}}}, func(d fault.Datagram) bool { return d.Messages[0].Dump() })},
	{name: "refused", times: 1, tries: 4, at: refused},
	{name: "too long", times: 1, tries: 1, at: nth(fault.Fault{Send: unix.EMSGSIZE}, nil)},
	{name: "no memory", times: 1, tries: 1, at: nth(fault.Fault{Send: unix.ENOMEM}, nil)},
	{name: "no memory any more", times: forever, told: true, tries: 1, at: nth(fault.Fault{Send: unix.ENOMEM}, nil)},
	{name: "all sockets die from then on", times: forever, told: true, tries: 1, at: nth(fault.Fault{Send: unix.ENOTCONN, Dead: true}, nil)},
	{name: "nothing is answered from then on", times: forever, told: true, tries: 1, at: nth(fault.Fault{Receive: unix.ENOBUFS}, nil)},
	{name: "nothing is done from then on", times: forever, told: true, tries: 1, at: nth(fault.Fault{Receive: unix.ENOBUFS, Undone: true}, nil)},
}

// anOperation is something that is asked of an engine, and what takes it back.
type anOperation struct {
	name string
	// prepare makes what the operation needs.
	prepare func(context.Context, *Engine) error
	do      func(context.Context, *Engine) error
	undo    func(context.Context, *Engine) error
	// names are those of the objects that an error may name.
	names []string
}

// operations are those of a running engine, on the sandbox's namespaces that are given.
func operations(t *testing.T) []anOperation {
	at := func(host byte) netip.Addr { return netip.AddrFrom4([4]byte{172, 17, 0, host}) }
	nothing := func(context.Context, *Engine) error { return nil }
	net := func(ctx context.Context, e *Engine) error {
		_, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "net", IPv6: true, Options: map[string]string{
			bridged.OptionBridgeName: "br-fault", bridged.OptionICC: "false",
		}})
		return err
	}
	removeNet := func(ctx context.Context, e *Engine) error { return e.RemoveNetwork(ctx, "net") }
	sandbox := func(spec bridged.SandboxSpec) func(context.Context, *Engine) error {
		return func(ctx context.Context, e *Engine) error { _, err := e.CreateSandbox(ctx, spec); return err }
	}
	remove := func(name string) func(context.Context, *Engine) error {
		return func(ctx context.Context, e *Engine) error { return e.RemoveSandbox(ctx, name) }
	}
	web := func() func(context.Context, *Engine) error {
		return sandbox(bridged.SandboxSpec{Name: "web", IPv4: at(10), NetNS: giveNamespace(t), Ports: specs(t, "8080:80", "53:53/udp", "7000-7002:7000-7002")})
	}
	ofBridge := []string{"br-fault", "net", "inet bridged", "bridge bridged", "forwarding"}
	ofSandbox := []string{"web", "docker0", "bv", "eth0", "inet bridged", "bridge bridged"}
	made := fmt.Sprintf("fault-%d", os.Getpid())
	linked := func() (pair, add, undo func(context.Context, *Engine) error) {
		one, two := giveNamespace(t), giveNamespace(t)
		pair = both(net, sandbox(bridged.SandboxSpec{Name: "one", Network: "net", NetNS: one}),
			sandbox(bridged.SandboxSpec{Name: "two", Network: "net", NetNS: two, Ports: specs(t, "7080:80")}))
		add = func(ctx context.Context, e *Engine) error {
			_, err := e.AddLink(ctx, bridged.LinkSpec{Parent: "one", Child: "two"})
			return err
		}
		return pair, add, func(ctx context.Context, e *Engine) error { return e.RemoveLink(ctx, "one", "two") }
	}
	pair, link, unlink := linked()
	pair2, link2, unlink2 := linked()
	ports := func(ctx context.Context, e *Engine) error {
		_, _, err := e.AddPorts(ctx, "web", specs(t, "9090:90", "9100-9102:9100-9102"))
		return err
	}
	removePorts := func(ctx context.Context, e *Engine) error {
		return e.RemovePorts(ctx, "web", specs(t, "9090:90", "9100-9102:9100-9102"))
	}
	webUp, webDown := web(), web()
	attachment := func() (first, attach, detach func(context.Context, *Engine) error) {
		other := podnet("other", giveNamespace(t))
		other.Network.Bridge, other.Network.Sources = "br-pods", full(t, "", "").Network.Sources
		spec := full(t, "pod", giveNamespace(t))
		spec.Network.Bridge, spec.IPs = "br-pods", []netip.Addr{netip.MustParseAddr("10.88.0.10")}
		attached := func(spec bridged.AttachmentSpec) func(context.Context, *Engine) error {
			return func(ctx context.Context, e *Engine) error { _, err := e.Attach(ctx, spec); return err }
		}
		return attached(other), attached(spec), func(ctx context.Context, e *Engine) error { return e.Detach(ctx, spec.Key) }
	}
	pods, attach, detach := attachment()
	pods2, attach2, detach2 := attachment()
	ofPod := append(ofSandbox, "pod", "br-pods", "bi")
	return append([]anOperation{
		{"attach a container", pods, attach, detach, ofPod},
		{"detach a container", both(pods2, attach2), detach2, attach2, ofPod},
		{"create a network", nothing, net, removeNet, ofBridge},
		{"remove a network", net, removeNet, net, ofBridge},
		{"create a sandbox", nothing, webUp, remove("web"), ofSandbox},
		{"remove a sandbox", webDown, remove("web"), webDown, ofSandbox},
		{"create a sandbox and its namespace", nothing, sandbox(bridged.SandboxSpec{Name: made, IPv4: at(11)}), remove(made), append(ofSandbox, made)},
		{"create a sandbox that shares", web(), sandbox(bridged.SandboxSpec{Name: "user", Network: "container:web"}), remove("user"), []string{"user"}},
		{
			"create a sandbox without a network", nothing, sandbox(bridged.SandboxSpec{Name: "lone", Network: "none", NetNS: giveNamespace(t)}),
			remove("lone"), []string{"lone"},
		},
		{"publish ports", web(), ports, removePorts, ofSandbox},
		{"unpublish ports", both(web(), ports), removePorts, ports, ofSandbox},
		{"add a link", pair, link, unlink, append(ofSandbox, "one", "two")},
		{"remove a link", both(pair2, link2), unlink2, link2, append(ofSandbox, "one", "two")},
	}, leaseOperations(t)...)
}

// leaseOperations are those of leases.
func leaseOperations(t *testing.T) []anOperation {
	nothing := func(context.Context, *Engine) error { return nil }
	lease := func(ctx context.Context, e *Engine) error {
		if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "lease", IPv4: netip.MustParseAddr("172.17.0.12")}); err != nil {
			return err
		}
		if _, err := e.AllocatePort(ctx, "lease", specs(t, "6000:60")[0]); err != nil {
			return errors.Join(err, e.ReleaseInterface(ctx, "lease"))
		}
		return nil
	}
	release := func(ctx context.Context, e *Engine) error { return e.ReleaseInterface(ctx, "lease") }
	ofLease := []string{"lease", "inet bridged"}
	joins := func(ctx context.Context, e *Engine) error { _, _, err := e.JoinInterface(ctx, "lease"); return err }
	leaves := func(ctx context.Context, e *Engine) error { return e.LeaveInterface(ctx, "lease") }
	sets := func(ports ...string) func(context.Context, *Engine) error {
		return func(ctx context.Context, e *Engine) error {
			_, _, err := e.SetPorts(ctx, "lease", specs(t, ports...))
			return err
		}
	}
	some, others := sets("6000:60", "6001-6003:61-63/udp"), sets("6000:60", "6001:99/udp", "6004:64")
	bare := both(lease, sets())
	ofLink := append(ofLease, "bridge bridged", "docker0", "bv", "bp")
	return []anOperation{
		{"allocate", nothing, lease, release, ofLease},
		{"release", lease, release, lease, ofLease},
		{"join a lease", bare, joins, leaves, ofLink},
		{"leave a lease", both(bare, joins), leaves, joins, ofLink},
		{"release a lease with a link", both(lease, joins), release, both(lease, joins), ofLink},
		{"set a lease's ports", both(lease, joins, some), others, some, ofLink},
	}
}

// both makes one operation after the other.
func both(fs ...func(context.Context, *Engine) error) func(context.Context, *Engine) error {
	return func(ctx context.Context, e *Engine) error {
		for _, f := range fs {
			if err := f(ctx, e); err != nil {
				return err
			}
		}
		return nil
	}
}

// settled waits until nothing goes on behind answers, and has looked at what is in doubt or could not be mended.
func (e *Engine) settled() {
	for {
		ctx := context.Background()
		e.settle()
		_ = e.repairs.wait(ctx, every[struct{}])
		_ = e.mends.wait(ctx, every[suspicion])
		_ = e.lost.wait(ctx, every[string])
		e.settle()
		e.mu.Lock()
		unmended := len(e.unmended)
		e.mu.Unlock()
		if !e.doubtful.Load() && unmended == 0 {
			return
		}
		e.sweepThrough()
	}
}

// scene is an engine in a namespace of its own, and a plan of what goes wrong.
type scene struct {
	t     *testing.T
	host  string
	shell *shell
	e     *Engine
	plan  fault.Plan
	seen  []fault.Datagram // that were recorded
}

// bridgesDeleted is that somebody deletes our bridges just before the kernel gets a datagram.
func (s *scene) bridgesDeleted() aFault {
	ns, err := netns.Open(s.host)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ns.Close() })
	var other *link.Conn
	if err := ns.Do(func() (err error) { other, err = link.Dial(); return err }); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { other.Close() })
	return aFault{name: "bridges deleted", times: 1, told: true, tries: 4, at: nth(fault.Fault{}, nil), meanwhile: func() {
		if err := other.Delete("docker0", "br-fault"); err != nil {
			s.t.Error(err)
		}
	}}
}

// record notes the datagrams of f, where nothing goes wrong.
func (s *scene) record(f func()) {
	s.t.Helper()
	s.seen = nil
	s.plan.Arm(1, forever, func(d fault.Datagram) (fault.Fault, bool) {
		d.Messages = slices.Clone(d.Messages)
		s.seen = append(s.seen, d)
		return fault.Fault{}, false
	})
	f()
	s.plan.Disarm()
}

// each calls f for opportunities of a fault: with -faults for 1, 2, … until there are no more of them, else for some of those that were
// recorded, which differ with the seed.
func (s *scene) each(a aFault, seed int, f func(n int) (reached bool)) {
	if *allFaults {
		for n := 1; f(n); n++ {
		}
		return
	}
	for i := range a.tries {
		all := s.opportunities(a)
		if i < all {
			f(1 + (seed+i*all/a.tries)%all)
		}
	}
}

// opportunities is how many a fault had in what was recorded.
func (s *scene) opportunities(a aFault) (n int) {
	for {
		at := a.at(n + 1)
		if !slices.ContainsFunc(s.seen, func(d fault.Datagram) bool { _, now := at(d); return now }) {
			return n
		}
		n++
	}
}

// shell runs commands in a namespace. The test's own process starts it before it does anything else, and no other: one that is started while
// the engine works has, for a moment, a copy of each descriptor that the engine closes.
type shell struct {
	in  io.Writer
	out *bufio.Scanner
}

func startShell(t *testing.T, namespace string) *shell {
	t.Helper()
	ns, err := netns.Open(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	cmd := exec.Command("sh")
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := errors.Join(inErr, outErr, ns.Do(cmd.Start)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &shell{stdin, bufio.NewScanner(stdout)}
}

// lines is what commands print.
func (s *shell) lines(t *testing.T, commands string) (lines []string) {
	t.Helper()
	const end = "that was all"
	fmt.Fprintf(s.in, "%s; echo %s\n", commands, end)
	for s.out.Scan() {
		if s.out.Text() == end {
			return lines
		}
		lines = append(lines, s.out.Text())
	}
	t.Fatalf("the shell ended: %v", s.out.Err())
	return nil
}

// random is what differs between two objects that are alike.
var random = regexp.MustCompile(`b[vip][0-9a-f]{12}|@if[0-9]+|\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b|f[de][0-9a-f]{2}:[0-9a-f:]+|0xf[de][0-9a-f]{30}`)

// sees is what others see of the host: nft and ip. To ask for one link makes the kernel look after its carrier, which it does within a second else.
func (s *scene) sees() []string {
	s.t.Helper()
	text := strings.Join(s.shell.lines(s.t, "ip -o link show type bridge | cut -d: -f2 | while read b; do ip link show dev $b > /dev/null; done; "+
		"nft -s list ruleset; ip -br address; ip route"), "\n")
	lines := strings.FieldsFunc(random.ReplaceAllString(text, "~"), func(r rune) bool { return strings.ContainsRune("\n,{}=", r) })
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	slices.Sort(lines)
	return lines
}

// equal holds the kernel against the state.
func (s *scene) equal(when string) {
	s.t.Helper()
	s.e.settled()
	s.e.world.Lock() // nobody repairs meanwhile
	plan, lost, err := s.e.difference(s.t.Context(), nil)
	s.e.world.Unlock()
	if err != nil || len(plan) > 0 || len(lost) > 0 {
		s.t.Fatalf("%s: the kernel differs from the state (%v, lost %v):\n%s", when, err, lost, plan)
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if len(s.e.book.sockets) != len(s.e.index.Ports) {
		s.t.Errorf("%s: %d ports of the host are held for %d that are published", when, len(s.e.book.sockets), len(s.e.index.Ports))
	}
}

// is holds what others see against what they saw.
func (s *scene) is(when string, want []string) {
	s.t.Helper()
	if more := cmp.Diff(want, s.sees()); more != "" {
		s.t.Fatalf("%s: others see other things than before:\n%s", when, more)
	}
}

// TestFaults: whatever goes wrong at whichever step of an operation, it is done, or it fails with an error that names an object, and
// nothing is left of it; the kernel is equal to the state, and without the fault it works.
func TestFaults(t *testing.T) {
	needRoot(t)
	for which, o := range operations(t) {
		host := giveNamespace(t)
		shell := startShell(t, host)
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, host: host, shell: shell}
			var stop func()
			s.e, stop = startLess(t, s.host, testConfig(t), less{fault: s.plan.Inject})
			defer stop()
			ctx := context.Background()
			must := func(what string, err error) {
				t.Helper()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			must("prepare", o.prepare(ctx, s.e))
			s.equal("prepared")
			before := s.sees()
			s.record(func() {
				must("dry run", o.do(ctx, s.e))
				s.e.settle()
			})
			must("dry run, taken back", o.undo(ctx, s.e))
			s.equal("dry run, taken back")
			runs := 0
			for i, f := range append(faults, s.bridgesDeleted()) {
				s.each(f, which+i, func(n int) (reached bool) {
					runs++
					when := fmt.Sprintf("%s, opportunity %d", f.name, n)
					at := f.at(n)
					s.plan.Arm(1, f.times, func(d fault.Datagram) (fault.Fault, bool) {
						injected, now := at(d)
						if now && f.meanwhile != nil {
							f.meanwhile()
						}
						return injected, now
					})
					err := o.do(ctx, s.e)
					if f.times == 1 {
						s.e.settle() // it may come to what goes on behind the answer
					}
					reached = s.plan.Disarm() > 0
					if f.told {
						s.e.suspect(suspicion{}) // here and now
					}
					s.equal(when)
					switch {
					case err != nil && (f.passes || !reached):
						t.Fatalf("%s: the operation failed: %v", when, err)
					case err != nil:
						if !slices.ContainsFunc(o.names, func(name string) bool { return strings.Contains(err.Error(), name) }) {
							t.Errorf("%s: the error names none of %v: %v", when, o.names, err)
						}
						s.is(when, before)
						must(when+": without the fault", o.do(ctx, s.e))
						s.equal(when + ", then without")
					}
					must(when+": taken back", o.undo(ctx, s.e))
					s.equal(when + ", taken back")
					return reached
				})
				s.is(f.name+", taken back", before)
			}
			t.Logf("%d runs", runs)
		})
	}
}
