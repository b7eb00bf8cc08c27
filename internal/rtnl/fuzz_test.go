package rtnl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// inside tells whether part is memory of whole.
func inside(whole, part []byte) bool {
	if len(part) == 0 {
		return true
	}
	for i := range whole {
		if &whole[i] == &part[0] {
			return len(part) <= len(whole)-i
		}
	}
	return false
}

// plain are messages, or attributes in the messages' place, without the memory that they were read from.
func plain(datagram []byte) []Message {
	var all []Message
	for m := range Messages(datagram) {
		m.Body = slices.Clone(m.Body)
		all = append(all, m)
	}
	return all
}

func plainAttributes(b []byte) []Message {
	var all []Message
	for kind, v := range Attributes(b) {
		all = append(all, Message{Kind: kind, Body: slices.Clone(v)})
	}
	return all
}

func same(a, b []Message) bool {
	return slices.EqualFunc(a, b, func(a, b Message) bool {
		return a.Kind == b.Kind && a.Flags == b.Flags && a.Seq == b.Seq && bytes.Equal(a.Body, b.Body)
	})
}

// append is the message as the kernel would send it.
func (m Message) append(b []byte) []byte {
	b = order.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(m.Body)))
	b = order.AppendUint16(b, m.Kind)
	b = order.AppendUint16(b, m.Flags)
	b = order.AppendUint32(b, m.Seq)
	b = append(b, 0, 0, 0, 0)
	b = append(b, m.Body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// What is read of a datagram is part of it, is read the same when it is written again, and nothing is read twice. And whatever a batch
// can say is read as it was said.
func FuzzMessages(f *testing.F) {
	var b Batch
	b.Begin(unix.RTM_SETLINK, 0)
	b.Link(unix.AF_UNSPEC, 7, unix.IFF_UP, unix.IFF_UP)
	b.Begin(unix.RTM_NEWLINK, 0)
	b.Link(unix.AF_UNSPEC, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, "br0")
	b.Nest(unix.IFLA_LINKINFO, func() { b.String(unix.IFLA_INFO_KIND, "bridge") })
	f.Add(slices.Clone(b.Datagram(1, unix.NLM_F_ACK)))
	f.Add(refusal(unix.EEXIST, "because", true, nil).append(nil))
	f.Add(refusal(unix.EPERM, "", false, make([]byte, 9)).append(nil))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	drawn := rapid.MakeFuzz(batchIsRead)
	f.Fuzz(func(t *testing.T, datagram []byte) {
		messages := plain(datagram)
		var again []byte
		for m := range Messages(datagram) {
			if !inside(datagram, m.Body) {
				t.Fatal("a body that is not in the datagram")
			}
			again = m.append(again)
			readAttributes(t, m.Body)
			readError(t, m)
		}
		if !same(plain(again), messages) {
			t.Fatalf("%x is read as %v, and written again as %v", datagram, messages, plain(again))
		}
		drawn(t, datagram) // skips what is too short for a drawing: the last
	})
}

func readAttributes(t *testing.T, body []byte) {
	var b Batch
	b.Begin(0, 0)
	for kind, v := range Attributes(body) {
		if !inside(body, v) {
			t.Fatal("an attribute that is not in the body")
		}
		if s := String(v); strings.ContainsRune(s, 0) || !bytes.HasPrefix(v, []byte(s)) {
			t.Fatalf("%x is the string %q", v, s)
		}
		_, _, _ = Uint8(v), Uint16(v), Uint32(v)
		b.Bytes(kind, v)
	}
	want := plainAttributes(body)
	if got := plainAttributes(b.Datagram(0, 0)[unix.SizeofNlMsghdr:]); !same(got, want) {
		t.Fatalf("%x is read as %v, and written again as %v", body, want, got)
	}
}

// readError: what is no acknowledgement is an error, and its text is in the message.
func readError(t *testing.T, m Message) {
	m.Kind = unix.NLMSG_ERROR
	err := m.err()
	var e *Error
	switch {
	case len(m.Body) >= 4 && order.Uint32(m.Body) == 0:
		if err != nil {
			t.Fatalf("%x: an acknowledgement is %v", m.Body, err)
		}
	case !errors.As(err, &e), e.Errno == 0, !bytes.Contains(m.Body, []byte(e.Text)):
		t.Fatalf("%x: %v", m.Body, err)
	}
	m.Kind = unix.NLMSG_DONE
	_ = m.err()
}

// refusal is the kernel's answer to a request.
func refusal(errno unix.Errno, text string, capped bool, request []byte) Message {
	m := Message{Kind: unix.NLMSG_ERROR}
	m.Body = order.AppendUint32(nil, uint32(-int32(errno)))
	m.Body = Message{Kind: unix.RTM_NEWLINK, Body: request}.append(m.Body)
	if capped {
		m.Flags |= unix.NLM_F_CAPPED
		m.Body = m.Body[:4+unix.SizeofNlMsghdr]
	}
	if text != "" {
		m.Flags |= unix.NLM_F_ACK_TLVS
		var b Batch
		b.Begin(0, 0)
		b.Uint32(unix.NLMSGERR_ATTR_OFFS, 20)
		b.String(unix.NLMSGERR_ATTR_MSG, text)
		m.Body = append(m.Body, b.Datagram(0, 0)[unix.SizeofNlMsghdr:]...)
	}
	return m
}

func batchIsRead(t *rapid.T) {
	var b Batch
	var want [][]Message
	for range rapid.IntRange(1, 4).Draw(t, "messages") {
		b.Begin(rapid.Uint16().Draw(t, "message"), 0)
		want = append(want, drawAttributes(t, &b, 3))
	}
	seq, last := rapid.Uint32().Draw(t, "seq"), 0
	for m := range Messages(b.Datagram(seq, unix.NLM_F_ACK)) {
		if m.Seq != seq+uint32(last) || (m.Flags&unix.NLM_F_ACK != 0) != (last == len(want)-1) {
			t.Fatalf("message %d has number %d and flags %#x", last, m.Seq, m.Flags)
		}
		wants(t, m.Body, want[last])
		last++
	}
	if last != len(want) {
		t.Fatalf("%d of %d messages", last, len(want))
	}
	errno := unix.Errno(rapid.Uint16Range(1, 4095).Draw(t, "errno"))
	text := rapid.StringMatching(`[ -~]{0,40}`).Draw(t, "text")
	request := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "request")
	err := refusal(errno, text, rapid.Bool().Draw(t, "capped"), request).err()
	var e *Error
	if !errors.As(err, &e) || e.Errno != errno || e.Text != text {
		t.Fatalf("%v with the text %q is read as %v", errno, text, err)
	}
}

// nestedKind is the kind of attributes that hold others here.
const nestedKind = 0x77

// drawAttributes adds attributes to a batch, and returns them.
func drawAttributes(t *rapid.T, b *Batch, depth int) (want []Message) {
	for range rapid.IntRange(0, 4).Draw(t, "attributes") {
		m := Message{Kind: rapid.Uint16Range(0, nestedKind-1).Draw(t, "kind")}
		switch rapid.IntRange(0, 5).Draw(t, "form") {
		case 0:
			m.Body = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
			b.Bytes(m.Kind, m.Body)
		case 1:
			s := rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "string")
			m.Body = append([]byte(s), 0)
			b.String(m.Kind, s)
		case 2:
			v := rapid.Byte().Draw(t, "uint8")
			m.Body = []byte{v}
			b.Uint8(m.Kind, v)
		case 3:
			v := rapid.Uint16().Draw(t, "uint16")
			m.Body = order.AppendUint16(nil, v)
			b.Uint16(m.Kind, v)
		case 4:
			v := rapid.Uint32().Draw(t, "uint32")
			m.Body = order.AppendUint32(nil, v)
			b.Uint32(m.Kind, v)
		case 5:
			if depth == 0 {
				continue
			}
			m.Kind = nestedKind
			var inner Batch
			inner.Begin(0, 0)
			b.Nest(m.Kind, func() {
				before := len(b.buf)
				drawAttributes(t, b, depth-1)
				m.Body = slices.Clone(b.buf[before:])
			})
		}
		want = append(want, m)
	}
	return want
}

func wants(t *rapid.T, body []byte, want []Message) {
	if got := plainAttributes(body); !same(got, want) {
		t.Fatalf("%v is read as %v", want, got)
	}
}

// kernelSays is a socket whose kernel has given these datagrams as answer, whatever it is asked.
func kernelSays(t *testing.T, datagrams ...[]byte) *Socket {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Socket{fd: ends[0]}
	t.Cleanup(func() {
		s.Close()
		unix.Close(ends[1])
	})
	for _, d := range datagrams {
		if _, err := unix.Write(ends[1], d); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// What a list, or an answer to a batch, is read as does not depend on the datagrams that it came in; and reading ends.
func FuzzAnswers(f *testing.F) {
	object := Message{Kind: unix.RTM_NEWLINK, Flags: unix.NLM_F_MULTI, Seq: 1, Body: make([]byte, 17)}
	done := Message{Kind: unix.NLMSG_DONE, Flags: unix.NLM_F_MULTI, Seq: 1, Body: make([]byte, 4)}
	other := Message{Kind: unix.RTM_NEWLINK, Seq: 9, Body: make([]byte, 16)}
	interrupted := object
	interrupted.Flags |= unix.NLM_F_DUMP_INTR
	refused := refusal(unix.EBUSY, "not now", true, nil)
	refused.Seq = 2
	ack := refusal(0, "", true, nil)
	ack.Seq = 3
	for _, list := range [][]Message{
		{object, object, done}, {other, object, done}, {interrupted, done, object, done}, {object, refusal(unix.EPERM, "", true, nil)}, {object},
		{refused, ack}, {object, other, ack}, {ack}, {refused}, {},
	} {
		var b []byte
		for _, m := range list {
			b = m.append(b)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > 8<<10 {
			t.Skip("more than fits one datagram here")
		}
		var apart [][]byte
		restarts := false
		for m := range Messages(stream) {
			ends := m.Kind == unix.NLMSG_ERROR || m.Kind == unix.NLMSG_DONE
			restarts = restarts || m.Flags&unix.NLM_F_DUMP_INTR != 0 || ends && errors.Is(m.err(), unix.EINTR)
			apart = append(apart, m.append(nil))
		}
		if len(apart) > 64 {
			t.Skip("more datagrams than fit the socket's queue")
		}
		var whole [][]byte
		if len(stream) > 0 {
			whole = [][]byte{stream}
		}
		one, several := listed(kernelSays(t, whole...)), listed(kernelSays(t, apart...))
		if one != several && !restarts {
			t.Errorf("a list in one datagram:\n%s\nin several:\n%s", one, several)
		}
		one, several = done3(kernelSays(t, whole...)), done3(kernelSays(t, apart...))
		if one != several {
			t.Errorf("a batch, answered in one datagram:\n%s\nin several:\n%s", one, several)
		}
	})
}

// listed is what a list is read as.
func listed(s *Socket) string {
	var b Batch
	b.Begin(unix.RTM_GETLINK, 0)
	var list []string
	err := s.Dump(&b, func() { list = nil }, func(kind uint16, body []byte) { list = append(list, fmt.Sprintf("%d: %x", kind, body)) })
	return fmt.Sprintf("%q %v", list, err)
}

// done3 is what the answer to a batch of three messages is read as.
func done3(s *Socket) string {
	var b Batch
	for range 3 {
		b.Begin(unix.RTM_SETLINK, 0)
	}
	var replies []string
	failed, err := s.Do(&b, func(message int, kind uint16, body []byte) {
		replies = append(replies, fmt.Sprintf("%d, %d: %x", message, kind, body))
	})
	for _, f := range failed {
		if f.Message < 0 || f.Message > 2 || f.Err == nil {
			return fmt.Sprintf("a failure of message %d: %v", f.Message, f.Err)
		}
	}
	return fmt.Sprintf("%q %v %v", replies, failed, err)
}
