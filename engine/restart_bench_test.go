package engine

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/benchtest"
)

// BenchmarkRestart is the time from the start of an engine to its readiness, on a host with a thousand sandboxes of ten ports each on which
// nothing has changed. The floor under it is one dump of the host's links, as we ask for them, its addresses, and the elements of all sets of ours, which
// nobody decodes, with a buffer as large as the kernel's largest answer.
func BenchmarkRestart(b *testing.B) {
	for _, sandboxes := range []int{0, 100, 1000} {
		b.Run(fmt.Sprintf("sandboxes=%d", sandboxes), func(b *testing.B) {
			host, cfg := giveNamespace(b), testConfig(b)
			cfg.IPv6 = false // a reservation takes a file, and two families are more than the usual limit of files
			e, stop := startIn(b, host, cfg)
			populate(b, e, sandboxes)
			if n := e.Status().Ports; n != 10*sandboxes {
				b.Fatalf("%d ports", n)
			}
			stop()
			floor := newSpace(b, "host", host)
			watch := benchtest.NewWatch("floor", "start")
			b.ReportAllocs()
			for b.Loop() {
				benchtest.InTurn(
					func() { watch.Time(b, "floor", func() error { return dumpHost(floor) }) },
					func() {
						watch.Time(b, "start", func() (err error) {
							if e, err = openIn(b, host, cfg, less{}); err == nil {
								_, stop = run(b, e)
							}
							return err
						})
						if n := e.Status().Transactions; n > 1 {
							b.Fatalf("the start made %d transactions", n)
						}
						stop()
					})
			}
			watch.Report(b)
			watch.Ratio(b, "start", "floor")
		})
	}
}

// populate makes sandboxes with ten ports each, in namespaces of their own.
func populate(tb testing.TB, e *Engine, sandboxes int) {
	tb.Helper()
	for i := range sandboxes {
		first := 10000 + 10*i
		spec := bridged.SandboxSpec{Name: fmt.Sprintf("c%d", i), NetNS: giveNamespace(tb), Ports: specs(tb, fmt.Sprintf("%d-%d:80-89", first, first+9))}
		if _, err := e.CreateSandbox(tb.Context(), spec); err != nil {
			tb.Fatal(err)
		}
	}
}

// dumpHost asks the kernel for what a start must know at the least, and reads the answers.
func dumpHost(host space) error {
	return host.ns.Do(func() error {
		links := make([]byte, unix.SizeofIfInfomsg)
		for _, n := range []uint16{8, unix.IFLA_EXT_MASK} {
			links = binary.NativeEndian.AppendUint16(links, n)
		}
		links = binary.NativeEndian.AppendUint32(links, 1<<3) // RTEXT_FILTER_SKIP_STATS
		if err := dump(unix.NETLINK_ROUTE, unix.RTM_GETLINK, links); err != nil {
			return err
		}
		if err := dump(unix.NETLINK_ROUTE, unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg)); err != nil {
			return err
		}
		for _, t := range Program() {
			for _, s := range t.Sets {
				body := []byte{byte(t.ID.Family), 0, 0, 0}
				body = appendString(body, unix.NFTA_SET_ELEM_LIST_TABLE, t.ID.Name)
				body = appendString(body, unix.NFTA_SET_ELEM_LIST_SET, s.Name)
				if err := dump(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETSETELEM, body); err != nil {
					return fmt.Errorf("set %s: %w", s.Name, err)
				}
			}
		}
		return nil
	})
}

func appendString(b []byte, attribute uint16, s string) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(s)+1))
	b = binary.NativeEndian.AppendUint16(b, attribute)
	b = append(append(b, s...), 0)
	return append(b, make([]byte, -len(b)&3)...)
}

// dump sends one request and reads to the end of its answer.
func dump(protocol int, kind uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	request = binary.NativeEndian.AppendUint16(request, kind)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request = append(append(request, make([]byte, 8)...), body...)
	if _, err := unix.Write(fd, request); err != nil {
		return err
	}
	for buf := make([]byte, 64<<10); ; {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return err
		}
		for m := buf[:n]; len(m) >= unix.SizeofNlMsghdr; {
			switch binary.NativeEndian.Uint16(m[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return unix.Errno(-int32(binary.NativeEndian.Uint32(m[16:])))
			}
			size := max(int(binary.NativeEndian.Uint32(m)), unix.SizeofNlMsghdr)
			m = m[min(len(m), (size+3)&^3):]
		}
	}
}
