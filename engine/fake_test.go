package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// fakeHost keeps the kernel's objects in memory. It fails at the step that it is told to, and a step that fails changes nothing.
type fakeHost struct {
	mu      sync.Mutex
	objects objects
	spaces  map[string]bridged.NamespaceID
	given   int // of spaces, those that no sandbox of ours made
	bound   map[bridged.Binding]bool
	next    uint64
	failAt  int // the step, counted from 1, that fails; 0: none
	steps   int
	commits uint64
	purged  []conntrack.Flow
	use     hostcheck.Taken // outside our bridges
	others  hostcheck.Host  // what is in the way
	// purgeErr is why nothing can be purged.
	purgeErr error
	lacks    []hostcheck.FeatureName
	noIPv6   error
	// bridgeFilter: br_netfilter is on.
	bridgeFilter bool
	probes       int
}

var errFake = errors.New("the step fails")

func newFakeHost() *fakeHost {
	return &fakeHost{objects: newObjects(), spaces: make(map[string]bridged.NamespaceID), bound: make(map[bridged.Binding]bool)}
}

// give makes a namespace that is not ours, and returns its path.
func (f *fakeHost) give() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.given++
	path := fmt.Sprintf("/run/given/%d", f.next)
	f.spaces[path] = bridged.NamespaceID{Dev: 4, Ino: 100 + f.next}
	return path
}

// vanish takes a namespace away that was given, with its ends of pairs.
func (f *fakeHost) vanish(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, p := range f.objects.pairs {
		if p.nsid == f.spaces[path] {
			delPair{pair{Pair: link.Pair{Host: name}}}.on(&f.objects)
		}
	}
	f.given--
	delete(f.spaces, path)
}

// count is one step: it fails when its turn has come.
func (f *fakeHost) count() error {
	f.steps++
	if f.steps == f.failAt {
		return errFake
	}
	return nil
}

// failNext lets the nth step from now fail.
func (f *fakeHost) failNext(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps, f.failAt = 0, n
}

func (f *fakeHost) do(_ context.Context, s step) error {
	for range rand.IntN(4) {
		runtime.Gosched() // requests that run at a time get ahead of one another
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return err
	}
	if s, ok := s.(addBridge); ok {
		if _, there := f.objects.bridges[s.Name]; there {
			return fmt.Errorf("bridge %s exists", s.Name)
		}
	}
	if s, ok := s.(addRoute); ok && !f.objects.pairs[s.host].joined {
		return fmt.Errorf("route %s leads through %s, which is not set up", s.dst, s.host)
	}
	if _, ok := s.(commit); ok {
		f.commits++
	}
	s.on(&f.objects)
	return nil
}

func (f *fakeHost) observe(want objects, _ *listing) (objects, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects.clone(), nil
}

func (f *fakeHost) observeRules(context.Context) (*nft.Inventory, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have := f.objects.clone()
	if len(have.tables) == 0 {
		have.elements = make(nft.Elements)
	}
	return nft.NewInventory(nft.Ruleset{Tables: have.tables, Elements: have.elements}), nil
}

func (f *fakeHost) tables(context.Context) (ids []nft.TableID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.objects.tables {
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// probe is a kernel that has everything but what the host lacks.
func (f *fakeHost) probe() (hostcheck.Kernel, error) {
	f.probes++
	return hostcheck.Ask(func(hostcheck.FeatureName) error { return nil }).Without(f.lacks...).Kernel()
}

func (f *fakeHost) adopt(context.Context) error { return nil }

func (f *fakeHost) delPairs(names []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		delPair{pair{Pair: link.Pair{Host: n}}}.on(&f.objects)
		delShaper{n}.on(&f.objects)
	}
	return nil
}

func (f *fakeHost) subscribe() error { return nil }

func (f *fakeHost) watch(ctx context.Context, _ func(suspicion), _ func(moved)) error {
	<-ctx.Done()
	return nil
}

// look finds everything as wanted, but pairs that are not there.
func (f *fakeHost) look(want objects) (objects, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	have := want.clone()
	maps.DeleteFunc(have.pairs, func(name string, _ pair) bool { _, there := f.objects.pairs[name]; return !there })
	maps.DeleteFunc(have.routes, func(id routeID, _ route) bool { _, ok := have.pairs[id.host]; return !ok })
	return have, nil
}

// loseLeases takes the pairs of leases away, as their containers do when they end.
func (f *fakeHost) loseLeases() (hostEnds []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, p := range f.objects.pairs {
		if p.netns == "" {
			delete(f.objects.pairs, name)
			hostEnds = append(hostEnds, name)
		}
	}
	return hostEnds
}

// links are the host's ends of pairs.
func (f *fakeHost) links() (links []link.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range sortedKeys(f.objects.pairs) {
		links = append(links, link.Link{Index: 100 + len(links), Name: name, Kind: "veth", Group: link.Group})
	}
	return links
}

func (f *fakeHost) compare(_ context.Context, want objects) (differences []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range want.elements {
		if _, there := f.objects.elements[e]; !there {
			differences = append(differences, e.Set.Name)
		}
	}
	for name := range want.pairs {
		if !f.objects.pairs[name].joined {
			differences = append(differences, name)
		}
	}
	return differences, nil
}

func (f *fakeHost) linked(hostEnd string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, there := f.objects.pairs[hostEnd]
	return there, nil
}

func (f *fakeHost) drift(w watched) (d drift) {
	for id, l := range w.spaces {
		if now, err := f.namespace(l.path, 0); err != nil || now != l.id {
			d.lost = append(d.lost, id)
		}
	}
	d.bridgeFilter = f.bridgeFilter
	return d
}

func (f *fakeHost) identities(paths []string) (map[string]bridged.NamespaceID, error) {
	found := make(map[string]bridged.NamespaceID)
	for _, path := range paths {
		if id, err := f.namespace(path, 0); err == nil {
			found[path] = id
		}
	}
	return found, nil
}

func (f *fakeHost) inhabited() (map[netns.File]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	places := make(map[netns.File]string)
	for path, id := range f.spaces {
		places[netns.File{Dev: id.Dev, Ino: id.Ino}] = path
	}
	return places, nil
}

func (f *fakeHost) finish(pair) error           { return nil }
func (f *fakeHost) announce(pair) error         { return nil }
func (f *fakeHost) ownership() (string, uint64) { return "fake", f.commits }
func (f *fakeHost) close() error                { return nil }

func (f *fakeHost) facts() (facts, error) {
	return facts{links: f.links(), mtu: 1400, machineID: []byte("machine"), namespace: bridged.NamespaceID{Dev: 1, Ino: 1}, noIPv6: f.noIPv6, bridgeFilter: f.bridgeFilter, taken: f.use}, nil
}

func (f *fakeHost) names() map[string]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make(map[string]struct{})
	for path := range f.spaces {
		if filepath.Dir(path) == namespaceDir {
			names[filepath.Base(path)] = struct{}{}
		}
	}
	return names
}

func (f *fakeHost) marked() (map[string]string, error) { return nil, nil }

func (f *fakeHost) makeNamespace(s bridged.Sandbox) (bridged.NamespaceID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.count(); err != nil {
		return bridged.NamespaceID{}, err
	}
	f.next++
	f.spaces[s.NetNS] = bridged.NamespaceID{Dev: 4, Ino: 100 + f.next}
	return f.spaces[s.NetNS], nil
}

func (f *fakeHost) mountNamespace(_ bridged.Sandbox, path, further string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.spaces[further]; there {
		return fmt.Errorf("%s: %w", further, fs.ErrExist)
	}
	f.spaces[further] = f.spaces[path]
	return nil
}

func (f *fakeHost) removeNamespace(s bridged.Sandbox, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spaces[path] == s.NSID {
		delete(f.spaces, path)
	}
	return nil
}

func (f *fakeHost) taken() (hostcheck.Taken, error) { return f.use, nil }

func (f *fakeHost) settings(own hostcheck.Own) (hostcheck.Host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.others
	h.Own = own
	return h, nil
}

func (f *fakeHost) nameservers() []netip.Addr { return f.use.Nameservers }

func (f *fakeHost) exists(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.spaces[path]
	return ok
}

func (f *fakeHost) namespace(path string, _ int) (bridged.NamespaceID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := f.spaces[path]
	if !ok {
		return id, bridged.Errorf(bridged.ErrInvalid, "%s: no such namespace", path)
	}
	return id, nil
}

func (f *fakeHost) hold(path string, pid int) (id bridged.NamespaceID, letGo func(), err error) {
	id, err = f.namespace(path, pid)
	return id, func() {}, err
}

type fakeSocket func()

func (s fakeSocket) Close() error { s(); return nil }

func (f *fakeHost) restock([]bridged.Binding) error { return nil }

func (f *fakeHost) reserve(bindings []bridged.Binding) (sockets []io.Closer, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bindings {
		if err := f.count(); err != nil {
			return sockets, err
		}
		f.bound[b] = true
		sockets = append(sockets, fakeSocket(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.bound, b)
		}))
	}
	return sockets, nil
}

func (f *fakeHost) ephemeral() (uint16, uint16, func(uint16) bool, error) {
	return 32768, 60999, func(uint16) bool { return false }, nil
}

func (f *fakeHost) purge(flows []conntrack.Flow, _ []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.purgeErr == nil {
		f.purged = append(f.purged, flows...)
	}
	return f.purgeErr
}

// testConfig is the configuration of the daemon's defaults.
func testConfig(t testing.TB) Config {
	dir := t.TempDir()
	return Config{
		RunDir: dir + "/run", StateDir: dir + "/state", BridgeName: "docker0", ICC: true, IPv6: true, IPMasq: true,
		IPForward: true, IP: netip.IPv4Unspecified(), Protection: "auto", Version: "test", Log: slog.New(slog.DiscardHandler),
	}
}

// openFake is an engine on a fake host that does not run yet.
func openFake(t testing.TB, cfg Config, h *fakeHost) *Engine {
	t.Helper()
	e := newEngine(cfg)
	if err := <-e.readLog(); err != nil {
		t.Fatal(err)
	}
	e.host = h
	return e
}

// startFake runs an engine on a fake host and returns what stops it.
func startFake(t testing.TB, cfg Config, h *fakeHost) (*Engine, func()) {
	t.Helper()
	return run(t, openFake(t, cfg, h))
}

// run runs an engine until it is ready, and returns it with what stops it.
func run(t testing.TB, e *Engine) (*Engine, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	select {
	case <-e.Ready():
	case err := <-done:
		t.Fatalf("the engine did not start: %v", err)
	}
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
	}
}
