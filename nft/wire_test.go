package nft

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// decodeBatch reads elements back from a batch, the way they are read from the kernel's lists.
func decodeBatch(t rapid.TB, b *batch, tables []Table) (added, deleted Elements) {
	t.Helper()
	added, deleted = make(Elements), make(Elements)
	bounds := make(map[SetID][]bound)
	messages := splitMessages(b.buf)
	for i, m := range messages[1 : len(messages)-1] {
		if seq := binary.NativeEndian.Uint32(m[8:]); seq != b.seq+uint32(i)+1 {
			t.Fatalf("message %d has number %d", i, seq)
		}
		attrs := m[headerLen:]
		table := TableID{Family(m[16]), cString(find(attrs, unix.NFTA_SET_ELEM_LIST_TABLE))}
		id := SetID{table, cString(find(attrs, unix.NFTA_SET_ELEM_LIST_SET))}
		into := added
		if binary.NativeEndian.Uint16(m[4:]) == subsystem|unix.NFT_MSG_DELSETELEM {
			into = deleted
		}
		s := findTable(tables, id.Table).set(id.Name)
		eachElement(attrs, func(e *elementAttributes) {
			switch {
			case e.foreign:
				t.Fatal("an element that is not ours")
			case s.Interval && !s.concatenated():
				bounds[id] = append(bounds[id], bound{Raw(e.key), Raw(e.data), e.intervalEnd})
			default:
				into[Element{id, Raw(e.key), Raw(e.end), Raw(e.data)}] = struct{}{}
			}
		})
	}
	for id, bs := range bounds {
		eachInterval(id, bs, func(e *Element) { added[*e] = struct{}{} })
	}
	return added, deleted
}

func TestElementsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rs := drawRuleset(t, "it")
		tx := NewTx(rs.Tables...)
		for e := range rs.Elements {
			tx.Add(e)
		}
		var b batch
		b.begin(rapid.Uint32().Draw(t, "seq"))
		if err := b.transaction(0, tx, 0); err != nil {
			t.Fatal(err)
		}
		b.finish()
		added, deleted := decodeBatch(t, &b, rs.Tables)
		mustBe(t, "what was read back", Ruleset{rs.Tables, added}, rs)
		if len(deleted) != 0 {
			t.Fatalf("deleted %v", deleted)
		}
	})
}

// Thousands of elements are a few messages, each of a length that its attributes can say.
func TestManyElementsFewMessages(t *testing.T) {
	table := benchTable()
	tx := NewTx(table)
	want := make(Elements)
	for i := range 10_000 {
		e := publication(i)[0]
		want[e] = struct{}{}
		tx.Add(e)
	}
	var b batch
	b.begin(1)
	if err := b.transaction(0, tx, 0); err != nil {
		t.Fatal(err)
	}
	b.finish()
	if n := len(b.messages); n < 6 || n > 8 {
		t.Errorf("%d messages for 10,000 elements", n)
	}
	for _, m := range splitMessages(b.buf) {
		if len(m) > 0xffff+headerLen {
			t.Errorf("a message of %d bytes", len(m))
		}
	}
	added, _ := decodeBatch(t, &b, []Table{table})
	mustBe(t, "what was read back", Ruleset{[]Table{table}, added}, Ruleset{[]Table{table}, want})
}

// The bytes of one publication, as nft --debug=mnl shows them.
func TestGoldenBytes(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes below are those of little-endian machines")
	}
	tx := NewTx()
	tx.Add(publication(8080)[0])
	var b batch
	b.begin(1)
	if err := b.transaction(0, tx, 0); err != nil {
		t.Fatal(err)
	}
	b.finish()
	want := strings.ReplaceAll(`
14000000 1000 0100 01000000 00000000 00 00 000a
58000000 0c0a 0506 02000000 00000000 01 00 0000
 0a00 0100 62656e6368000000
 1000 0200 7075626c69736834616e7900
 2800 0380
  2400 0180
   1000 0180 0c00 0100 06000000 1f900000
   1000 0280 0c00 0100 ac111f90 00500000
14000000 1100 0100 03000000 00000000 00 00 000a`, " ", "")
	if got := hex.EncodeToString(b.buf); got != strings.ReplaceAll(want, "\n", "") {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestNextAndPrevious(t *testing.T) {
	for _, c := range []struct{ v, next string }{{"0000", "0001"}, {"00ff", "0100"}, {"fffe", "ffff"}} {
		v, _ := hex.DecodeString(c.v)
		n, more := Raw(v).next()
		if got := hex.EncodeToString(n.Bytes()); !more || got != c.next {
			t.Errorf("after %s comes %s", c.v, got)
		}
		if n.previous() != Raw(v) {
			t.Errorf("before %s comes %x", c.next, n.previous())
		}
	}
	if _, more := Raw([]byte{0xff, 0xff}).next(); more {
		t.Error("there is something after the last value")
	}
}

func TestExtendedAck(t *testing.T) {
	for _, capped := range []bool{true, false} {
		b := batch{seq: 1}
		b.header(unix.NLMSG_ERROR, 0, unix.NLM_F_ACK_TLVS, 0)
		binary.NativeEndian.PutUint32(b.buf[16:], uint32(0xffffffff)) // -EPERM
		request := make([]byte, 64)
		binary.NativeEndian.PutUint32(request, uint32(len(request)))
		if capped {
			binary.NativeEndian.PutUint16(b.buf[6:], unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED)
			request = request[:unix.SizeofNlMsghdr]
		}
		b.buf = append(b.buf, request...)
		b.str(unix.NLMSGERR_ATTR_MSG, "because")
		b.end()
		binary.NativeEndian.PutUint32(b.buf[8:], 5)
		c := conn{batch: batch{seq: 5}}
		c.answers(b.buf)
		err := c.batch.failure(c.faults[0])
		var e *Error
		if !errors.As(err, &e) || e.Errno != unix.EPERM {
			t.Errorf("capped %v: %v", capped, err)
		}
		if c.faults[0].text != "because" {
			t.Errorf("capped %v: %q", capped, c.faults[0].text)
		}
	}
}
