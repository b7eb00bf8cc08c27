package nft

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// What an inventory and the elements that are wanted leave of each other is what the one ruleset has and the other has not.
func TestInventory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawRuleset(t, "have"), drawRuleset(t, "want")
		for e := range have.Elements {
			if rapid.Bool().Draw(t, "stays") {
				want.Elements[e] = struct{}{}
			}
		}
		i := NewInventory(have)
		mustBe(t, "all of it", i.Ruleset(), have)
		for e := range have.Elements { // a list may show one twice
			i.add(&e)
		}
		missing, superfluous := maps.Clone(want.Elements), maps.Clone(have.Elements)
		for e := range want.Elements {
			_, there := have.Elements[e]
			if i.Want(&e) != there {
				t.Fatalf("%v: that it is there is %t", e, !there)
			}
			if there {
				delete(missing, e)
				delete(superfluous, e)
			}
		}
		if got := i.Unwanted(); !maps.Equal(got, superfluous) {
			t.Errorf("unwanted are %v, not %v", got, superfluous)
		}
		if !i.Holds(have.Tables) {
			t.Error("it does not hold its own tables")
		}
		if same := i.Holds(want.Tables); same != Diff(Ruleset{Tables: have.Tables}, Ruleset{Tables: want.Tables}).Empty() {
			t.Errorf("that it holds the other tables is %t", same)
		}
	})
}

// An inventory that had no room makes it.
func TestInventoryGrows(t *testing.T) {
	i := newInventory(0)
	for n := range 5000 {
		e := publication(n)[0]
		i.add(&e)
	}
	for n := range 5001 {
		e := publication(n)[0]
		if there := i.Want(&e); there != (n < 5000) {
			t.Fatalf("that element %d is there is %t", n, there)
		}
	}
	if len(i.Unwanted()) > 0 {
		t.Errorf("there is more than was added: %v", i.Unwanted())
	}
}

// An inventory is good until somebody changes something, also elsewhere in the namespace: but an adoption takes nothing from it.
func TestStill(t *testing.T) {
	newNamespace(t)
	ctx := t.Context()
	first := dial(t, Options{})
	mustCommit(t, first, Diff(Ruleset{}, small()))
	mustFail(t, "close", first.Close(), nil)
	w, other := dial(t, Options{}), dial(t, Options{Protection: ProtectionMonitor})
	take := func() *Inventory {
		t.Helper()
		i, err := w.TakeInventory(ctx, smallIDs...)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	is := func(what string, i *Inventory, want bool) {
		t.Helper()
		if got, err := w.Still(ctx, i); got != want || err != nil {
			t.Errorf("%s: that it is still so is %t, %v", what, got, err)
		}
	}
	foreign := Ruleset{Tables: []Table{{ID: TableID{Inet, "foreign"}}}}
	orphans := take()
	is("at once", orphans, true)
	mustFail(t, "adopt", w.Adopt(ctx, smallIDs), nil)
	is("after the adoption", orphans, true)
	adopted := take()
	mustBe(t, "what was adopted", adopted.Ruleset(), orphans.Ruleset())
	is("after the adoption, at once", adopted, true)
	mustCommit(t, other, Diff(Ruleset{}, foreign))
	is("after a stranger", adopted, false)
	is("after an adoption and a stranger", orphans, false)
	again := take()
	tx := NewTx(small().Tables...)
	tx.Add(Element{Set: SetID{smallIDs[0], "names"}, Key: Name("more")})
	mustCommit(t, w, tx)
	is("after a commit", again, false)

	mustFail(t, "close", w.Close(), nil)
	w = dial(t, Options{})
	before := take()
	mustCommit(t, other, Diff(foreign, Ruleset{}))
	mustFail(t, "adopt", w.Adopt(ctx, smallIDs), nil)
	is("after a stranger and the adoption", before, false)
}
