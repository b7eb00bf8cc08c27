package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// conn makes kernel transactions, one at a time.
type conn struct {
	socket     socket
	tableFlags uint32 // of tables that are created or taken over
	seq        uint32
	batch      batch
	answer     [4096]byte
	faults     []refusal
	owned      tableIDs

	// See recover.go; nil where nothing is mended.
	replace  func(cause error) error
	happened func([]*request) (bool, error)
	lost     int // answers, one after the other
}

// refusal is an error that the kernel reported.
type refusal struct {
	seq   uint32 // relative to BATCH_BEGIN, which is 0
	errno unix.Errno
	text  string
}

const (
	// maxBatch bounds what is committed together, in bytes, some 2,000 elements: other writers in the namespace wait for a commit.
	// A transaction that is larger goes alone.
	maxBatch = 72_000
	// restarts is how often a batch that the kernel wants to see again (ERESTART) is sent.
	restarts = 16
)

// commit commits requests in as few kernel transactions as can be, and answers each.
func (c *conn) commit(rs []*request, committed *atomic.Uint64) {
	for len(rs) > 0 {
		n := c.encode(rs)
		if len(c.batch.messages) > 0 {
			c.transact(rs[:n], committed)
		}
		rs = rs[n:]
	}
}

// encode fills the batch with the first n requests. One that can't be written gets its error.
func (c *conn) encode(rs []*request) (n int) {
	c.batch.begin(c.seq)
	for n < len(rs) && (n == 0 || len(c.batch.buf) < maxBatch) {
		size, messages := len(c.batch.buf), len(c.batch.messages)
		if err := c.batch.transaction(n, rs[n].tx, c.tableFlags); err != nil {
			rs[n].err = err
			c.batch.buf, c.batch.messages = c.batch.buf[:size], c.batch.messages[:messages]
		}
		n++
	}
	return n
}

// transact sends the batch that carries rs. When it fails, nothing of it has happened: those that are not guilty are committed
// again without the guilty ones.
func (c *conn) transact(rs []*request, committed *atomic.Uint64) {
	err := c.exchange()
	switch {
	case err == nil && len(c.faults) == 0:
		c.lost = 0
		committed.Add(1)
		c.owned.follow(rs)
	case errors.Is(err, ErrUnknownOutcome):
		c.find(rs, err, committed)
	case len(rs) == 1:
		if err == nil {
			err = c.batch.failure(c.faults[0])
		}
		rs[0].fail(err)
	case err != nil: // the batch as a whole: too long, say
		for _, r := range rs {
			c.again([]*request{r}, committed)
		}
	default:
		c.withoutGuilty(rs, committed)
	}
}

func (r *request) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// again commits those of rs that are not answered yet.
func (c *conn) again(rs []*request, committed *atomic.Uint64) {
	var open []*request
	for _, r := range rs {
		if r.err == nil {
			open = append(open, r)
		}
	}
	c.commit(open, committed)
}

// withoutGuilty commits the good ones of a batch that failed. Of those with an error, the first is guilty for certain: what it
// met was the kernel and good neighbours. The others may have met what it would have done, and get a batch of their own.
func (c *conn) withoutGuilty(rs []*request, committed *atomic.Uint64) {
	first := make([]*refusal, len(rs))
	for i := range c.faults {
		tx := c.batch.messages[c.faults[i].seq-1].tx
		if first[tx] == nil {
			first[tx] = &c.faults[i]
		}
	}
	var good, suspects []*request
	found := false
	for i, r := range rs {
		switch {
		case first[i] == nil:
			good = append(good, r)
		case !found:
			found = true
			r.fail(c.batch.failure(*first[i]))
		default:
			suspects = append(suspects, r)
		}
	}
	c.again(good, committed)
	for _, r := range suspects {
		c.again([]*request{r}, committed)
	}
}

// exchange sends the batch and reads the kernel's answer. Errors of single messages are in c.faults, of the batch as a whole in err.
func (c *conn) exchange() error {
	c.batch.finish()
	c.seq = c.batch.last() + 2
	for try := 1; ; try++ {
		if err := c.socket.send(c.batch.buf); err != nil {
			if err = c.sendsAgain(err, try); err != nil {
				return c.batch.sendFailure(err)
			}
			continue
		}
		lost, err := c.receive()
		if err != nil {
			return err
		}
		if len(c.faults) == 0 {
			if lost {
				return lostAnswer(unix.ENOBUFS)
			}
			return nil
		}
		whole := slices.IndexFunc(c.faults, func(f refusal) bool { return f.seq == 0 })
		if whole < 0 {
			return nil
		}
		if c.faults[whole].errno != unix.ERESTART || try == restarts {
			return c.batch.failure(c.faults[whole])
		}
	}
}

// receive collects the answers to the batch: an error for each message that failed, then the acknowledgement of the last.
func (c *conn) receive() (lost bool, err error) {
	clear(c.faults)
	c.faults = c.faults[:0]
	acknowledged := false
	for {
		n, err := c.socket.receive(c.answer[:])
		switch err {
		case nil:
			acknowledged = c.answers(c.answer[:n]) || acknowledged
			if acknowledged && !lost && len(c.faults) == 0 {
				return false, nil
			}
		case unix.EINTR:
		case unix.ENOBUFS:
			lost = true
		case unix.EAGAIN:
			if !acknowledged && !lost && len(c.faults) == 0 {
				return false, lostAnswer(errors.New("no acknowledgement"))
			}
			return lost, nil
		default:
			return lost, lostAnswer(err)
		}
	}
}

// answers reads the messages in one datagram; true when the acknowledgement of the batch is among them.
func (c *conn) answers(b []byte) (acknowledged bool) {
	for len(b) >= unix.SizeofNlMsghdr+4 {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr+4 || size > len(b) {
			break
		}
		seq := binary.NativeEndian.Uint32(b[8:]) - c.batch.seq
		if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR && seq <= uint32(len(c.batch.messages)) {
			errno := -int32(binary.NativeEndian.Uint32(b[16:]))
			switch {
			case errno != 0:
				c.faults = append(c.faults, refusal{seq: seq, errno: unix.Errno(errno), text: extendedAck(b[:size])})
			case seq == uint32(len(c.batch.messages)):
				acknowledged = true
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return acknowledged
}

// extendedAck is the kernel's message in an NLMSG_ERROR (NLMSGERR_ATTR_MSG); often there is none.
func extendedAck(b []byte) string {
	flags := binary.NativeEndian.Uint16(b[6:])
	at := unix.SizeofNlMsghdr + unix.SizeofNlMsgerr
	if flags&unix.NLM_F_ACK_TLVS == 0 || len(b) < at {
		return ""
	}
	if flags&unix.NLM_F_CAPPED == 0 { // the whole request comes first
		at += int(binary.NativeEndian.Uint32(b[20:])) - unix.SizeofNlMsghdr
	}
	if at < 0 || at > len(b) {
		return ""
	}
	return cString(find(b[at:], unix.NLMSGERR_ATTR_MSG))
}

// takes tries whether the kernel takes these table flags, by a transaction that is made to fail: it deletes a
// table that is not there. Like all that fail it waits for a grace period.
func (c *conn) takes(tableFlags uint32) (bool, error) {
	id := TableID{Inet, fmt.Sprintf("bridged probe %d", c.socket.port())}
	for try := 1; ; try++ {
		c.batch.begin(c.seq)
		c.batch.newTable(message{kind: addTable, table: id}, tableFlags)
		c.batch.named(unix.NFT_MSG_DELTABLE, writeFlags, message{kind: deleteTable, table: TableID{Inet, id.Name + " missing"}})
		c.batch.end()
		err := c.exchange()
		switch {
		case errors.Is(err, ErrUnknownOutcome) && try < attempts:
			continue
		case err != nil:
			return false, err
		case len(c.faults) == 0:
			return false, errors.New("nf_tables deleted a table that is not there")
		}
		first := c.faults[0]
		switch {
		case first.seq == 2:
			return true, nil
		case first.errno == unix.EOPNOTSUPP, first.errno == unix.EINVAL: // it does not know them (nf_tables_newtable)
			return false, nil
		}
		return false, c.batch.failure(first) // it may know them
	}
}
