package hostcheck_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"unsafe"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
)

// legacy speaks to the kernel as iptables-legacy does.
type legacy struct {
	t      *testing.T
	level  int
	fd     int
	target int // where in an entry its verdict is, when nothing but the target follows
}

// Numbers of linux/netfilter_ipv4/ip_tables.h. Those of IPv6 are the same.
const (
	setReplace = 64 // IPT_SO_SET_REPLACE
	getInfo    = 64
	getEntries = 65
)

func newLegacy(t *testing.T, f nft.Family) legacy {
	l := legacy{t: t, level: unix.IPPROTO_IP, target: 112 + 32}
	domain := unix.AF_INET
	if f == nft.IPv6 {
		l.level, domain, l.target = unix.IPPROTO_IPV6, unix.AF_INET6, 168+32
	}
	var err error
	l.fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	check(t, err)
	t.Cleanup(func() { unix.Close(l.fd) })
	return l
}

// get is getsockopt with a request of the table "filter" in the answer's place, as long as the answer. Asking makes the table.
func (l legacy) get(option, size int) []byte {
	l.t.Helper()
	b := make([]byte, size)
	copy(b, "filter")
	if option == getEntries {
		binary.NativeEndian.PutUint32(b[32:], uint32(size-40))
	}
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.fd), uintptr(l.level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errors.Is(errno, unix.ENOPROTOOPT) || errors.Is(errno, unix.ENOENT) {
		l.t.Skip("this kernel has no iptables-legacy")
	}
	if errno != 0 {
		l.t.Fatal(errno)
	}
	return b
}

// policyDrop makes DROP the policy of FORWARD.
func (l legacy) policyDrop() {
	l.t.Helper()
	info := l.get(getInfo, 84)
	number := func(at int) uint32 { return binary.NativeEndian.Uint32(info[at:]) }
	underflow, count, size := number(56+2*4), number(76), number(80)
	entries := l.get(getEntries, 40+int(size))[40:]
	binary.NativeEndian.PutUint32(entries[int(underflow)+l.target:], ^uint32(0)) // −NF_DROP−1

	counters := make([]byte, 16*count)
	var r bytes.Buffer // struct ipt_replace
	r.Write(info[:36])
	binary.Write(&r, binary.NativeEndian, []uint32{count, size})
	r.Write(info[36:76])
	binary.Write(&r, binary.NativeEndian, count)
	binary.Write(&r, binary.NativeEndian, uint64(uintptr(unsafe.Pointer(&counters[0]))))
	r.Write(entries)
	check(l.t, unix.SetsockoptString(l.fd, l.level, setReplace, r.String()))
	runtime.KeepAlive(counters)
}

// TestReadLegacy: what the old firewall does to forwarded packets is seen, and looking does not make its tables.
func TestReadLegacy(t *testing.T) {
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		t.Run(family.String(), func(t *testing.T) {
			n := nstest.New(t)
			names := map[nft.Family]string{nft.IPv4: "/proc/thread-self/net/ip_tables_names", nft.IPv6: "/proc/thread-self/net/ip6_tables_names"}[family]
			n.Do(func() {
				look := func() []hostcheck.LegacyTable {
					h, err := hostcheck.Read(hostcheck.Own{})
					check(t, err)
					return h.Legacy
				}
				if got := look(); got != nil {
					t.Errorf("in a fresh namespace: %v", got)
				}
				if list, err := os.ReadFile(names); err == nil && len(list) > 0 {
					t.Errorf("looking made %q", list)
				}
				l := newLegacy(t, family)
				l.get(getInfo, 84)
				want := []hostcheck.LegacyTable{{Family: family, Policy: hostcheck.Accept}}
				if diff := gocmp.Diff(want, look()); diff != "" {
					t.Errorf("as it is made (-want +got):\n%s", diff)
				}
				l.policyDrop()
				want[0].Policy = hostcheck.Drop
				if diff := gocmp.Diff(want, look()); diff != "" {
					t.Errorf("with policy DROP (-want +got):\n%s", diff)
				}
			})
		})
	}
}
