package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchBuffer is the receive buffer of a Watcher, in bytes: some ten thousand changed elements.
const watchBuffer = 4 << 20

// attrTable is the attribute with the table's name, the same in the messages of all objects: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE,
// NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE (linux/netfilter/nf_tables.h).
const attrTable = 1

// Watcher notices when others change tables that the writer has written.
type Watcher struct {
	conn   *netlink.Conn
	writer *Writer // whose changes are our own
	tables []TableID
}

// Watch subscribes to changes of the tables, in the calling thread's network namespace, which must be the writer's. No change after
// its return is missed.
func (w *Writer) Watch(tables ...TableID) (*Watcher, error) { return w.watch(watchBuffer, tables) }

func (w *Writer) watch(buffer int, tables []TableID) (*Watcher, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netfilter socket: %w", err)
	}
	conn.SetReadBuffer(buffer) // a smaller one only means that more is reported than happened
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot subscribe to nf_tables notifications: %w", err)
	}
	return &Watcher{conn: conn, writer: w, tables: tables}, nil
}

// Run calls changed for each batch of notifications that tells of a change by somebody else, or when notifications were lost, until
// ctx is done (then it returns nil) or the socket fails. It closes the Watcher.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	defer w.conn.Close()
	stop := context.AfterFunc(ctx, func() { w.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		messages, err := w.conn.Receive()
		switch {
		case ctx.Err() != nil && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)):
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed()
		case err != nil:
			return fmt.Errorf("cannot receive nf_tables notifications: %w", err)
		case slices.ContainsFunc(messages, w.concerns):
			changed()
		}
	}
}

// Close is for a Watcher that is not run.
func (w *Watcher) Close() error { return w.conn.Close() }

// concerns says whether a notification is of one of the tables, and not of our own making.
func (w *Watcher) concerns(m netlink.Message) bool {
	const header = 4 // struct nfgenmsg
	if m.Header.PID == w.writer.portID.Load() || len(m.Data) < header || uint16(m.Header.Type)>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return false
	}
	for attributes.Next() {
		if attributes.Type() == attrTable {
			return slices.Contains(w.tables, TableID{Family: Family(m.Data[0]), Name: attributes.String()})
		}
	}
	return false
}
