package nft

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bridged/bridged/internal/fuzztest"
)

// heldKernel is a kernel that holds objects, each as the message that it lists it by, and nothing else. It hands over one message a datagram.
type heldKernel struct {
	socket
	objects [][]byte
	answers [][]byte
}

// heldBy is a kernel that holds the messages of a stream, whatever they are.
func heldBy(stream []byte) *heldKernel {
	k := &heldKernel{}
	for len(stream) >= headerLen {
		size := int(binary.NativeEndian.Uint32(stream))
		if size < headerLen || size > min(len(stream), len(reader{}.buf)) {
			break
		}
		k.objects = append(k.objects, slices.Clone(stream[:size]))
		stream = stream[min(len(stream), (size+3)&^3):]
	}
	return k
}

// edit changes attributes of the objects. Each five bytes are an object and an edit of it.
func (k *heldKernel) edit(edits []byte) {
	const size = 5
	for ; len(edits) >= size && len(k.objects) > 0; edits = edits[size:] {
		o := &k.objects[int(edits[0])%len(k.objects)]
		if edited := append((*o)[:headerLen:headerLen], fuzztest.Edit((*o)[headerLen:], edits[1:size])...); len(edited) <= len(reader{}.buf) {
			binary.NativeEndian.PutUint32(edited, uint32(len(edited)))
			*o = edited
		}
	}
}

// send answers a list: of objects in the family, of the table and of the set that the request names.
func (k *heldKernel) send(request []byte) error {
	want := request[headerLen:]
	kind := binary.NativeEndian.Uint16(request[4:]) &^ subsystem
	for _, o := range k.objects {
		if (binary.NativeEndian.Uint16(o[4:])&^subsystem)+1 != kind { // NFT_MSG_NEW… is before NFT_MSG_GET…
			continue
		}
		table, set := find(want, unix.NFTA_SET_ELEM_LIST_TABLE), find(want, unix.NFTA_SET_ELEM_LIST_SET)
		if request[16] != 0 && request[16] != o[16] || table != nil && !bytes.Equal(table, find(o[headerLen:], unix.NFTA_SET_ELEM_LIST_TABLE)) ||
			set != nil && !bytes.Equal(set, find(o[headerLen:], unix.NFTA_SET_ELEM_LIST_SET)) {
			continue
		}
		o = slices.Clone(o)
		copy(o[8:], request[8:12])
		k.answers = append(k.answers, o)
	}
	done := slices.Clone(request[:headerLen])
	binary.NativeEndian.PutUint32(done, headerLen)
	binary.NativeEndian.PutUint16(done[4:], unix.NLMSG_DONE)
	copy(done[16:], make([]byte, 4))
	k.answers = append(k.answers, done)
	return nil
}

func (k *heldKernel) receive(b []byte) (int, error) {
	if len(k.answers) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, k.answers[0])
	k.answers = k.answers[1:]
	return n, nil
}

var fuzzedTables = []TableID{inetTable().ID, bridgeTable().ID, {Inet, "one"}, {Bridge, "one"}}

func observed(k *heldKernel) (Ruleset, error) {
	r := reader{socket: k}
	i, err := r.inventory(context.Background(), fuzzedTables, 0)
	if err != nil {
		return Ruleset{}, err
	}
	return i.Ruleset(), nil
}

// written is a kernel that holds a ruleset, by the messages that create it.
func written(rs Ruleset) (*heldKernel, error) {
	tx := NewTx(rs.Tables...)
	for _, t := range rs.Tables {
		tx.AddTable(t)
	}
	elements := slices.Collect(maps.Keys(rs.Elements))
	sortElements(elements)
	slices.SortStableFunc(elements, func(a, b Element) int { return strings.Compare(a.Set.String(), b.Set.String()) })
	for _, e := range elements {
		tx.Add(e)
	}
	var b batch
	b.begin(1)
	if err := b.transaction(0, tx, 0); err != nil {
		return nil, err
	}
	b.finish()
	return heldBy(b.buf), nil
}

// FuzzObserve: whatever the kernel has in our tables, reading and printing it works; and what is taken for a program of ours and its
// elements is read the same once it is written. So is every ruleset that can be drawn. The seeds are what Linux 6.18 holds of two
// programs, and of what others would put in their place.
func FuzzObserve(f *testing.F) {
	for _, whole := range []Table{inetTable(), bridgeTable()} {
		for _, s := range whole.Sets {
			rs := Ruleset{Tables: []Table{{ID: whole.ID, Sets: []Set{s}}}, Elements: make(Elements)}
			for e := range someElements(whole.ID) {
				if e.Set.Name == s.Name {
					rs.Elements[e] = struct{}{}
				}
			}
			k, err := written(rs)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(slices.Concat(k.objects...), []byte{})
			f.Add(slices.Concat(k.objects...), []byte{uint8(len(k.objects) - 2), 2, 0, 2, 1}) // something of an element is cut
		}
	}
	drawn := rapid.MakeFuzz(func(t *rapid.T) {
		want := drawRuleset(t, "it")
		k, err := written(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := observed(k)
		if err != nil {
			t.Fatal(err)
		}
		mustBe(t, "what is observed", got, want)
	})
	f.Fuzz(func(t *testing.T, stream, edits []byte) {
		k := heldBy(stream)
		k.edit(edits)
		for _, o := range k.objects {
			concernsIts(t, o)
		}
		rs, err := observed(k)
		if err == nil {
			_ = rs.String()
			writtenAsObserved(t, rs)
		}
		drawn(t, stream)
	})
}

// concernsIts: a notification concerns who watches its table, unless it is of the writer's own making.
func concernsIts(t *testing.T, o []byte) {
	m := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(binary.NativeEndian.Uint16(o[4:]))}, Data: o[unix.SizeofNlMsghdr:]}
	table := TableID{Family(o[16]), cString(find(o[headerLen:], attrTable))}
	own := &Watcher{writer: &Writer{}, tables: []TableID{table}} // a writer without a socket has the port 0, as the message
	if own.concerns(m) {
		t.Fatalf("a change of the writer's own concerns it: %x", o)
	}
	m.Header.PID = 7
	other := &Watcher{writer: &Writer{}, tables: []TableID{{table.Family + 1, table.Name}, {table.Family, table.Name + "x"}}}
	if other.concerns(m) {
		t.Fatalf("a change of %v concerns who watches %v", table, other.tables)
	}
}

// writtenAsObserved writes the ruleset, without what no program of ours says and without the rules whose sets the kernel names.
func writtenAsObserved(t *testing.T, rs Ruleset) {
	want := Ruleset{Elements: make(Elements)}
	for _, table := range rs.Tables {
		if slices.ContainsFunc(want.Tables, func(t Table) bool { return t.ID == table.ID }) {
			return // there is none twice in a kernel
		}
		for i := range table.Chains {
			c := &table.Chains[i]
			c.Rules = slices.DeleteFunc(slices.Clone(c.Rules), func(r Rule) bool {
				encoded, err := encodeRule(&table, r, 1)
				return err != nil || len(encoded.sets) > 0
			})
			for j := range i {
				if table.Chains[j].Name == c.Name {
					return
				}
			}
		}
		for i, s := range table.Sets {
			if slices.ContainsFunc(table.Sets[:i], func(o Set) bool { return o.Name == s.Name }) {
				return
			}
			if s.keyLen() > MaxValue || s.dataLen() > MaxValue {
				t.Fatalf("a set whose elements have no room in a Value:\n%s", s)
			}
			for e := range rs.Elements {
				if e.Set == (SetID{table.ID, s.Name}) {
					want.Elements[e] = struct{}{}
				}
			}
		}
		table.Foreign = nil
		want.Tables = append(want.Tables, table)
	}
	k, err := written(want)
	if err != nil {
		t.Fatalf("cannot write what was observed: %v\n%s", err, want)
	}
	got, err := observed(k)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "what is observed again", got, want)
}

// Whatever is in a table, reading and printing it must work; and what is taken for a rule of ours is written as it was read.
func FuzzDecodeRule(f *testing.F) {
	tables := []Table{inetTable(), bridgeTable()}
	for i, table := range tables {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				list, e, _ := encoded(f, &table, r)
				f.Add(i == 1, list, e.userdata)
			}
		}
	}
	f.Fuzz(func(t *testing.T, bridge bool, list, userdata []byte) {
		table := &tables[0]
		if bridge {
			table = &tables[1]
		}
		exprs, err := parseExpressions(table.ID.Family, list)
		if err != nil {
			return
		}
		anonymous := map[string]anonymousSet{
			"__set%d": {elements: []anonymousElement{{key: Byte(3)}, {key: Byte(1)}}},
			"__map%d": {elements: []anonymousElement{{key: Port(1), verdict: Verdict{Kind: VerdictDrop}}}},
		}
		r, err := decodeRule(table, exprs, userdata, anonymous)
		if table.RuleText(r) == "" {
			t.Error("a rule without text")
		}
		if err != nil {
			return
		}
		if err := table.wrote(r, exprs, userdata); err != nil {
			t.Errorf("%s: %v", table.RuleText(r), err)
		}
		again, _, _ := encoded(t, table, r)
		exprs, err = parseExpressions(table.ID.Family, again)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeRule(table, exprs, userdata, anonymous); err != nil || table.RuleText(back) != table.RuleText(r) {
			t.Errorf("%s is written and read as %s, %v", table.RuleText(r), table.RuleText(back), err)
		}
	})
}

// Kinds of messages by which the input of FuzzCommit says what the socket does instead of answering.
const (
	endOfAnswers = 0x7fff // nothing more comes until the next batch
	receiveFails = 0x7ffe // with the errno in the first byte
)

// sayingKernel answers batches with what it was given, whatever they are. The numbers of its answers count from the batch's own.
type sayingKernel struct {
	socket
	answers [][]byte
	seq     uint32
	sent    []sentBatch
}

// sentBatch is a batch, and whether the answer to it says that it was committed.
type sentBatch struct {
	keys             map[byte]bool
	last             uint32
	acknowledged, no bool
}

func (k *sayingKernel) send(b []byte) error {
	for len(k.answers) > 0 && len(k.sent) > 0 && binary.NativeEndian.Uint16(k.answers[0][4:]) != endOfAnswers {
		k.answers = k.answers[1:] // the answers to the batch before that were not read
	}
	if len(k.answers) > 0 && len(k.sent) > 0 {
		k.answers = k.answers[1:]
	}
	k.seq = binary.NativeEndian.Uint32(b[8:])
	s := sentBatch{keys: make(map[byte]bool)}
	for _, m := range splitMessages(b) {
		if binary.NativeEndian.Uint16(m[4:]) != batchEnd {
			s.last = binary.NativeEndian.Uint32(m[8:]) - k.seq
		}
		eachElement(m[headerLen:], func(e *elementAttributes) { s.keys[e.key[0]] = true })
	}
	k.sent = append(k.sent, s)
	return nil
}

func (k *sayingKernel) receive(b []byte) (int, error) {
	if len(k.answers) == 0 {
		return 0, unix.EAGAIN
	}
	m := k.answers[0]
	switch binary.NativeEndian.Uint16(m[4:]) {
	case endOfAnswers:
		return 0, unix.EAGAIN
	case receiveFails:
		k.answers = k.answers[1:]
		return 0, unix.Errno(max(m[16], 1))
	}
	k.answers = k.answers[1:]
	seq := binary.NativeEndian.Uint32(m[8:])
	binary.NativeEndian.PutUint32(m[8:], seq+k.seq)
	if s := &k.sent[len(k.sent)-1]; binary.NativeEndian.Uint16(m[4:]) == unix.NLMSG_ERROR && seq <= s.last && len(m) <= len(b) {
		failed := binary.NativeEndian.Uint32(m[16:]) != 0
		s.no = s.no || failed
		s.acknowledged = s.acknowledged || !failed && seq == s.last
	}
	return copy(b, m), nil
}

func (k *sayingKernel) port() uint32 { return 1 }

// FuzzCommit: whatever the kernel answers to transactions, and whatever becomes of its answers, each has its own outcome; and one that is
// said to have happened was acknowledged.
func FuzzCommit(f *testing.F) {
	answer := func(seq uint32, errno unix.Errno, text string) []byte {
		b := batch{seq: seq}
		b.header(unix.NLMSG_ERROR, 0, unix.NLM_F_CAPPED|unix.NLM_F_ACK_TLVS, 0)
		binary.NativeEndian.PutUint32(b.buf[16:], uint32(-int32(errno)))
		b.buf = append(b.buf, make([]byte, unix.SizeofNlMsghdr)...)
		b.str(unix.NLMSGERR_ATTR_MSG, text)
		binary.NativeEndian.PutUint32(b.buf, uint32(len(b.buf)))
		binary.NativeEndian.PutUint32(b.buf[8:], seq)
		return b.buf
	}
	special := func(kind uint16, errno unix.Errno) []byte {
		m := make([]byte, headerLen)
		binary.NativeEndian.PutUint32(m, headerLen)
		binary.NativeEndian.PutUint16(m[4:], kind)
		m[16] = byte(errno)
		return m
	}
	end := special(endOfAnswers, 0)
	for _, answers := range [][][]byte{
		{answer(3, 0, "")},
		{answer(2, unix.EEXIST, "there"), end, answer(2, 0, "")},
		{answer(1, unix.ENOENT, ""), answer(3, unix.ENFILE, ""), end, answer(1, 0, ""), end, answer(1, 0, "")},
		{answer(0, unix.ERESTART, ""), end, answer(3, 0, "")},
		{answer(0, unix.EPERM, ""), end, answer(1, 0, ""), end, answer(1, unix.EPERM, ""), end, answer(1, 0, "")},
		{special(receiveFails, unix.ENOBUFS), answer(3, unix.EBUSY, "")}, {special(receiveFails, unix.EINTR), answer(3, 0, "")}, {special(receiveFails, unix.EBADF)},
		{},
	} {
		f.Add(slices.Concat(answers...))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		k := &sayingKernel{answers: heldBy(stream).objects}
		c := &conn{socket: k, seq: 0xfffffffe}
		rs := make([]*request, 3)
		for i := range rs {
			tx := NewTx()
			tx.Add(Element{Set: SetID{TableID{Inet, "t"}, "s"}, Key: Byte(uint8(i))})
			rs[i] = &request{tx: tx}
		}
		var committed atomic.Uint64
		c.commit(rs, &committed)
		if int(committed.Load()) > len(k.sent) {
			t.Fatalf("%d transactions of %d", committed.Load(), len(k.sent))
		}
		for i, r := range rs {
			happened := slices.ContainsFunc(k.sent, func(s sentBatch) bool { return s.keys[byte(i)] && s.acknowledged && !s.no })
			if r.err == nil && !happened {
				t.Fatalf("transaction %d is said to have happened: %+v", i, k.sent)
			}
			if r.err != nil && r.err.Error() == "" {
				t.Fatalf("transaction %d failed without a word", i)
			}
		}
	})
}

// FuzzWalk: every packet comes to an end in every program, and the same one for its equal.
func FuzzWalk(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1, 0, 2, 0, 0, 0, 0, 0}, 400))
	f.Add(bytes.Repeat([]byte{0xff}, 2000))
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		rs := drawFilter(t)
		before := rs.String()
		for range 4 {
			p := drawPacket(t)
			at := HookPoint(rapid.IntRange(0, 4).Draw(t, "hook"))
			trace := rs.Walk(Inet, at, p)
			if trace.Verdict != VerdictAccept && trace.Verdict != VerdictDrop || at != Output && len(trace.Steps) > 0 {
				t.Fatalf("%+v ends in %v", p, trace)
			}
			if again := rs.Walk(Inet, at, p); again.String() != trace.String() || again.Packet != trace.Packet {
				t.Fatalf("%+v ends in %v, and then in %v", p, trace, again)
			}
		}
		if after := rs.String(); after != before {
			t.Fatalf("the program was changed from\n%s\nto\n%s", before, after)
		}
	}))
}

// drawPacket draws a packet that may be of no protocol there is.
func drawPacket(t *rapid.T) Packet {
	name := rapid.StringMatching(`[a-z0-9.-]{0,15}`)
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), 4, 16).Draw(t, "address"))
		return a // mostly none at all
	})
	p := Packet{
		IIFName: name.Draw(t, "in"), OIFName: name.Draw(t, "out"), EtherType: rapid.Uint16().Draw(t, "ether type"), Src: address.Draw(t, "source"),
		Dst: address.Draw(t, "destination"), Protocol: rapid.Byte().Draw(t, "protocol"), SPort: rapid.Uint16().Draw(t, "source port"),
		DPort: rapid.Uint16().Draw(t, "destination port"), ICMPType: rapid.Byte().Draw(t, "type"), Target: address.Draw(t, "target"),
		Mark: rapid.Uint32().Draw(t, "mark"), CTState: rapid.Uint32().Draw(t, "state"), CTStatus: rapid.Uint32().Draw(t, "status"),
	}
	if rapid.Bool().Draw(t, "ARP") {
		p.ARP = &ARP{Operation: rapid.Uint16().Draw(t, "operation"), Src: address.Draw(t, "ARP source")}
	}
	if rapid.Bool().Draw(t, "fragment") {
		p.Fragment = &Fragment{Offset: rapid.Uint16().Draw(t, "offset")}
	}
	if rapid.Bool().Draw(t, "FIB") {
		p.FIB = loopbackFIB{}
	}
	return p
}
