package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bridged/bridged"
)

// pruned is an engine with networks of several kinds; nothing is in na to ne. (No name could be the beginning of an id.)
func pruned(t *testing.T, h *fakeHost) *Engine {
	t.Helper()
	ctx := context.Background()
	e, stop := startFake(t, testConfig(t), h)
	t.Cleanup(stop)
	for name, labels := range map[string]map[string]string{
		"na": nil, "nb": {"tier": "db"}, "nc": {"tier": "web", "keep": ""}, "nd": {"tier": "db", "keep": "yes"}, "ne": {}, "member": {"tier": "db"}, "lease": nil,
		"nf": {bridged.LabelDocker: ""},
	} {
		if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: name, Labels: labels}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "s", Network: "member"}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "key", Network: "lease"}); err != nil {
		t.Fatal(err)
	}
	return e
}

func networkNames(e *Engine) (names []string) {
	for _, n := range e.Networks() {
		names = append(names, n.Name)
	}
	return names
}

// TestPrune: what nothing is in goes, when it is meant; what is there from the start stays.
func TestPrune(t *testing.T) {
	for _, c := range []struct {
		name string
		spec bridged.PruneSpec
		want []string
	}{
		{"all", bridged.PruneSpec{}, []string{"na", "nb", "nc", "nd", "ne"}},
		{"a label", bridged.PruneSpec{Labels: []string{"tier"}}, []string{"nb", "nc", "nd"}},
		{"a label's value", bridged.PruneSpec{Labels: []string{"tier=db"}}, []string{"nb", "nd"}},
		{"two labels", bridged.PruneSpec{Labels: []string{"tier=db", "keep"}}, []string{"nd"}},
		{"Docker's", bridged.PruneSpec{Labels: []string{bridged.LabelDocker}}, []string{"nf"}},
		{"no such label", bridged.PruneSpec{Labels: []string{"tier=d"}}, nil},
		{"without a label", bridged.PruneSpec{NoLabels: []string{"keep"}}, []string{"na", "nb", "ne"}},
		{"without one of two", bridged.PruneSpec{NoLabels: []string{"keep", "tier=db"}}, []string{"na", "ne"}},
		{"without a value", bridged.PruneSpec{Labels: []string{"keep"}, NoLabels: []string{"keep=yes"}}, []string{"nc"}},
		{"old ones", bridged.PruneSpec{Until: time.Now().Add(-time.Minute)}, nil},
		{"new ones", bridged.PruneSpec{Until: time.Now().Add(time.Hour)}, []string{"na", "nb", "nc", "nd", "ne"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHost()
			e := pruned(t, h)
			before := networkNames(e)
			removed, err := e.PruneNetworks(t.Context(), c.spec)
			if d := cmp.Diff(c.want, removed); err != nil || d != "" {
				t.Errorf("%v; -want +removed\n%s", err, d)
			}
			want := slices.DeleteFunc(before, func(n string) bool { return slices.Contains(removed, n) })
			if d := cmp.Diff(want, networkNames(e)); d != "" {
				t.Errorf("what is there: -want +have\n%s", d)
			}
			checkKernel(t, e, h)
		})
	}
}

// TestPruneGoesOn: one that the kernel keeps does not keep the others, and is named.
func TestPruneGoesOn(t *testing.T) {
	h := newFakeHost()
	e := pruned(t, h)
	h.failNext(1)
	removed, err := e.PruneNetworks(t.Context(), bridged.PruneSpec{})
	if !errors.Is(err, errFake) || !strings.HasPrefix(err.Error(), "cannot remove network na: ") {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff([]string{"nb", "nc", "nd", "ne"}, removed); d != "" {
		t.Errorf("-want +removed\n%s", d)
	}
	if _, err := e.Network("na"); err != nil {
		t.Error(err)
	}
	checkKernel(t, e, h)
}

// TestPruneRaces: a network that somebody joins meanwhile stays, or was gone before; no sandbox is left without its network.
func TestPruneRaces(t *testing.T) {
	h := newFakeHost()
	e := pruned(t, h)
	names := []string{"na", "nb", "nc", "nd", "ne"}
	joined := make([]bool, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() {
			_, err := e.CreateSandbox(t.Context(), bridged.SandboxSpec{Name: "in-" + name, Network: name})
			joined[i] = err == nil
			if err != nil && !errors.Is(err, bridged.ErrNotFound) {
				t.Errorf("join %s: %v", name, err)
			}
		})
	}
	removed, err := e.PruneNetworks(t.Context(), bridged.PruneSpec{})
	if err != nil {
		t.Error(err)
	}
	group.Wait()
	for i, name := range names {
		if joined[i] == slices.Contains(removed, name) {
			t.Errorf("network %s: joined %v, removed %v", name, joined[i], removed)
		}
	}
	checkKernel(t, e, h)
}
