package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// reader asks the kernel for lists. It has a socket of its own, open as long as the writer's: closing it would wait for a grace
// period.
type reader struct {
	mu     sync.Mutex
	socket socket
	closed bool
	seq    uint32
	// buf is as large as the kernel's largest answer. It learns the size from the first receive, and fills smaller ones when
	// that is small: lists are quadratic in their length over this size.
	buf [64 << 10]byte
}

// errChanged: somebody changed nf_tables while it was read.
var errChanged = errors.New("the ruleset changed while it was read")

// dump asks for a list, and calls f with the attributes of each message.
func (r *reader) dump(ctx context.Context, typ uint16, family Family, attrs func(*batch), f func(family Family, attrs []byte) error) error {
	return r.ask(ctx, typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, family, attrs, f)
}

// ask sends a request and reads its answer. Without NLM_F_DUMP that is one message.
func (r *reader) ask(ctx context.Context, typ, flags uint16, family Family, attrs func(*batch), f func(Family, []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.closed {
		return ErrClosed
	}
	r.seq++
	request := batch{seq: r.seq}
	request.header(subsystem|typ, family, flags, 0)
	if attrs != nil {
		attrs(&request)
	}
	request.end()
	if err := r.socket.send(request.buf); err != nil {
		return &brokenError{fmt.Errorf("cannot ask nf_tables: %w", err)}
	}
	a := answer{seq: r.seq, dump: flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP}
	for !a.done {
		n, err := r.socket.receive(r.buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return &brokenError{fmt.Errorf("cannot read nf_tables: %w", err)}
		}
		a.read(r.buf[:n], f)
	}
	if a.dump && errors.Is(a.err, unix.EBUSY) { // an earlier list was not read to its end
		return &brokenError{a.err}
	}
	return a.err
}

// answer is what has come of an answer.
type answer struct {
	seq  uint32
	dump bool
	done bool
	err  error
}

// read reads the messages of one datagram. After an error it goes on to the answer's end, so that nothing of it is left.
func (a *answer) read(b []byte, f func(Family, []byte) error) {
	for len(b) >= unix.SizeofNlMsghdr && !a.done {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return
		}
		m := b[:size]
		b = b[min(len(b), (size+3)&^3):]
		if binary.NativeEndian.Uint32(m[8:]) != a.seq {
			continue
		}
		if binary.NativeEndian.Uint16(m[6:])&unix.NLM_F_DUMP_INTR != 0 {
			a.fail(errChanged)
		}
		switch binary.NativeEndian.Uint16(m[4:]) {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			a.done = true
			if len(m) >= headerLen {
				if errno := -int32(binary.NativeEndian.Uint32(m[16:])); errno > 0 {
					a.fail(unix.Errno(errno))
				}
			}
		default:
			if len(m) >= headerLen && a.err == nil {
				a.fail(f(Family(m[16]), m[headerLen:]))
			}
			a.done = !a.dump
		}
	}
}

func (a *answer) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// generation is the number of the ruleset: it changes with every transaction of anybody in the namespace.
func (r *reader) generation(ctx context.Context) (id uint32, err error) {
	const genID = 1 // NFTA_GEN_ID
	err = r.ask(ctx, unix.NFT_MSG_GETGEN, unix.NLM_F_REQUEST, 0, nil, func(_ Family, attrs []byte) error {
		id = bigEndian(find(attrs, genID))
		return nil
	})
	return id, err
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.socket.close()
}
