package test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bridged/bridged/internal/flowtest"
)

// unreachable are the steps that no daemon makes on the kernel of the tests, with the reason.
var unreachable = map[string]string{
	"isolate": "ports are isolated on kernels without the family bridge only",
}

// The daemon is killed at every pass of every point of every operation. After the next start there is what was before or what
// comes after, nothing between and nothing beside; what was acknowledged is there; the same operation, or its inverse, can be done, and
// packets flow. Each point in the source is passed by an operation.
func TestKilledAtEveryPoint(t *testing.T) {
	need(t, "conntrack", "bridge")
	var mu sync.Mutex
	passed := make(map[string]bool)
	kills, ran := 0, 0
	t.Run("operations", func(t *testing.T) {
		for _, op := range operations() {
			t.Run(strings.ReplaceAll(op.name, " ", "-"), func(t *testing.T) {
				t.Parallel() // each in a world of its own
				c := op.prepare(t)
				names := c.record()
				n := c.killAll(names)
				mu.Lock()
				defer mu.Unlock()
				for name := range names {
					passed[name] = true
				}
				kills += n
				ran++
			})
		}
	})
	t.Logf("killed %d times", kills)
	if t.Failed() || ran < len(operations()) { // -run wants some of them
		return
	}
	for _, name := range points(t) {
		if !passed[name] {
			t.Errorf("no operation passes the point %q", name)
		}
		delete(passed, name)
	}
	for name := range passed {
		t.Errorf("the point %q is passed, and not found in the source", name)
	}
}

// operation is something the daemon does.
type operation struct {
	name string
	// flags are the daemon's, former those of the daemon before it where the operation is a start; nil: the usual ones.
	flags, former []string
	// given makes what is there before, with a daemon running; host before the first start. Both may be nil.
	host, given func(*crashWorld)
	// ahead comes before do, and ends the daemon.
	ahead func(*crashWorld)
	// do makes the operation and reports whether it was acknowledged.
	do func(*crashWorld) (acknowledged bool)
	// undo makes what there was before of what comes after; nil: they are the same.
	undo func(*crashWorld)
	// starts: do starts the daemon.
	starts bool
	// fresh: each kill needs a world of its own, in which there was no daemon before. alone: there is no sandbox.
	fresh, alone bool
	// first: how often a point is passed depends on when the kernel says what; only the first pass is tried.
	first bool
	// dies: nothing answers; the end of the daemon is waited for.
	dies bool
	// traces are in the lines of conntrack that may not be there after the operation.
	traces string
	// reached is tried after each kill, beside what always is; nil: nothing.
	reached func(*crashWorld)
}

// usual are the flags of most daemons: with ICC off links have something to do.
var usual = []string{"--ipv6", "--icc=false"}

// crash is an operation in a world, with the views before and after.
type crash struct {
	operation
	w             *crashWorld
	before, after []string
}

// prepare makes the world as it is before the operation.
func (op operation) prepare(t *testing.T) *crash {
	c := &crash{operation: op, w: newCrashWorld(t)}
	if op.host != nil {
		op.host(c.w)
	}
	if op.fresh {
		return c
	}
	c.w.begin(op.former)
	if !op.alone {
		c.w.must(steps{`POST sandboxes {"Name": "c0", "IPv4Address": "172.17.0.2", "Ports": ["8080:80", "8080:80/udp"]}`})
		flowtest.Serve(t, c.w.sandbox("c0"), 80)
	}
	if op.given != nil {
		op.given(c.w)
	}
	c.before = c.w.view()
	return c
}

// record makes the operation and takes it back, and returns which points it passes, and how often.
func (c *crash) record() map[string]int {
	w := c.w
	w.t.Helper()
	c.ready(true)
	w.tell("record")
	c.do(w)
	if c.dies {
		w.shows(c.before)
	}
	if w.died() {
		w.t.Fatalf("the daemon was killed without an order; its log:\n%s", w.d.Log.String())
	}
	w.tell("")
	names := make(map[string]int)
	for _, name := range w.passed() {
		if c.dies && strings.HasPrefix(name, "stop: ") {
			break // it ends itself only in the record
		}
		names[name]++
	}
	w.begin(c.flags)
	switch {
	case c.fresh:
		c.after = w.view()
		c.before = c.after
	case c.undo == nil:
		c.after = c.before
	default:
		c.after = w.view()
		if slices.Equal(c.before, c.after) {
			w.t.Fatalf("the operation leaves nothing to see")
		}
		c.trace()
	}
	c.back()
	return names
}

// back makes what there was before of what comes after.
func (c *crash) back() {
	c.w.t.Helper()
	if c.undo != nil {
		c.undo(c.w)
		if c.w.shows(c.before) < 0 {
			c.w.t.Fatal("the operation can't be taken back")
		}
	}
}

// killAll kills the daemon at each pass of each point, and returns how often.
func (c *crash) killAll(names map[string]int) (kills int) {
	for _, name := range slices.Sorted(maps.Keys(names)) {
		passes := names[name]
		if c.ahead != nil && (isBehind(name) || strings.HasSuffix(name, " delPair")) {
			continue // the pair may have gone with a namespace
		}
		if c.first || isBehind(name) { // how many go in one batch is chance
			passes = 1
		}
		for n := range passes {
			at := fmt.Sprintf("%s:%d", name, n+1)
			if c.fresh {
				c.w.died()
				c.w = newCrashWorld(c.w.t)
				c.host(c.w)
			}
			c.kill(at)
			if c.w.t.Failed() {
				c.w.t.Fatalf("after a kill at %s; the daemon's log:\n%s", at, c.w.d.Log.String())
			}
			kills++
		}
	}
	return kills
}

// kill makes the operation with a daemon that is killed at that pass of that point.
func (c *crash) kill(at string) {
	w := c.w
	c.ready(isBehind(at))
	w.tell(at)
	acknowledged := c.do(w)
	if c.dies {
		w.d.Wait()
	}
	if !w.died() {
		w.t.Errorf("the daemon was not killed at %s", at)
	}
	w.tell("")
	w.begin(c.flags)
	w.asDesired()
	c.flows()
	state := w.shows(c.before, c.after)
	switch {
	case state < 0 || c.undo == nil:
		return
	case state == 0 && (acknowledged || c.starts):
		w.t.Errorf("killed at %s: the operation was acknowledged, and is not there", at)
	case state == 0:
		if !c.do(w) {
			w.t.Errorf("killed at %s: the operation can't be done afterwards", at)
		}
	}
	c.trace()
	c.back()
}

// ready makes the daemon ready for the operation: for a start that is none. idle: with nothing left to do behind the answers of before.
func (c *crash) ready(idle bool) {
	switch {
	case c.fresh:
	case c.ahead != nil:
		c.ahead(c.w)
	case c.starts:
		c.w.died()
	case idle:
		c.w.restart(c.flags...)
	}
}

// flows checks that packets flow: to the sandbox that is always there, else to a new one.
func (c *crash) flows() {
	w := c.w
	switch {
	case slices.Contains(c.flags, "none"):
	case c.alone || c.fresh:
		w.must(steps{`POST sandboxes {"Name": "p"}`})
		s := w.host.Open(w.t, "p", "/run/netns/p")
		srv := flowtest.Serve(w.t, s, 80)
		flowtest.Reaches(w.t, w.host, "tcp", netip.AddrPortFrom(netip.MustParseAddr(w.attribute("p", "IPAddress")), 80), "p")
		srv.Close()
		s.Close()
		w.must(steps{`DELETE sandboxes/p`})
	default:
		flowtest.Reaches(w.t, w.lan, "tcp", netip.AddrPortFrom(hostLAN4, 8080), "c0")
		flowtest.Reaches(w.t, w.lan, "tcp", netip.AddrPortFrom(hostLAN6, 8080), "c0")
	}
	if c.reached != nil {
		c.reached(w)
	}
}

// isBehind says whether a point is passed by what nobody waits for.
func isBehind(at string) bool {
	return slices.ContainsFunc([]string{" purging connections", " removing pairs", " announcing"}, func(s string) bool { return strings.Contains(at, s) })
}

// trace looks for connections that may not be there after the operation.
func (c *crash) trace() {
	if c.traces == "" {
		return
	}
	c.w.t.Helper()
	var left []string
	for end := flowtest.Deadline(); time.Now().Before(end); { // behind the answer; nothing but a look tells
		out := c.w.host.Output(c.w.t, "sh", "-c", "conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null; true")
		left = slices.DeleteFunc(lines(out), func(line string) bool { return !strings.Contains(line, c.traces) })
		if len(left) == 0 {
			return
		}
	}
	c.w.t.Errorf("connections outlived the operation:\n%s", strings.Join(left, "\n"))
}

// points are the names of all fail points in the source: literals, and those of points that have one for each kind of step.
func points(t *testing.T) []string {
	t.Helper()
	var names, each, kinds []string
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if name, ok := calls(n, "Reached"); ok {
					names = append(names, name)
				}
				if name, ok := calls(n, "Each"); ok {
					each = append(each, name)
				}
			case *ast.FuncDecl:
				if kind, ok := stepKind(n); ok && unreachable[kind] == "" {
					kinds = append(kinds, kind)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range each {
		for _, kind := range kinds {
			names = append(names, name+" "+kind)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// calls says whether a call is one of a fail point, and of which.
func calls(n *ast.CallExpr, function string) (name string, ok bool) {
	f, ok := n.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != function {
		return "", false
	}
	if p, ok := f.X.(*ast.Ident); !ok || p.Name != "failpoint" {
		return "", false
	}
	literal, ok := n.Args[0].(*ast.BasicLit)
	if !ok {
		return "a name that is no literal", true // which no operation passes
	}
	name, err := strconv.Unquote(literal.Value)
	return name, err == nil
}

// stepKind is the type that a method belongs to which makes it a step of a plan.
func stepKind(f *ast.FuncDecl) (string, bool) {
	if f.Name.Name != "on" || f.Recv == nil || len(f.Recv.List) != 1 {
		return "", false
	}
	receiver, ok := f.Recv.List[0].Type.(*ast.Ident)
	if !ok {
		return "", false
	}
	return receiver.Name, true
}

// No build but that of the tests can be told to die.
func TestNoPointsInTheProgram(t *testing.T) {
	path, err := armed()
	if err != nil {
		t.Fatal(err)
	}
	for binary, want := range map[string]bool{program: false, path: true} {
		text, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(text, []byte("BRIDGED_FAILPOINTS")); got != want {
			t.Errorf("%s: the variable's name is in it: %t, want %t", filepath.Base(binary), got, want)
		}
	}
}
