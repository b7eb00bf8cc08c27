package apitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/api"
	"github.com/bridged/bridged/hostcheck"
)

// Engine is an [api.Engine] in memory. Its ids, names and times are always the same ones, in the order in which they are asked
// for. It knows networks of IPv4 and IPv6 and gives out addresses upwards. It is safe for concurrent use.
type Engine struct {
	mu        sync.Mutex
	ready     chan struct{}
	made      int // ids given out
	networks  map[string]bridged.Network
	sandboxes map[string]bridged.Sandbox
	endpoints map[string]bridged.Endpoint
	ports     map[bridged.Binding]bridged.Port
	links     map[bridged.LinkID]bridged.Link
	fail      error
	warnings  []string
	ruleset   map[bridged.RulesetView]string
	events    []bridged.Event
	more      chan struct{} // closed when another event comes
}

var _ api.Engine = (*Engine)(nil)

// start is when everything is created.
var start = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// New is an engine that is not ready yet, with the three networks that exist from the start.
func New() *Engine {
	e := &Engine{
		ready:     make(chan struct{}),
		networks:  make(map[string]bridged.Network),
		sandboxes: make(map[string]bridged.Sandbox),
		endpoints: make(map[string]bridged.Endpoint),
		ports:     make(map[bridged.Binding]bridged.Port),
		links:     make(map[bridged.LinkID]bridged.Link),
		ruleset:   make(map[bridged.RulesetView]string),
		more:      make(chan struct{}),
	}
	e.addNetwork(bridged.Network{
		Name: bridged.NetworkBridge, Driver: bridged.DriverBridge, ICC: true, Masquerade: true,
		IPv4: bridged.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.42.1")},
	})
	e.addNetwork(bridged.Network{Name: bridged.NetworkHost, Driver: bridged.DriverHost})
	e.addNetwork(bridged.Network{Name: bridged.NetworkNone, Driver: bridged.DriverNull})
	return e
}

// MarkReady makes the engine ready. It can be called once.
func (e *Engine) MarkReady() { close(e.ready) }

// Fail makes each later change fail with err; nil ends it.
func (e *Engine) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = err
}

// Warn makes each later change succeed with these warnings.
func (e *Engine) Warn(warnings ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.warnings = warnings
}

// SetRuleset sets what a view shows; the view diff differs when it is not empty.
func (e *Engine) SetRuleset(view bridged.RulesetView, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ruleset[view] = text
}

// Ready is closed by MarkReady.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Status counts what there is.
func (e *Engine) Status() bridged.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := bridged.Status{
		Version: "test", Protection: "owner+persist", ICCBy: "bridge table",
		Networks: len(e.networks), Sandboxes: len(e.sandboxes), Endpoints: len(e.endpoints), Ports: len(e.ports),
		Transactions: uint64(e.made), Warnings: e.warnings,
	}
	select {
	case <-e.ready:
		s.Ready, s.Since = true, start
	default:
	}
	return s
}

// Findings are none.
func (e *Engine) Findings() []hostcheck.Finding { return nil }

// Ruleset is what SetRuleset set.
func (e *Engine) Ruleset(_ context.Context, view bridged.RulesetView) (string, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := e.ruleset[view]
	return text, view == bridged.RulesetDiff && text != "", e.fail
}

// newID is a made-up id: the hash of how many there were before.
func (e *Engine) newID() string {
	e.made++
	sum := sha256.Sum256(fmt.Append(nil, e.made))
	return hex.EncodeToString(sum[:])
}

// find is the id of the object with that name, id or unique beginning of an id.
func find[V any](kind, ref string, all map[string]V, name func(V) string) (string, error) {
	var found []string
	for id, v := range all {
		if name(v) == ref || id == ref {
			return id, nil
		}
		if ref != "" && strings.HasPrefix(id, ref) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", bridged.Errorf(bridged.ErrNotFound, "%s %s not found", kind, ref)
	case 1:
		return found[0], nil
	}
	return "", bridged.Errorf(bridged.ErrInvalid, "%s id %s is ambiguous: use more digits", kind, ref)
}

func (e *Engine) findNetwork(ref string) (string, error) {
	return find("network", ref, e.networks, func(n bridged.Network) string { return n.Name })
}

func (e *Engine) findSandbox(ref string) (string, error) {
	return find("sandbox", ref, e.sandboxes, func(s bridged.Sandbox) string { return s.Name })
}

func (e *Engine) addNetwork(n bridged.Network) string {
	n.ID, n.Created = e.newID(), start
	e.networks[n.ID] = n
	return n.ID
}

// sorted are the values in the order of their keys.
func sorted[V any](m map[string]V) []V {
	var all []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[k])
	}
	return all
}
