package nft

import "slices"

// Apply makes the changes of a transaction on r: what the kernel holds after a commit. It changes r's map, and puts a slice of its
// own in the place of r's tables.
func (r *Ruleset) Apply(tx *Tx) {
	if r.Elements == nil {
		r.Elements = make(Elements)
	}
	byKey := r.index(tx.del)
	for i := range tx.del {
		for _, e := range tx.del[i].elements {
			delete(r.Elements, byKey[e.key()])
		}
	}
	if len(tx.ops) > 0 {
		r.Tables = slices.Clone(r.Tables)
	}
	for i := range tx.ops {
		r.apply(&tx.ops[i])
	}
	for i := range tx.add {
		for _, e := range tx.add[i].elements {
			r.Elements[e] = struct{}{}
		}
	}
}

// key is what a set finds an element by: without its data, and without the end of its interval, as intervals don't overlap.
func (e Element) key() Element { return Element{Set: e.Set, Key: e.Key} }

// index finds the elements that are to be deleted: the kernel deletes by key.
func (r *Ruleset) index(del groups) map[Element]Element {
	byKey := make(map[Element]Element, del.len())
	missing := 0
	for i := range del {
		for _, e := range del[i].elements {
			if _, ok := r.Elements[e]; ok {
				byKey[e.key()] = e
			} else {
				missing++
			}
		}
	}
	if missing > 0 { // with other data than those in the transaction
		for e := range r.Elements {
			if _, ok := byKey[e.key()]; !ok {
				byKey[e.key()] = e
			}
		}
	}
	return byKey
}

func (r *Ruleset) apply(o *op) {
	at := slices.IndexFunc(r.Tables, func(t Table) bool { return t.ID == o.table.ID })
	switch o.kind {
	case addTable:
		r.Tables = append(r.Tables, Table{ID: o.table.ID})
		return
	case deleteTable:
		r.Tables = slices.DeleteFunc(r.Tables, func(t Table) bool { return t.ID == o.table.ID })
		r.drop(func(id SetID) bool { return id.Table == o.table.ID })
		return
	}
	if at < 0 {
		return
	}
	t := &r.Tables[at]
	switch o.kind {
	case addSet:
		t.Sets = append(slices.Clip(t.Sets), *o.set)
	case deleteSet:
		t.Sets = slices.DeleteFunc(slices.Clone(t.Sets), func(s Set) bool { return s.Name == o.set.Name })
		r.drop(func(id SetID) bool { return id == SetID{o.table.ID, o.set.Name} })
	case addChain:
		t.Chains = append(slices.Clip(t.Chains), Chain{Name: o.chain.Name, Hook: o.chain.Hook})
	case deleteChain:
		t.Chains = slices.DeleteFunc(slices.Clone(t.Chains), func(c Chain) bool { return c.Name == o.chain.Name })
	case deleteRules:
		t.Chains = slices.Clone(t.Chains)
		for i := range t.Chains {
			t.Chains[i].Rules = nil
		}
	case addRule:
		if c := t.chain(o.chain.Name); c != nil {
			c.Rules = append(slices.Clip(c.Rules), o.rule)
		}
	}
}

// drop removes the elements of sets that are gone.
func (r *Ruleset) drop(gone func(SetID) bool) {
	for e := range r.Elements {
		if gone(e.Set) {
			delete(r.Elements, e)
		}
	}
}
