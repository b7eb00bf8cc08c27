package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/failpoint"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
	"github.com/bridged/bridged/store"
)

// Engine makes the State true. Its methods are safe for concurrent use; those that change something return when the kernel has
// it, and leave nothing behind when they fail.
type Engine struct {
	cfg      Config
	log      *slog.Logger
	host     host
	store    *store.Store
	locks    *locks
	turns    turns
	asked    atomic.Uint64 // requests so far
	events   events
	book     *book
	ready    chan struct{}
	ending   chan struct{} // closed when the end begins
	ended    chan struct{} // closed at the end, for those who follow the events
	unpurged chan struct{} // closed when purges were given up at the end: what waits for them is not given back any more
	facts    facts         // read at the start
	ula      netip.Prefix  // this host's IPv6 /48
	takeOver string        // see compiler
	// namespaces are the paths where sandboxes' are by the log, until the start has looked at them.
	namespaces []string

	// world is held for reading by every request that changes the kernel, and for writing by a reconcile of the whole state.
	world  sync.RWMutex
	closed bool // guarded by world

	// hostUses is what the host used when hostMoved was set for the last time.
	hostUses struct {
		sync.Mutex
		hostUse
	}
	hostMoved atomic.Bool

	// postponed is how many requests have put the compaction of the log off.
	postponed atomic.Int64
	// uncompacted: the log could not be written anew. The next sweep lets somebody try again: it takes the whole state, and the lock of all.
	uncompacted atomic.Bool
	// underWay is how many requests there are: what they take away may be in the log, and not in purges yet.
	underWay atomic.Int64

	// recording is held for reading from when a change is in memory until the log has it, and for writing by who writes the log anew: it must
	// not say what may still be taken back. It is taken before mu.
	recording sync.RWMutex

	mu       sync.Mutex // guards what follows; never held while the kernel or the disk works
	program  []nft.Table
	lacks    lacks
	index    *index
	mending  map[suspicion]struct{} // that wait to be mended
	unmended map[suspicion]*unmended
	warnings []string
	since    time.Time

	pairs   *batch[pair]            // to be removed
	purges  *batch[purge]           // conntrack entries to be purged
	fresh   *batch[pair]            // just joined
	hails   *batch[pair]            // to be announced
	holds   *batch[bridged.Binding] // of an earlier daemon, to be reserved
	stocks  *batch[bridged.Binding] // that were reserved with what was kept for the next
	repairs *batch[struct{}]
	rules   *batch[struct{}]
	mends   *batch[suspicion]
	notes   *batch[slog.Record]
	lost    *batch[string] // ids of sandboxes whose namespace is not where it was, and keys of leases whose pair is gone
	// repaired counts the repairs that found something to do.
	repaired atomic.Uint64
	// doubtful: a repair or what was done behind an answer has failed, so that the next sweep has everything compared with the kernel.
	doubtful atomic.Bool
}

func every[T any](T) bool { return true }

// New opens the state and the kernel. Nothing is changed before [Engine.Run]. Errors of configuration are
// [bridged.ErrInvalid], a second daemon on the same run directory is [bridged.ErrConflict], missing privileges are
// [bridged.ErrDenied].
func New(cfg Config) (*Engine, error) { return open(cfg, less{}) }

// open is New on a kernel with less.
func open(cfg Config, less less) (*Engine, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	e := newEngine(cfg)
	e.warn(cfg.Warnings...)
	logRead := e.readLog()
	m, err := openMachine(cfg, less) // here: it is the one where the caller's thread is
	if errors.Is(err, nft.ErrUnfitSocket) {
		e.warn(fmt.Sprintf("the packet filter's socket of an earlier daemon is not used: %v", err))
		cfg.Socket = nil
		m, err = openMachine(cfg, less)
	}
	if err == nil {
		m.lookAhead()
	}
	if err = cmp.Or(<-logRead, err); err != nil {
		return nil, errors.Join(err, e.abandon(m))
	}
	m.handOn()
	e.host = m
	return e, nil
}

// abandon closes what was opened; nil: the machine was not.
func (e *Engine) abandon(m *machine) error {
	var errs []error
	if m != nil {
		errs = append(errs, m.close())
	}
	if e.store != nil {
		errs = append(errs, e.store.Close())
	}
	return errors.Join(errs...)
}

// readLog opens the store, and sends its error when what is in it was read. The changes are made behind that: whoever wants to read or to change
// the index waits for it.
func (e *Engine) readLog() <-chan error {
	read := make(chan error, 1)
	go func() {
		var logged []bridged.Change
		var err error
		e.store, err = store.Open(store.Dirs{Run: e.cfg.RunDir, State: e.cfg.StateDir}, func(c bridged.Change) { logged = append(logged, c) })
		if err != nil {
			read <- err
			return
		}
		e.warn(e.store.Warnings()...)
		e.namespaces = pathsOf(logged)
		e.mu.Lock()
		defer e.mu.Unlock()
		read <- nil
		e.index.expect(logged)
		for _, c := range logged {
			e.index.apply(c)
		}
	}()
	return read
}

// pathsOf are the paths of the namespaces that sandboxes have, or had, by these changes.
func pathsOf(logged []bridged.Change) []string {
	sandboxes := make(map[string]*bridged.Sandbox)
	for _, c := range logged {
		maps.Copy(sandboxes, c.Sandboxes)
	}
	paths := make([]string, 0, len(sandboxes))
	for _, s := range sandboxes {
		if s != nil && s.Shares == "" && s.NetNS != "" {
			paths = append(paths, s.NetNS)
		}
	}
	return paths
}

func newEngine(cfg Config) *Engine {
	e := &Engine{
		cfg:      cfg,
		log:      cfg.Log,
		locks:    newLocks(),
		turns:    newTurns(),
		ready:    make(chan struct{}),
		ending:   make(chan struct{}),
		ended:    make(chan struct{}),
		unpurged: make(chan struct{}),
		index:    newIndex(),
		book:     newBook(),
		mending:  make(map[suspicion]struct{}), unmended: make(map[suspicion]*unmended),
	}
	e.index.departed = newDeparted()
	if !cfg.NoFirewall {
		e.program = Program()
	}
	e.pairs = newBatch(e.removePairs)
	e.purges = newRestingBatch(e.purgeAll, e.loaded())
	e.purges.first = afterLoad
	e.fresh = newBatch(e.finish)
	e.hails = newRestingBatch(e.announce, nil)
	e.holds = newBatch(e.hold)
	e.stocks = newRestingBatch(e.restock, e.loaded())
	e.repairs = newBatch(e.repair)
	e.rules = newBatch(e.repairRules)
	e.mends = newRestingBatch(e.mend, nil)
	e.notes = newBatch(e.note)
	e.lost = newBatch(e.findLost)
	return e
}

// Run makes the kernel equal to the state, is ready, and goes on until ctx ends. The data path stays as it is then: nothing is
// torn down.
func (e *Engine) Run(ctx context.Context) error {
	defer e.close()
	if err := e.start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err := e.finishLinks(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	e.detachSpooled(context.WithoutCancel(ctx))
	e.mu.Lock()
	e.since = time.Now()
	e.mu.Unlock()
	close(e.ready)
	runtime.Gosched() // who waited for it goes first: what follows keeps a processor busy for a while
	e.events.add(bridged.Event{Type: bridged.EventDaemon, Action: "ready", Attributes: map[string]string{"version": e.cfg.Version}})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.host.watch(ctx, e.suspect, e.hostChanged) })
	group.Go(func() error { return e.sweeps(ctx) })
	e.warnFindings()
	return group.Wait()
}

// Ready is closed when the kernel is equal to the state for the first time.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

func (e *Engine) close() {
	close(e.ending)
	ctx := context.Background() // it never ends, so waiting has no error
	_ = e.repairs.wait(ctx, every[struct{}])
	_ = e.rules.wait(ctx, every[struct{}])
	_ = e.mends.wait(ctx, every[suspicion])
	_ = e.lost.wait(ctx, every[string])
	failpoint.Reached("stop: repairs done")
	e.world.Lock() // requests under way end first
	defer e.world.Unlock()
	e.closed = true
	close(e.ended)
	_ = e.pairs.wait(ctx, every[pair])
	_ = e.purges.wait(ctx, every[purge])
	_ = e.fresh.wait(ctx, every[pair])
	_ = e.hails.wait(ctx, every[pair])
	_ = e.holds.wait(ctx, every[bridged.Binding])
	_ = e.stocks.wait(ctx, every[bridged.Binding])
	_ = e.notes.wait(ctx, every[slog.Record])
	failpoint.Reached("stop: nothing waits")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.compactAtEnd()
	failpoint.Reached("stop: log compacted")
	e.book.close()
	if err := errors.Join(e.host.close(), e.store.Close()); err != nil {
		e.log.Warn("cannot close", "error", err)
	}
}

// warn keeps warnings for `status`. What is warned of again and again, because it is tried again and again, is in the log once.
func (e *Engine) warn(warnings ...string) {
	e.mu.Lock()
	had := len(e.warnings)
	for _, w := range warnings {
		if !slices.Contains(e.warnings, w) {
			e.warnings = append(e.warnings, w)
		}
	}
	added := slices.Clone(e.warnings[had:])
	e.mu.Unlock()
	for _, w := range added { // who reads the log may be slow
		e.log.Warn(w)
	}
}

// mostNotes is how many lines of the log can wait to be written: where nobody reads them, requests wait for whoever does.
const mostNotes = 1000

// tell has a line of the log written behind the answer: who reads it may be slow.
func (e *Engine) tell(message string, attributes ...any) {
	if e.log.Enabled(context.Background(), slog.LevelInfo) {
		r := slog.NewRecord(time.Now(), slog.LevelInfo, message, 0)
		r.Add(attributes...)
		if e.notes.full(mostNotes) {
			e.note([]slog.Record{r})
			return
		}
		e.notes.add(r)
	}
}

func (e *Engine) note(lines []slog.Record) {
	for _, r := range lines {
		_ = e.log.Handler().Handle(context.Background(), r) // nobody could be told where the log is not
	}
}

func (e *Engine) compiler() compiler {
	return compiler{x: e.index, program: e.program, lacks: e.lacks, takeOver: e.takeOver, router: e.cfg.IPForwardNoDrop}
}

// transact makes a change of the state true. change is called under the engine's lock: it checks the request against the state,
// claims what it needs and returns the change. Then: record → kernel → done. What the kernel refuses is forgotten by setting
// each object back to its previous value, which is a change like any other.
func (e *Engine) transact(ctx context.Context, change func(*index) (bridged.Change, error)) error {
	ctx = context.WithoutCancel(ctx) // a caller that goes away must not leave half an operation
	// Before anything of this change is in the log, which must not forget what it takes away.
	e.compact()
	turn := e.turns.take()
	defer turn.end()
	r, err := e.begin(change)
	if err != nil {
		return err
	}
	if r.change.HasFiles() || !r.plan.quick() {
		turn.end()
	}
	done := 0
	if r.change.HasFiles() {
		err = e.recordRequest(r.change, r.back.change)
	}
	failpoint.Reached("change recorded")
	if err == nil {
		done, err = e.carryOut(ctx, r.plan)
	}
	if err == nil {
		e.events.add(r.happened...)
		return nil
	}
	turn.end()
	if undoErr := e.takeBack(ctx, r.back, r.plan, done); undoErr != nil {
		e.log.Error("cannot take a failed operation back; comparing everything with the kernel", "error", undoErr)
		e.repairs.add(struct{}{})
	} else if inDoubt(err) {
		e.repairs.add(struct{}{})
	}
	return translate(err)
}

// inDoubt says whether a step that failed with this error may have been made all the same.
func inDoubt(err error) bool {
	return errors.Is(err, nft.ErrUnknownOutcome) || errors.Is(err, link.ErrUnknownOutcome) || errors.Is(err, link.ErrHalfMade)
}

// resolution is a change that was made in memory.
type resolution struct {
	change   bridged.Change
	plan     Plan // makes it in the kernel
	back     wayBack
	happened []bridged.Event // when that is done
}

// begin makes the change in memory and records it. Networks and reservations are recorded by the caller: their files are synced to the disk.
func (e *Engine) begin(change func(*index) (bridged.Change, error)) (r resolution, err error) {
	e.recording.RLock()
	defer e.recording.RUnlock()
	if r, err = e.resolve(change); err != nil || r.change.HasFiles() {
		return r, err
	}
	if err = e.recordRequest(r.change, r.back.change); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.index.apply(r.back.change)
	}
	return r, err
}

// resolve makes the change in memory. From then on others see it.
func (e *Engine) resolve(change func(*index) (bridged.Change, error)) (r resolution, err error) {
	have, want, err := e.apply(&r, change)
	if err == nil {
		r.plan = diff(have, want)
	}
	return r, err
}

// apply makes the change, and says what the kernel must have had before it and after.
func (e *Engine) apply(r *resolution, change func(*index) (bridged.Change, error)) (have, want objects, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.change, err = change(e.index); err != nil {
		return have, want, err
	}
	c := r.change
	r.back.change = e.index.Inverse(c)
	r.back.touched = e.index.touch(c, r.back.change)
	have = e.compiler().want(c, r.back.touched)
	e.index.apply(c)
	failpoint.Reached("change in memory")
	want = e.compiler().want(c, r.back.touched)
	r.happened = e.index.happened(c, r.back.change)
	return have, want, nil
}

// wayBack takes a change back that was made in memory.
type wayBack struct {
	change  bridged.Change
	touched touched // by the change, and so by its inverse
}

// recordRequest records a change. On a full disk nothing new begins; what goes on, or takes something away, still has some room.
func (e *Engine) recordRequest(c, inverse bridged.Change) error {
	if !c.Creates(inverse) {
		return e.record(c)
	}
	if err := e.store.Begin(c); err != nil {
		return fmt.Errorf("cannot record the request: %w", err)
	}
	return nil
}

func (e *Engine) record(c bridged.Change) error {
	if c.Empty() {
		return nil
	}
	if err := e.store.Append(c); err != nil {
		return fmt.Errorf("cannot record the request: %w", err)
	}
	return nil
}

// compact rewrites the log when most of it is history.
func (e *Engine) compact() {
	if e.uncompacted.Load() || !e.store.Grown() {
		return
	}
	// While connections of what went wait to be ended, the log had better remember it. Under a load without any pause they always do.
	if !e.purged() && e.postponed.Add(1) < mostPostponed {
		return
	}
	if err := e.compactNow(); err != nil {
		e.log.Warn("cannot compact the log", "error", err)
	}
}

func (e *Engine) compactNow() error {
	e.recording.Lock()
	defer e.recording.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.uncompacted.Load() || !e.store.Grown() || !e.purged() && e.postponed.Add(1) < mostPostponed {
		return nil // somebody else tried, or it is too early
	}
	e.postponed.Store(0)
	err := e.store.Compact(e.index.whole())
	e.uncompacted.Store(err != nil)
	return err
}

// compactAtEnd rewrites the log when nothing of its history is needed any more: the connections of what went were ended. The caller holds e.mu.
func (e *Engine) compactAtEnd() {
	if e.index.departed != nil || !e.purged() {
		return // the start failed before it came to that, or they could not be ended
	}
	if err := e.store.Compact(e.index.whole()); err != nil {
		e.log.Warn("cannot compact the log", "error", err)
	}
}

// mostPostponed is how many requests may put the compaction of the log off.
const mostPostponed = 1000

// carryOut makes the plan's steps until one fails and returns how many were done. What nobody waits for is handed over.
func (e *Engine) carryOut(ctx context.Context, p Plan) (done int, err error) {
	for i, s := range p {
		failpoint.Each("before", s)
		switch s := s.(type) {
		case delPair:
			e.pairs.add(s.pair)
		case delShaper:
			e.pairs.add(pair{Pair: link.Pair{Host: s.name}})
		case endFlows:
			e.purges.add(s.purges()...)
		case join:
			err = e.host.do(ctx, s)
			if err == nil {
				e.fresh.add(s.pair)
			}
		case forward:
			err = e.host.do(ctx, s)
			if err != nil && !s.off {
				e.warn(fmt.Sprintf("cannot %s: %v; containers reach only the host and each other until somebody does it: %s",
					s, err, byHand(bridged.Forwarding{IPv4: !s.ipv6, IPv6: s.ipv6})))
				err = nil
			}
		default:
			err = e.host.do(ctx, s)
		}
		if err != nil {
			return i, fmt.Errorf("cannot %s: %w", firstLine(s.String()), err)
		}
		failpoint.Each("after", s)
	}
	return len(p), nil
}

// takeBack sets the objects to their previous values: what the steps of the plan that were done made of them is compared with these.
func (e *Engine) takeBack(ctx context.Context, back wayBack, plan Plan, done int) error {
	e.mu.Lock()
	e.keepForwarding(&back.change)
	e.index.apply(back.change)
	want := e.compiler().want(back.change, back.touched)
	err := e.store.Append(back.change)
	e.mu.Unlock()
	failpoint.Reached("change taken back in the log")
	have := want.clone()
	for _, s := range plan[:done] {
		s.on(&have)
	}
	if done < len(plan) {
		if failed, ok := plan[done].(join); ok {
			failed.replaces(&have)
		}
	}
	_, undoErr := e.carryOut(ctx, diff(have, want))
	return errors.Join(err, undoErr)
}

func (e *Engine) removePairs(pairs []pair) {
	names := make([]string, len(pairs))
	for i, p := range pairs {
		names[i] = p.Host
	}
	failpoint.Reached("before removing pairs")
	err := e.host.delPairs(names)
	failpoint.Reached("after removing pairs")
	if err != nil {
		e.log.Warn("cannot remove links, and will try again; they have no elements, so nothing passes them", "links", names, "error", err)
		e.doubtful.Store(true)
	}
}

// finish has the kernel finish what it does when a port gets its carrier: before, the port may not forward. Then the pairs can be announced, which nobody
// waits for.
func (e *Engine) finish(pairs []pair) {
	for _, p := range pairs {
		if err := e.host.finish(p); err != nil {
			e.log.Debug("cannot look at a sandbox's link; the kernel finishes it within a second", "link", p.Host, "error", err)
		}
	}
	e.hails.add(pairs...)
}

// announceAtOnce is how many announcements are under way at a time: each waits for the kernel while its socket closes.
const announceAtOnce = 32

func (e *Engine) announce(pairs []pair) {
	var group errgroup.Group
	group.SetLimit(announceAtOnce)
	failpoint.Reached("before announcing")
	for _, p := range pairs {
		group.Go(func() error {
			if err := e.host.announce(p); err != nil {
				e.log.Debug("cannot announce a sandbox's addresses; neighbours learn them when they ask", "link", p.Host, "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // it has no errors
}
