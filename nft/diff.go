package nft

import (
	"reflect"
	"slices"
)

// Elements is a set of elements: what the sets and maps of one or more tables hold.
type Elements map[Element]struct{}

// Ruleset is tables and what their sets and maps hold. The zero value is an empty ruleset.
type Ruleset struct {
	Tables   []Table
	Elements Elements
}

// Diff returns the transaction that makes want of have; it is empty when there is nothing to do.
//
// Elements are deleted and added one by one; one whose data or end changed is deleted and added. A table that is missing is
// created, one that is not wanted is deleted. Where a table's program differs, all of its rules are written anew in the same
// transaction: chains and sets that are equal stay, sets with what they hold; the others are deleted and created.
// A table with Foreign parts is deleted and created. The program is compared as it is, never by name or hash alone.
//
// The transaction refers to the tables of want, and to the elements of neither.
func Diff(have, want Ruleset) *Tx {
	tx := NewTx(want.Tables...)
	var gone setIDs
	if !sameSlice(have.Tables, want.Tables) {
		gone = tx.diffTables(have.Tables, want.Tables)
	}
	stays := 0
	for e := range have.Elements {
		if _, ok := want.Elements[e]; ok {
			stays++
		} else if !gone.has(e.Set) {
			tx.Delete(e)
		}
	}
	if stays == len(want.Elements) && gone.empty() {
		return tx // all that is wanted is there
	}
	for e := range want.Elements {
		if _, ok := have.Elements[e]; !ok || gone.has(e.Set) {
			tx.Add(e)
		}
	}
	return tx
}

// setIDs are the sets that a transaction deletes, as a whole or to create them again: their elements go with them.
type setIDs struct {
	tables map[TableID]bool
	sets   map[SetID]bool
}

func (s setIDs) has(id SetID) bool { return s.tables[id.Table] || s.sets[id] }

func (s setIDs) empty() bool { return len(s.tables)+len(s.sets) == 0 }

// diffTables appends the program's changes.
func (tx *Tx) diffTables(have, want []Table) setIDs {
	gone := setIDs{tables: make(map[TableID]bool), sets: make(map[SetID]bool)}
	for i := range have {
		if h := &have[i]; findTable(want, h.ID) == nil {
			tx.DeleteTable(h.ID)
			gone.tables[h.ID] = true
		}
	}
	for i := range want {
		w := &want[i]
		h := findTable(have, w.ID)
		switch {
		case h == nil:
			tx.AddTable(*w)
			gone.tables[w.ID] = true
		case len(h.Foreign) > 0:
			tx.DeleteTable(w.ID)
			tx.AddTable(*w)
			gone.tables[w.ID] = true
		case !h.equal(w):
			tx.replaceProgram(h, w)
			for j := range h.Sets {
				if s := &h.Sets[j]; !s.equal(w.set(s.Name)) {
					gone.sets[SetID{w.ID, s.Name}] = true
				}
			}
		}
	}
	return gone
}

// replaceProgram changes the table h into w. Rules go first, so that nothing refers to chains and sets that go after them; then
// what the new rules refer to is made, then the rules.
func (tx *Tx) replaceProgram(h, w *Table) {
	tx.op(op{kind: takeTable, table: w})
	tx.op(op{kind: deleteRules, table: w})
	for i := range h.Chains {
		if c := &h.Chains[i]; !c.sameHook(w.chain(c.Name)) {
			tx.op(op{kind: deleteChain, table: w, chain: c})
		}
	}
	for i := range h.Sets {
		if s := &h.Sets[i]; !s.equal(w.set(s.Name)) {
			tx.op(op{kind: deleteSet, table: w, set: s})
		}
	}
	for i := range w.Sets {
		if s := &w.Sets[i]; !s.equal(h.set(s.Name)) {
			tx.op(op{kind: addSet, table: w, set: s})
		}
	}
	for i := range w.Chains {
		if c := &w.Chains[i]; !c.sameHook(h.chain(c.Name)) {
			tx.op(op{kind: addChain, table: w, chain: c})
		}
	}
	tx.addRules(w)
}

// equal tells whether two tables have the same program, in whatever order sets and chains are listed.
func (t *Table) equal(o *Table) bool {
	if t.ID != o.ID || len(t.Sets) != len(o.Sets) || len(t.Chains) != len(o.Chains) || len(t.Foreign)+len(o.Foreign) > 0 {
		return false
	}
	for i := range t.Sets {
		if !t.Sets[i].equal(o.set(t.Sets[i].Name)) {
			return false
		}
	}
	for i := range t.Chains {
		c := &t.Chains[i]
		d := o.chain(c.Name)
		if !c.sameHook(d) || !slices.EqualFunc(c.Rules, d.Rules, equalRules) {
			return false
		}
	}
	return true
}

func equalRules(a, b Rule) bool { return reflect.DeepEqual(a, b) }

// equal is false for nil.
func (s *Set) equal(o *Set) bool {
	return o != nil && s.Name == o.Name && slices.Equal(s.Key, o.Key) && slices.Equal(s.Data, o.Data) && s.Interval == o.Interval &&
		s.Counter == o.Counter && s.Size == o.Size && s.LimitOverPerSecond == o.LimitOverPerSecond
}

// sameHook tells whether the chains can stand for each other once their rules are written; false for nil.
func (c *Chain) sameHook(o *Chain) bool {
	if o == nil || c.Name != o.Name || (c.Hook == nil) != (o.Hook == nil) {
		return false
	}
	return c.Hook == nil || *c.Hook == *o.Hook
}

func (t *Table) set(name string) *Set {
	for i := range t.Sets {
		if t.Sets[i].Name == name {
			return &t.Sets[i]
		}
	}
	return nil
}

func (t *Table) chain(name string) *Chain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

func findTable(tables []Table, id TableID) *Table {
	for i := range tables {
		if tables[i].ID == id {
			return &tables[i]
		}
	}
	return nil
}

// sameSlice tells whether a and b are one and the same slice: nothing need be compared.
func sameSlice(a, b []Table) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
