package nft

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// Inventory is what a [Writer] found in the kernel, for who compares it with what is wanted: element by element, in a fraction of the time and the
// memory that two [Elements] and their [Diff] take. Want may be called by several goroutines at a time.
type Inventory struct {
	Tables []Table
	// elements are those of the tables, each once: a kernel that makes room in a set while it is listed may show one twice.
	elements []Element
	wanted   []uint32 // 1: the element is wanted
	// slots finds an element: an open hash table of twice as many, at least, each the upper half of a hash and one more than the element's
	// number.
	slots []uint64
	seed  maphash.Seed
	// generation is the number of the ruleset that this was.
	generation uint32
}

// NewInventory is an inventory of a ruleset.
func NewInventory(rs Ruleset) *Inventory {
	i := newInventory(len(rs.Elements))
	i.Tables = rs.Tables
	for e := range rs.Elements {
		i.add(&e)
	}
	return i
}

// newInventory has room for this many elements, and makes more when it is needed.
func newInventory(elements int) *Inventory {
	return &Inventory{
		elements: make([]Element, 0, elements), wanted: make([]uint32, 0, elements),
		slots: make([]uint64, slotsFor(elements)), seed: maphash.MakeSeed(),
	}
}

// slotsFor is the size of the hash table for that many elements: a power of two.
func slotsFor(elements int) int { return 1 << bits.Len(uint(2*elements+1)) }

func (i *Inventory) add(e *Element) {
	h := i.hash(e)
	slot, found := i.find(e, h)
	if found {
		return
	}
	i.elements, i.wanted = append(i.elements, *e), append(i.wanted, 0)
	i.slots[slot] = h&^lowHalf | uint64(len(i.elements))
	if 2*len(i.elements) > len(i.slots) {
		i.grow()
	}
}

const lowHalf = 1<<32 - 1

// find finds the element's slot, or the free one where it belongs.
func (i *Inventory) find(e *Element, h uint64) (slot int, found bool) {
	mask := len(i.slots) - 1
	for slot = int(h) & mask; i.slots[slot] != 0; slot = (slot + 1) & mask {
		if s := i.slots[slot]; (s^h)&^lowHalf == 0 && i.elements[s&lowHalf-1] == *e {
			return slot, true
		}
	}
	return slot, false
}

// grow doubles the hash table.
func (i *Inventory) grow() {
	i.slots = make([]uint64, 2*len(i.slots))
	for n := range i.elements {
		e := &i.elements[n]
		h := i.hash(e)
		slot, _ := i.find(e, h)
		i.slots[slot] = h&^lowHalf | uint64(n+1)
	}
}

// hash is one of the key: few sets have the same.
func (i *Inventory) hash(e *Element) uint64 {
	return maphash.Bytes(i.seed, e.Key.Bytes()) + uint64(len(e.Set.Name))
}

// Want notes that the element is wanted, and tells whether it is there.
func (i *Inventory) Want(e *Element) bool {
	slot, found := i.find(e, i.hash(e))
	if !found {
		return false
	}
	atomic.StoreUint32(&i.wanted[i.slots[slot]&lowHalf-1], 1)
	return true
}

// Unwanted are the elements that there are, and that nobody wanted.
func (i *Inventory) Unwanted() Elements {
	unwanted := make(Elements)
	for n := range i.elements {
		if i.wanted[n] == 0 {
			unwanted[i.elements[n]] = struct{}{}
		}
	}
	return unwanted
}

// Ruleset is all that there is.
func (i *Inventory) Ruleset() Ruleset {
	rs := Ruleset{Tables: i.Tables, Elements: make(Elements, len(i.elements))}
	for n := range i.elements {
		rs.Elements[i.elements[n]] = struct{}{}
	}
	return rs
}

// Holds tells whether there are just these tables, with just these programs: what differs then are elements.
func (i *Inventory) Holds(tables []Table) bool {
	if len(i.Tables) != len(tables) {
		return false
	}
	for n := range i.Tables {
		t := &i.Tables[n]
		if w := findTable(tables, t.ID); w == nil || !t.equal(w) {
			return false
		}
	}
	return true
}
