package nft

// Tx is a transaction as a value: what shall be changed, all of it or nothing. The zero value is an empty transaction that knows no
// table declarations; it can carry elements of sets without intervals. [NewTx] makes one for any set.
//
// Whatever the order of the calls, elements are deleted first, then the program is changed, then elements are added. A Tx can be
// used again after Reset, without allocating. It is not safe for concurrent use; a [Writer] reads it until Commit returns.
type Tx struct {
	tables []Table
	del    groups
	ops    []op
	add    groups
}

// op is one change of the program.
type op struct {
	kind  opKind
	table *Table
	set   *Set
	chain *Chain
	rule  Rule
}

type opKind uint8

const (
	addTable    opKind = iota + 1
	takeTable          // become the owner of a table that is there
	deleteTable        // with everything in it
	addSet
	deleteSet
	addChain
	deleteChain
	addRule
	deleteRules // all rules of the table
)

// NewTx makes an empty transaction for elements of these tables. The Tx keeps the slice and does not change it.
func NewTx(tables ...Table) *Tx { return &Tx{tables: tables} }

// Add adds an element. Committing it fails with EEXIST when the set has an element of that key, or an interval that overlaps. In a
// set with intervals every element has an End; a single value is its own.
func (tx *Tx) Add(e Element) { tx.add.append(tx.tables, &e) }

// Delete deletes an element. Committing it fails with ENOENT when the set has no element of that key. Data are not looked at.
func (tx *Tx) Delete(e Element) { tx.del.append(tx.tables, &e) }

// AddTable creates a table with its sets, chains and rules, owned by the writer where the kernel can do that. The table may have
// been deleted earlier in the same transaction.
func (tx *Tx) AddTable(t Table) {
	p := &t
	tx.op(op{kind: addTable, table: p})
	for i := range p.Sets {
		tx.op(op{kind: addSet, table: p, set: &p.Sets[i]})
	}
	for i := range p.Chains {
		tx.op(op{kind: addChain, table: p, chain: &p.Chains[i]})
	}
	tx.addRules(p)
}

// DeleteTable deletes a table and all that is in it.
func (tx *Tx) DeleteTable(id TableID) {
	tx.op(op{kind: deleteTable, table: &Table{ID: id}})
}

func (tx *Tx) addRules(t *Table) {
	for i := range t.Chains {
		for _, r := range t.Chains[i].Rules {
			tx.op(op{kind: addRule, table: t, chain: &t.Chains[i], rule: r})
		}
	}
}

func (tx *Tx) op(o op) { tx.ops = append(tx.ops, o) }

// Empty tells whether there is nothing to do.
func (tx *Tx) Empty() bool { return len(tx.del) == 0 && len(tx.ops) == 0 && len(tx.add) == 0 }

// Len is the number of changes: elements, tables, sets, chains, rules.
func (tx *Tx) Len() int { return tx.del.len() + len(tx.ops) + tx.add.len() }

// Reset empties the transaction; its tables stay.
func (tx *Tx) Reset() {
	tx.del.reset()
	tx.add.reset()
	clear(tx.ops)
	tx.ops = tx.ops[:0]
}

// groups are elements by set, because a message carries elements of one set.
type groups []group

type group struct {
	id       SetID
	set      *Set // nil when its declaration is not known
	elements []Element
}

func (gs *groups) append(tables []Table, e *Element) {
	for i := len(*gs) - 1; i >= 0; i-- {
		if g := &(*gs)[i]; g.id == e.Set {
			g.elements = append(g.elements, *e)
			return
		}
	}
	n := len(*gs)
	if n < cap(*gs) { // a group that reset left behind: its elements' memory is used again
		*gs = (*gs)[:n+1]
	} else {
		*gs = append(*gs, group{})
	}
	g := &(*gs)[n]
	g.elements = append(g.elements[:0], *e)
	if g.id == e.Set {
		return // as before the reset
	}
	g.id, g.set = e.Set, nil
	if t := findTable(tables, e.Set.Table); t != nil {
		g.set = t.set(e.Set.Name)
	}
}

func (gs groups) len() int {
	n := 0
	for i := range gs {
		n += len(gs[i].elements)
	}
	return n
}

func (gs *groups) reset() { *gs = (*gs)[:0] }
