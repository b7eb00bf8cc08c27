package conntrack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"
)

// message is an entry of a UDP flow as the kernel dumps it.
func message(t testing.TB, src, dst string, dport uint16, zone bool) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	tuple := func(kind uint16, src, dst string, dport uint16) {
		ae.Nested(kind, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(attrTupleIP, func(ae *netlink.AttributeEncoder) error {
				from, to := uint16(attrIPv4Src), uint16(attrIPv4Dst)
				if addr(src).Is6() {
					from, to = attrIPv6Src, attrIPv6Dst
				}
				ae.Bytes(from, addr(src).AsSlice())
				ae.Bytes(to, addr(dst).AsSlice())
				return nil
			})
			ae.Nested(attrTupleProto, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(attrProtoNum, udp)
				ae.Bytes(2, []byte{0x13, 0x88})
				ae.Bytes(attrProtoDstPort, binary.BigEndian.AppendUint16(nil, dport))
				return nil
			})
			return nil
		})
	}
	tuple(attrTupleOrig, src, dst, dport)
	tuple(attrTupleReply, dst, src, 5000)
	ae.Uint32(attrID, 0x01020304)
	if zone {
		ae.Bytes(attrZone, []byte{0, 7})
	}
	b, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	family := byte(unix.AF_INET)
	if addr(src).Is6() {
		family = unix.AF_INET6
	}
	return append([]byte{family, 0, 0, 0}, b...)
}

func TestParseEntry(t *testing.T) {
	e, ok := parseEntry(message(t, "10.0.0.1", "10.0.0.2", 53, false))
	want := tuple{src: addr("10.0.0.1"), dst: addr("10.0.0.2"), proto: udp, dstPort: 53}
	if !ok || e.orig != want || e.reply.src != want.dst || e.zone {
		t.Errorf("parsed: %+v, %v", e, ok)
	}
	again, ok := parseEntry(e.deletion())
	if !ok || again.orig != e.orig || !bytes.Equal(again.rawID, e.rawID) || again.family != unix.AF_INET {
		t.Errorf("the deletion says %+v, %v", again, ok)
	}
	if e, ok := parseEntry(message(t, "fd00::1", "fd00::2", 53, true)); !ok || !e.zone || e.orig.dst != addr("fd00::2") {
		t.Errorf("IPv6, in a zone: %+v, %v", e, ok)
	}
}

func everything() *selector {
	return newSelector([]Flow{{Proto: udp, HostIP: addr("10.0.0.2"), HostPort: 53}}, nil)
}

// refuse is the kernel's answer to each message.
func refuse(errno unix.Errno) ([]netlink.Message, error) {
	b := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	return []netlink.Message{{Header: netlink.Header{Type: netlink.Error}, Data: b}}, nil
}

func TestKernelWithoutConntrack(t *testing.T) {
	for errno, fails := range map[unix.Errno]bool{unix.EINVAL: false, unix.EOPNOTSUPP: false, unix.EPERM: true} {
		c := nltest.Dial(func([]netlink.Message) ([]netlink.Message, error) { return refuse(errno) })
		if n, err := purge(c, everything()); n != 0 || errors.Is(err, errno) != fails || (err != nil) != fails {
			t.Errorf("%v: %d, %v", errno, n, err)
		}
	}
}

// An entry may time out between the dump and its deletion.
func TestEntryGoneMeanwhile(t *testing.T) {
	for errno, fails := range map[unix.Errno]bool{unix.ENOENT: false, unix.EBUSY: true} {
		c := nltest.Dial(func(req []netlink.Message) ([]netlink.Message, error) {
			if len(req) == 0 || req[0].Header.Type != getConntrack {
				return refuse(errno)
			}
			m := netlink.Message{Header: req[0].Header, Data: message(t, "10.0.0.1", "10.0.0.2", 53, false)}
			return nltest.Multipart([]netlink.Message{m, m, {}})
		})
		if n, err := purge(c, everything()); n != 0 || errors.Is(err, errno) != fails || (err != nil) != fails {
			t.Errorf("%v: %d, %v", errno, n, err)
		}
	}
}

// TestLostAnswers: nobody waits for what the kernel had no room for, be it of the dump or to a deletion.
func TestLostAnswers(t *testing.T) {
	for _, lost := range []netlink.HeaderType{getConntrack, deleteConntrack} {
		deletions := 0
		c := nltest.Dial(func(req []netlink.Message) ([]netlink.Message, error) {
			switch {
			case len(req) == 0:
				t.Errorf("message %d: an answer is waited for that was lost", lost)
				return nil, unix.EIO
			case req[0].Header.Type == deleteConntrack:
				deletions++
			}
			if req[0].Header.Type == lost {
				return nil, unix.ENOBUFS
			}
			entries := make([]netlink.Message, 2*deleteBatch+1) // the last one says that it is the end
			for i := range entries[:2*deleteBatch] {
				entries[i] = netlink.Message{Header: req[0].Header, Data: message(t, "10.0.0.1", "10.0.0.2", 53, false)}
			}
			return nltest.Multipart(entries)
		})
		if n, err := purge(c, everything()); n != 0 || !errors.Is(err, unix.ENOBUFS) {
			t.Errorf("message %d: %d, %v", lost, n, err)
		}
		if lost == deleteConntrack && deletions != 1 || lost == getConntrack && deletions != 0 {
			t.Errorf("message %d: deletions were sent %d times", lost, deletions)
		}
	}
}
