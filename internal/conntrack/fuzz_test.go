package conntrack

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// An entry is read the same from what was read of it, its deletion is about it and no other, and who asks for its flow or its
// addresses gets it. The seeds with "kernel" in their names are entries of Linux 6.18.
func FuzzParseEntry(f *testing.F) {
	f.Add([]byte{})
	f.Add(message(f, "10.0.0.1", "10.0.0.2", 53, true))
	f.Add(message(f, "fd00::1", "fd00::2", 53, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		e, ok := parseEntry(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the message was changed")
		}
		if !ok {
			return
		}
		if !bytes.Contains(b, e.rawOrig) || !bytes.Contains(b, e.rawID) {
			t.Fatalf("%+v is not all of it in the message", e)
		}
		again, ok := parseEntry(e.deletion())
		if !ok || again.orig != e.orig || again.family != e.family || !bytes.Equal(again.rawOrig, e.rawOrig) || !bytes.Equal(again.rawID, e.rawID) {
			t.Fatalf("the deletion of %+v says %+v, %v", e, again, ok)
		}
		if again, ok = parseEntry(e.encode(t)); !ok || again.orig != e.orig || again.reply != e.reply || again.zone != e.zone || again.family != e.family {
			t.Fatalf("%+v is read again as %+v, %v", e, again, ok)
		}
		e.isSelected(t)
	})
}

// encode is a message with all that was read of an entry.
func (e *entry) encode(t *testing.T) []byte {
	ae := netlink.NewAttributeEncoder()
	e.orig.encode(ae, attrTupleOrig)
	e.reply.encode(ae, attrTupleReply)
	if e.zone {
		ae.Bytes(attrZone, []byte{0, 1})
	}
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{e.family, unix.NFNETLINK_V0, 0, 0}, b...)
}

func (t *tuple) encode(ae *netlink.AttributeEncoder, kind uint16) {
	ae.Nested(kind, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrTupleIP, func(ae *netlink.AttributeEncoder) error {
			for v4, a := range map[uint16]netip.Addr{attrIPv4Src: t.src, attrIPv4Dst: t.dst} {
				if a.Is6() {
					v4 += attrIPv6Src - attrIPv4Src
				}
				if a.IsValid() {
					ae.Bytes(v4, a.AsSlice())
				}
			}
			return nil
		})
		ae.Nested(attrTupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.Uint8(attrProtoNum, t.proto)
			ae.Bytes(attrProtoDstPort, binary.BigEndian.AppendUint16(nil, t.dstPort))
			return nil
		})
		if t.zone {
			ae.Bytes(attrTupleZone, []byte{0, 1})
		}
		return nil
	})
}

func (e *entry) isSelected(t *testing.T) {
	flow := Flow{Proto: e.orig.proto, HostIP: e.orig.dst, HostPort: e.orig.dstPort}
	other := flow
	other.HostPort++
	everywhere := func(netip.Addr) bool { return true }
	for _, c := range []struct {
		s    *selector
		want bool
	}{
		{newSelector([]Flow{flow}, nil), !e.zone},
		{newSelector(nil, []netip.Addr{e.orig.dst}), !e.zone},
		{newSelector([]Flow{other}, nil), false},
		{newSelector(nil, nil), false},
	} {
		c.s.local = everywhere
		if got := c.s.selects(e); got != c.want {
			t.Fatalf("%+v is selected by %+v: %v", e, c.s, got)
		}
	}
	if e.orig.src.IsValid() {
		flow.Source = e.orig.src
		if s := newSelector([]Flow{flow}, nil); s.selects(e) == e.zone {
			t.Fatalf("%+v: the flow from its source selects it: %v", e, !e.zone)
		}
	}
}
