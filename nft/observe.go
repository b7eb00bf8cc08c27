package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Observe reads what the kernel holds: the programs of these tables, and their elements. A table that does not exist is not in
// Tables. All of it was there at one time: when anybody changes nf_tables in the namespace meanwhile, it reads again, the last
// times with commits of this writer held up.
//
// The programs are decoded from what the kernel will execute. What can't be decoded is in Foreign, and so is a table that has
// other flags than this writer gives its tables.
func (w *Writer) Observe(ctx context.Context, ids ...TableID) (Ruleset, error) {
	i, err := w.TakeInventory(ctx, ids...)
	if err != nil {
		return Ruleset{}, err
	}
	return i.Ruleset(), nil
}

// TakeInventory is Observe for who compares what there is with what is wanted.
func (w *Writer) TakeInventory(ctx context.Context, ids ...TableID) (*Inventory, error) {
	for range freeAttempts {
		i, err := w.observe(ctx, ids)
		if !errors.Is(err, errChanged) {
			return i, err
		}
	}
	r, err := w.turn(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !r.lead {
		return nil, w.release(r)
	}
	defer w.endTurn(r)
	for range heldAttempts {
		i, err := w.observe(ctx, ids)
		if !errors.Is(err, errChanged) {
			return i, err
		}
	}
	return nil, fmt.Errorf("cannot observe: %w, %d times", errChanged, freeAttempts+heldAttempts)
}

// How often TakeInventory reads while this writer may commit, and while it may not.
const (
	freeAttempts = 3
	heldAttempts = 100
)

func (w *Writer) observe(ctx context.Context, ids []TableID) (i *Inventory, err error) {
	err = w.reading(func() error { i, err = w.observeOnce(ctx, ids); return err })
	return i, err
}

// observeOnce reads when the reader is the caller's.
func (w *Writer) observeOnce(ctx context.Context, ids []TableID) (*Inventory, error) {
	before, err := w.reader.generation(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot observe: %w", err)
	}
	i, err := w.reader.inventory(ctx, ids, w.conn.tableFlags)
	if errors.Is(err, unix.ENOENT) { // what was listed first is gone
		err = errChanged
	}
	if err != nil {
		return nil, fmt.Errorf("cannot observe: %w", err)
	}
	i.generation, err = w.reader.generation(ctx)
	if err == nil && before != i.generation {
		err = errChanged
	}
	if err != nil {
		return nil, fmt.Errorf("cannot observe: %w", err)
	}
	return i, nil
}

func (r *reader) inventory(ctx context.Context, ids []TableID, tableFlags uint32) (*Inventory, error) {
	listed, err := r.tables(ctx)
	if err != nil {
		return nil, err
	}
	var observed []*observation
	count := 0
	for _, l := range listed {
		if !slices.Contains(ids, l.id) {
			continue
		}
		o := &observation{reader: r, ctx: ctx, table: Table{ID: l.id}, anonymous: make(map[string]anonymousSet)}
		if l.flags&tableOwner == 0 && l.flags != tableFlags&^tableOwner || l.flags&tableOwner != 0 && l.flags != tableFlags {
			o.foreign("table flags %#x", l.flags)
		}
		if err := o.named(o.sets()); err != nil {
			return nil, err
		}
		observed = append(observed, o)
		count += o.count
	}
	i := newInventory(min(count, mostExpected))
	for _, o := range observed {
		o.elements = i
		if err := o.observe(); err != nil {
			return nil, err
		}
		i.Tables = append(i.Tables, o.table)
	}
	return i, nil
}

// mostExpected is how many elements room is made for before they are read.
const mostExpected = 1 << 17

// Tables are the tables that there are in the namespace, of whomever.
func (w *Writer) Tables(ctx context.Context) ([]TableID, error) {
	listed, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]TableID, len(listed))
	for i, l := range listed {
		ids[i] = l.id
	}
	return ids, nil
}

// list reads until nobody changes the tables meanwhile.
func (w *Writer) list(ctx context.Context) (listed []listedTable, err error) {
	err = errChanged
	for try := 0; errors.Is(err, errChanged) && try < heldAttempts; try++ {
		err = w.reading(func() error { listed, err = w.reader.tables(ctx); return err })
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list tables: %w", err)
	}
	return listed, nil
}

// listedTable is a table in the kernel's list.
type listedTable struct {
	id    TableID
	flags uint32
	owner uint32 // netlink port; 0: nobody
}

func (r *reader) tables(ctx context.Context) (tables []listedTable, err error) {
	const tableOwnerPort = 7 // NFTA_TABLE_OWNER
	err = r.dump(ctx, unix.NFT_MSG_GETTABLE, 0, nil, func(f Family, attrs []byte) error {
		tables = append(tables, listedTable{
			id:    TableID{f, cString(find(attrs, unix.NFTA_TABLE_NAME))},
			flags: bigEndian(find(attrs, unix.NFTA_TABLE_FLAGS)),
			owner: bigEndian(find(attrs, tableOwnerPort)),
		})
		return nil
	})
	return tables, err
}
