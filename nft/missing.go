package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Missing asks the kernel for elements one by one, and returns those that it does not hold, or holds with other data. The time it takes does
// not depend on how many others there are. Of an interval it only asks whether its first value is in the set.
func (w *Writer) Missing(ctx context.Context, elements []Element) (missing []Element, err error) {
	err = w.reading(func() error {
		missing = nil
		for _, e := range elements {
			there, err := w.reader.holds(ctx, e)
			if err != nil {
				return fmt.Errorf("cannot look for an element of %s: %w", e.Set, err)
			}
			if !there {
				missing = append(missing, e)
			}
		}
		return nil
	})
	return missing, err
}

// holds says whether the element is there.
func (r *reader) holds(ctx context.Context, e Element) (there bool, err error) {
	request := func(b *batch) {
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, e.Set.Table.Name)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, e.Set.Name)
		list := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		outer := b.nest(unix.NFTA_LIST_ELEM)
		b.value(unix.NFTA_SET_ELEM_KEY, e.Key.Bytes())
		b.unnest(outer)
		b.unnest(list)
	}
	err = r.ask(ctx, unix.NFT_MSG_GETSETELEM, unix.NLM_F_REQUEST, e.Set.Table.Family, request, func(_ Family, attrs []byte) error {
		eachElement(attrs, func(have *elementAttributes) {
			there = there || e.Data.n == 0 || bytes.Equal(have.data, e.Data.Bytes())
		})
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return there, err
}
