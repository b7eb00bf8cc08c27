package hostcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/nft"
)

// readLegacy reads the table "filter" of iptables-legacy and ip6tables-legacy where they are in use, in the calling thread's network
// namespace. The kernel lists the tables of a namespace in a file; asking for one that is not listed would make it.
func readLegacy() ([]LegacyTable, error) {
	var tables []LegacyTable
	var errs []error
	for _, x := range []xtables{
		{nft.IPv4, unix.AF_INET, unix.IPPROTO_IP, "ip_tables_names", 112, 84},
		{nft.IPv6, unix.AF_INET6, unix.IPPROTO_IPV6, "ip6_tables_names", 168, 136},
	} {
		t, ok, err := x.filter()
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot read the %v tables of iptables-legacy: %w", x.family, err))
		}
		if ok {
			tables = append(tables, t)
		}
	}
	return tables, errors.Join(errs...)
}

// xtables is what differs between the families of iptables-legacy.
type xtables struct {
	family         nft.Family
	domain, level  int
	names          string
	entry, offsets int // the size of struct ipt_entry or ip6t_entry, and where its target_offset is after nfcache
}

// Numbers of linux/netfilter_ipv4/ip_tables.h and ip6_tables.h.
const (
	getInfo    = 64        // IPT_SO_GET_INFO
	getEntries = 65        // IPT_SO_GET_ENTRIES
	tableName  = 32        // XT_TABLE_MAXNAMELEN
	hooks      = 5         // NF_INET_NUMHOOKS
	targetSize = 32        // struct xt_entry_target: before the verdict of a standard target
	maxTable   = 512 << 20 // XT_MAX_TABLE_SIZE of net/netfilter/x_tables.c
)

// info is struct ipt_getinfo: where each hook's rules begin, and where its policy is, in bytes from the first entry.
type info struct {
	Name             [tableName]byte
	ValidHooks       uint32
	Entry, Underflow [hooks]uint32
	Entries, Size    uint32
}

// filter is the table "filter"; false when it is not in use.
func (x xtables) filter() (LegacyTable, bool, error) {
	names, err := os.ReadFile("/proc/thread-self/net/" + x.names)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(names)), "filter") {
		return LegacyTable{}, false, nil
	}
	if err != nil {
		return LegacyTable{}, false, err
	}
	fd, err := unix.Socket(x.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return LegacyTable{}, false, err
	}
	defer unix.Close(fd)
	t, err := x.read(fd)
	return t, err == nil, err
}

func (x xtables) read(fd int) (LegacyTable, error) {
	head := make([]byte, binary.Size(info{}))
	copy(head, "filter")
	if err := getsockopt(fd, x.level, getInfo, head); err != nil {
		return LegacyTable{}, err
	}
	var i info
	if err := binary.Read(bytes.NewReader(head), binary.NativeEndian, &i); err != nil {
		return LegacyTable{}, err
	}
	if i.Size > maxTable {
		return LegacyTable{}, fmt.Errorf("a table of %d bytes: no more than %d are possible", i.Size, maxTable)
	}
	blob := make([]byte, entriesAt+int(i.Size))
	copy(blob, "filter")
	binary.NativeEndian.PutUint32(blob[tableName:], i.Size)
	if err := getsockopt(fd, x.level, getEntries, blob); err != nil {
		return LegacyTable{}, err
	}
	policy, err := x.verdict(blob[entriesAt:], int(i.Underflow[nft.Forward]))
	return LegacyTable{Family: x.family, Policy: policy, Rules: i.Entry[nft.Forward] != i.Underflow[nft.Forward]}, err
}

// entriesAt is where struct ipt_get_entries has its entries: behind the name and the size, aligned to 8 bytes.
const entriesAt = tableName + 8

// verdict is that of the standard target of the entry at an offset.
func (x xtables) verdict(entries []byte, at int) (Verdict, error) {
	if at < 0 || at+x.entry > len(entries) {
		return Continue, errors.New("a chain's policy is outside the table")
	}
	e := entries[at:]
	target := int(binary.NativeEndian.Uint16(e[x.offsets+4:])) + targetSize
	if target+4 > len(e) {
		return Continue, errors.New("a chain's policy is outside the table")
	}
	const drop = -1 // −NF_DROP−1: what is less than 0 is a verdict, what is not, a jump
	if int32(binary.NativeEndian.Uint32(e[target:])) == drop {
		return Drop, nil
	}
	return Accept, nil
}

// getsockopt fills b, whose beginning is read by the kernel.
func getsockopt(fd, level, name int, b []byte) error {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt", errno)
	}
	return nil
}
