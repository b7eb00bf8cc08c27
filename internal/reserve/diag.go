package reserve

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of linux/sock_diag.h and linux/inet_diag.h.
const (
	sockDiagByFamily = 20
	diagSKV6Only     = 11 // attribute, one byte
	diagRequestSize  = 56 // struct inet_diag_req_v2
	diagMessageSize  = 72 // struct inet_diag_msg
	allStates        = 0xffffffff
)

// socketInfo is one socket of the kernel's list.
type socketInfo struct {
	local netip.Addr
	// dual: an IPv6 socket that IPv4 packets reach too.
	dual bool
	// inode is 0 when no process has the socket open.
	inode uint32
}

// overlaps reports whether the socket can keep another from being bound to a with the same port.
func (s socketInfo) overlaps(a netip.Addr) bool {
	local := s.local.Unmap() // an IPv6 socket may have an IPv4 address
	if local.Is6() && a.Is4() {
		return s.dual && local.IsUnspecified()
	}
	if local.Is4() != a.Is4() {
		return false
	}
	return local == a || local.IsUnspecified() || a.IsUnspecified()
}

// listSockets asks the kernel for the sockets of both families with this local port, also those that were bound and nothing
// else (since Linux 6.8).
func listSockets(proto uint8, port uint16) ([]socketInfo, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var sockets []socketInfo
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := make([]byte, diagRequestSize)
		request[0], request[1] = family, proto
		binary.NativeEndian.PutUint32(request[4:], allStates)
		binary.BigEndian.PutUint16(request[8:], port) // the local port
		messages, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: sockDiagByFamily, Flags: netlink.Request | netlink.Dump},
			Data:   request,
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, m := range messages {
			if s, ok := parseSocket(m.Data, port); ok {
				sockets = append(sockets, s)
			}
		}
	}
	if len(sockets) == 0 {
		return nil, errors.Join(errs...)
	}
	return sockets, nil
}

// parseSocket reads a struct inet_diag_msg and what follows; false: it is another port's, or malformed.
func parseSocket(b []byte, port uint16) (socketInfo, bool) {
	if len(b) < diagMessageSize || binary.BigEndian.Uint16(b[4:]) != port {
		return socketInfo{}, false
	}
	s := socketInfo{inode: binary.NativeEndian.Uint32(b[68:])}
	switch b[0] {
	case unix.AF_INET:
		s.local = netip.AddrFrom4([4]byte(b[8:12]))
		return s, true
	case unix.AF_INET6:
		s.local, s.dual = netip.AddrFrom16([16]byte(b[8:24])), true
	default:
		return socketInfo{}, false
	}
	d, err := netlink.NewAttributeDecoder(b[diagMessageSize:])
	if err != nil {
		return socketInfo{}, false
	}
	for d.Next() {
		if d.Type() == diagSKV6Only {
			s.dual = d.Uint8() == 0
		}
	}
	return s, d.Err() == nil
}
