package reserve

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket in the kernel's list, and its lists of ports, are read the same from what was read of them. The seeds with "kernel" in their
// names are sockets of Linux 6.18.
func FuzzParse(f *testing.F) {
	f.Add(make([]byte, diagMessageSize))
	v6 := make([]byte, diagMessageSize, diagMessageSize+8)
	v6[0] = unix.AF_INET6
	f.Add(append(v6, 5, 0, diagSKV6Only, 0, 1, 0, 0, 0))
	for _, s := range []string{"8080,9148-9150", "\n", "32768\t60999\n", "1-65535", "0", "9-5", "1-2-3", ",,7", "65536", "+1", "0x10"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readSocket(t, b)
		if len(b) > 4096 {
			return
		}
		readReserved(t, string(b))
		first, last, err := parseRange(strings.Fields(string(b)))
		if err != nil {
			return
		}
		again, end, err := parseRange(strings.Fields(fmt.Sprintf("%d\t%d\n", first, last)))
		if err != nil || again != first || end != last || last < first {
			t.Fatalf("%q is %d to %d, and again %d to %d, %v", b, first, last, again, end, err)
		}
	})
}

func readSocket(t *testing.T, b []byte) {
	port := uint16(8080)
	if len(b) >= diagMessageSize {
		port = binary.BigEndian.Uint16(b[4:])
	}
	s, ok := parseSocket(b, port)
	if _, other := parseSocket(b, port+1); other {
		t.Fatalf("a socket of port %d is one of port %d", port, port+1)
	}
	if !ok {
		return
	}
	if family := b[0]; !s.local.IsValid() || s.local.Is4() != (family == unix.AF_INET) || s.local.Is6() != (family == unix.AF_INET6) {
		t.Fatalf("socket %+v of family %d", s, family)
	}
	if again, ok := parseSocket(s.encode(port), port); !ok || again != s {
		t.Fatalf("%+v is read again as %+v, %v", s, again, ok)
	}
	if !s.overlaps(s.local.Unmap()) {
		t.Fatalf("%+v is not in the way of its own address", s)
	}
}

// encode is the socket as the kernel sends it.
func (s socketInfo) encode(port uint16) []byte {
	b := make([]byte, diagMessageSize)
	b[0] = unix.AF_INET6
	if s.local.Is4() {
		b[0] = unix.AF_INET
	}
	binary.BigEndian.PutUint16(b[4:], port)
	copy(b[8:], s.local.AsSlice())
	binary.NativeEndian.PutUint32(b[68:], s.inode)
	only := byte(1)
	if s.dual {
		only = 0
	}
	return append(b, 5, 0, diagSKV6Only, 0, only, 0, 0, 0)
}

// readReserved: a list of ports says the same when it is written out.
func readReserved(t *testing.T, list string) {
	reserved, err := parseReserved(list)
	if err != nil {
		return
	}
	written := rangesText(reserved)
	again, err := parseReserved(written)
	if err != nil || rangesText(again) != written {
		t.Fatalf("%q is written %q, and read as %q, %v", list, written, rangesText(again), err)
	}
}

// rangesText is a list of ports as the kernel writes it.
func rangesText(reserved func(uint16) bool) string {
	var list []string
	for p := 0; p < 1<<16; p++ {
		if !reserved(uint16(p)) {
			continue
		}
		first := p
		for p+1 < 1<<16 && reserved(uint16(p+1)) {
			p++
		}
		list = append(list, fmt.Sprintf("%d-%d", first, p))
	}
	return strings.Join(list, ",") + "\n"
}
