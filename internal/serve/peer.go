package serve

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/privilege"
)

// groupID is the number of a group; false: this system does not have it.
func groupID(name string) (gid uint32, ok bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false // an empty root has no /etc/group at all
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err == nil
}

// Peer is who is at the other end of a connection, as it was when it connected.
type Peer struct {
	privilege.Peer
	// groups are the supplementary ones.
	groups []uint32
	err    error
}

func peerOf(conn net.Conn) Peer {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{err: fmt.Errorf("%s is no unix connection", conn.RemoteAddr())}
	}
	p, err := privilege.PeerOf(uc)
	if err != nil {
		return Peer{err: err}
	}
	groups, err := peerGroups(uc)
	return Peer{Peer: p, groups: groups, err: err}
}

// MayChange says whether the peer may change anything: root, the daemon's own user, a member of that group, where there is one; "": no group's. The
// socket's mode keeps others out; this holds when somebody has loosened it.
func (p Peer) MayChange(group string) error {
	switch {
	case p.err != nil:
		return bridged.Errorf(bridged.ErrDenied, "denied: cannot see who asks: %w", p.err)
	case p.trusted():
		return nil
	case group == "":
		return bridged.Errorf(bridged.ErrDenied, "denied: user %d may not change anything: be root", p.UID)
	}
	if gid, ok := groupID(group); ok && (p.GID == gid || slices.Contains(p.groups, gid)) {
		return nil
	}
	return bridged.Errorf(bridged.ErrDenied, "denied: user %d may not change anything: be root or a member of the group %s", p.UID, group)
}

// trusted: the peer is root or the daemon's own user.
func (p Peer) trusted() bool { return p.err == nil && (p.UID == 0 || int(p.UID) == os.Geteuid()) }

// peerGroups are the supplementary groups of a socket's peer: SO_PEERGROUPS, Linux 4.13. x/sys/unix has no call for it.
func peerGroups(conn *net.UnixConn) ([]uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot ask for the peer's groups: %w", err)
	}
	var text []byte
	var optionErr error
	err = raw.Control(func(fd uintptr) { text, optionErr = socketOption(fd, unix.SO_PEERGROUPS) })
	if err = cmp.Or(err, optionErr); err != nil {
		return nil, fmt.Errorf("cannot ask for the peer's groups: %w", err)
	}
	groups := make([]uint32, len(text)/4)
	for i := range groups {
		groups[i] = binary.NativeEndian.Uint32(text[4*i:])
	}
	return groups, nil
}

// socketOption reads an option of level SOL_SOCKET whose size is not known before.
func socketOption(fd uintptr, option int) ([]byte, error) {
	text := make([]byte, 256)
	for {
		size := uint32(len(text))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, uintptr(option),
			uintptr(unsafe.Pointer(&text[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && int(size) > len(text):
			text = make([]byte, size)
		case errno != 0:
			return nil, errno
		default:
			return text[:size], nil
		}
	}
}
