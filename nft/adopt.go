package nft

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"
)

// Adopt becomes the owner of those of the tables that are there and belong to nobody: orphans of an earlier writer, in one
// transaction for all. When there are none, it commits nothing. It fails with [ErrOwned] when one belongs to another process.
// Call it before Observe, or ask afterwards whether that is still so ([Writer.Still]): from then on nobody else can change them. Tables that can't be
// adopted because they were created without protection, or this writer has none, are left alone; Observe calls them foreign, so that Diff replaces
// them.
func (w *Writer) Adopt(ctx context.Context, tables []TableID) error {
	listed, err := w.list(ctx)
	if err != nil {
		return err
	}
	tx, err := w.adoption(slices.DeleteFunc(listed, func(l listedTable) bool { return !slices.Contains(tables, l.id) }))
	if err != nil || w.protection != ProtectionOwner || tx.Empty() {
		return err
	}
	led := w.led.Load()
	before, err := w.generation(ctx)
	if err != nil {
		return err
	}
	if err := w.Commit(ctx, tx); err != nil {
		return err
	}
	if after, err := w.generation(ctx); err == nil && after == before+1 && w.led.Load() == led+1 {
		w.adopted.Store(&generations{before, after})
	}
	return nil
}

// generations are the numbers of the ruleset before a transaction and after it, with which nothing else happened.
type generations struct{ before, after uint32 }

// adoption takes those of the tables that are orphans, and notes those that are the writer's.
func (w *Writer) adoption(listed []listedTable) (*Tx, error) {
	tx := NewTx()
	for _, l := range listed {
		switch {
		case l.owner != 0 && l.owner != w.portID.Load():
			return nil, &Error{Op: opNames[takeTable], Table: l.id, Errno: unix.EPERM, Kind: ErrOwned}
		case l.owner != 0:
			w.conn.owned.add(l.id)
		case l.flags == tablePersist:
			tx.op(op{kind: takeTable, table: &Table{ID: l.id}})
		}
	}
	return tx, nil
}

// Still tells whether the kernel holds what the inventory says: nobody has changed anything since in the namespace, whosever tables these are, but
// that this writer adopted some, which changes nothing that an inventory has.
func (w *Writer) Still(ctx context.Context, i *Inventory) (bool, error) {
	now, err := w.generation(ctx)
	if err != nil {
		return false, err
	}
	a := w.adopted.Load()
	return now == i.generation || a != nil && *a == generations{i.generation, now}, nil
}

func (w *Writer) generation(ctx context.Context) (id uint32, err error) {
	err = w.reading(func() error { id, err = w.reader.generation(ctx); return err })
	return id, err
}
