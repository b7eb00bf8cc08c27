package nft

import (
	"context"
	"errors"
	"sync"
)

// Observe reads what the kernel holds: the programs of these tables, and their elements. A table that does not exist is not in the
// Ruleset. What it returns was all there at one time: nobody changed nf_tables in the namespace meanwhile.
func (w *Writer) Observe(ctx context.Context, ids ...TableID) (Ruleset, error) {
	return Ruleset{}, errors.New("not complete")
}

// Adopt becomes the owner of those of the tables that exist and belong to nobody, in one transaction for all. It fails with
// [ErrOwned] when one belongs to another process. Call it before Observe: afterwards nobody else can change them. Without
// protection it commits nothing.
func (w *Writer) Adopt(ctx context.Context, tables []TableID) error {
	return errors.New("not complete")
}

type reader struct {
	mu     *sync.Mutex
	socket socket
}

func newReader(s socket) reader { return reader{mu: new(sync.Mutex), socket: s} }

func (r reader) close() error { return r.socket.close() }
