package nft

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// fakeKernel is a socket with a kernel behind it that knows sets and their elements: a batch with an error changes nothing, and
// every error is reported with its number.
type fakeKernel struct {
	elements map[string]bool // set/key
	size     int             // of each set; 0: no limit
	commits  int
	// flags are those of the tables that a list of tables shows.
	flags []uint32

	// What goes wrong.
	refuse   func(change fakeChange) unix.Errno // a change
	whole    []unix.Errno                       // batches as a whole, one after the other; 0: none
	sendErr  func(batch []byte) error
	recvErrs []error // instead of answers
	mute     bool    // no answers, and nothing is done

	answers [][]byte
}

// fakeChange is an element that a message adds or deletes, or a message without elements.
type fakeChange struct {
	typ     uint16
	set     string
	element string
}

func newFakeKernel() *fakeKernel { return &fakeKernel{elements: make(map[string]bool)} }

func (k *fakeKernel) send(batch []byte) error {
	if k.sendErr != nil {
		if err := k.sendErr(batch); err != nil {
			return err
		}
	}
	if k.mute {
		return nil
	}
	messages := splitMessages(batch)
	if len(k.whole) > 0 {
		errno := k.whole[0]
		k.whole = k.whole[1:]
		if errno != 0 {
			k.acknowledge(messages[0], errno)
			return nil
		}
	}
	if binary.NativeEndian.Uint16(batch[4:]) == subsystem|unix.NFT_MSG_GETGEN {
		generation := unix.NFT_MSG_NEWGEN
		k.answers = append(k.answers, slices.Concat(batch[:4], []byte{byte(generation), unix.NFNL_SUBSYS_NFTABLES}, batch[6:]))
		return nil
	}
	if binary.NativeEndian.Uint16(batch[4:]) == subsystem|unix.NFT_MSG_GETTABLE {
		k.listTables(binary.NativeEndian.Uint32(batch[8:]))
		return nil
	}
	// Changes count at once for the batch's later messages, and are taken back when it fails.
	next := make(map[string]bool, len(k.elements))
	for e := range k.elements {
		next[e] = true
	}
	failed := false
	for _, m := range messages[1 : len(messages)-1] {
		errno := k.change(next, m)
		failed = failed || errno != 0
		if errno != 0 || binary.NativeEndian.Uint16(m[6:])&unix.NLM_F_ACK != 0 {
			k.acknowledge(m, errno)
		}
	}
	if !failed {
		k.elements = next
		k.commits++
	}
	return nil
}

// listTables answers a request for the list of tables.
func (k *fakeKernel) listTables(seq uint32) {
	message := func(typ uint16, attrs func(*batch)) {
		b := batch{seq: seq}
		b.header(typ, Inet, unix.NLM_F_MULTI, 0)
		attrs(&b)
		b.end()
		k.answers = append(k.answers, b.buf)
	}
	for i, flags := range k.flags {
		message(subsystem|unix.NFT_MSG_NEWTABLE, func(b *batch) {
			b.str(unix.NFTA_TABLE_NAME, string(rune('a'+i)))
			b.uint32(unix.NFTA_TABLE_FLAGS, flags)
		})
	}
	message(unix.NLMSG_DONE, func(*batch) {})
}

func (k *fakeKernel) change(elements map[string]bool, m []byte) (errno unix.Errno) {
	typ := binary.NativeEndian.Uint16(m[4:]) &^ subsystem
	attrs := m[headerLen:]
	set := cString(find(attrs, unix.NFTA_SET_ELEM_LIST_SET))
	changes := []fakeChange{}
	eachElement(attrs, func(e *elementAttributes) {
		changes = append(changes, fakeChange{typ, set, set + "/" + string(e.key)})
	})
	if len(changes) == 0 {
		changes = append(changes, fakeChange{typ: typ})
	}
	for _, c := range changes {
		if k.refuse != nil && k.refuse(c) != 0 {
			return k.refuse(c)
		}
		switch {
		case typ == unix.NFT_MSG_NEWSETELEM && elements[c.element]:
			return unix.EEXIST
		case typ == unix.NFT_MSG_NEWSETELEM && k.size > 0 && len(elements) >= k.size:
			return unix.ENFILE
		case typ == unix.NFT_MSG_NEWSETELEM:
			elements[c.element] = true
		case typ == unix.NFT_MSG_DELSETELEM && !elements[c.element]:
			return unix.ENOENT
		case typ == unix.NFT_MSG_DELSETELEM:
			delete(elements, c.element)
		}
	}
	return 0
}

func (k *fakeKernel) acknowledge(m []byte, errno unix.Errno) {
	b := make([]byte, headerLen+unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_CAPPED)
	copy(b[8:12], m[8:12])
	binary.NativeEndian.PutUint32(b[16:], uint32(-int32(errno)))
	copy(b[20:], m[:unix.SizeofNlMsghdr])
	k.answers = append(k.answers, b)
}

func (k *fakeKernel) receive(b []byte) (int, error) {
	if len(k.recvErrs) > 0 {
		err := k.recvErrs[0]
		k.recvErrs = k.recvErrs[1:]
		if err != nil {
			return 0, err
		}
	}
	if len(k.answers) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, k.answers[0])
	k.answers = k.answers[1:]
	return n, nil
}

func (k *fakeKernel) port() uint32 { return 4711 }

func (k *fakeKernel) duplicate() (int, error) { return -1, unix.EOPNOTSUPP }

func (k *fakeKernel) close() error { return nil }

// has are the keys of a set, sorted.
func (k *fakeKernel) has(set string) []string {
	var keys []string
	for e := range k.elements {
		if name, key := e[:len(set)], e[len(set)+1:]; name == set {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func splitMessages(b []byte) (messages [][]byte) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := (binary.NativeEndian.Uint32(b) + 3) &^ 3
		messages = append(messages, b[:n])
		b = b[n:]
	}
	return messages
}

// acknowledging is a socket that says yes to everything, without allocating.
type acknowledging struct {
	answer [headerLen + unix.SizeofNlMsghdr]byte
	ready  bool
}

func (a *acknowledging) send(batch []byte) error {
	for b := batch; len(b) > 0; b = b[(binary.NativeEndian.Uint32(b)+3)&^3:] {
		if binary.NativeEndian.Uint16(b[6:])&unix.NLM_F_ACK != 0 {
			binary.NativeEndian.PutUint32(a.answer[:], uint32(len(a.answer)))
			binary.NativeEndian.PutUint16(a.answer[4:], unix.NLMSG_ERROR)
			copy(a.answer[8:12], b[8:12])
			a.ready = true
		}
	}
	return nil
}

func (a *acknowledging) receive(b []byte) (int, error) {
	if !a.ready {
		return 0, unix.EAGAIN
	}
	a.ready = false
	return copy(b, a.answer[:]), nil
}

func (a *acknowledging) port() uint32            { return 1 }
func (a *acknowledging) duplicate() (int, error) { return -1, unix.EOPNOTSUPP }
func (a *acknowledging) close() error            { return nil }
