package reserve

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged"
)

// Port is what is reserved.
type Port struct {
	// Addr 0.0.0.0 and :: are every address of their own family.
	Addr netip.Addr
	// Proto is the IP protocol number: TCP, UDP or SCTP.
	Proto uint8
	// Port is never 0.
	Port uint16
}

// String is as in "0.0.0.0:8080/tcp".
func (p Port) String() string {
	return netip.AddrPortFrom(p.Addr, p.Port).String() + "/" + bridged.Proto(p.Proto).String()
}

// Socket holds a port until it is closed. The zero Socket holds none.
type Socket struct {
	fd   int
	open bool
}

// noInterface is the largest interface index, which is never reached: indexes are given out one after the other.
const noInterface = math.MaxInt32

// Bind reserves p. A protocol or address family that the kernel does not have can't be taken by anybody, and needs no
// reservation.
//
// [bridged.ErrConflict]: something else has the port, which the error names where it can be found. [bridged.ErrInvalid]: the
// address is none of the host's. [bridged.ErrUnavailable]: too many files are open; a reservation takes one.
func Bind(p Port) (*Socket, error) {
	s, err := p.reserve(func(f func() error) error { return f() })
	if err != nil {
		_ = err.Error() // who has the port is looked for now: the thread that reads it may be elsewhere
	}
	return s, err
}

// reserve is Bind, but who has the port is looked for when somebody reads the error, by a function that in runs in the same network namespace.
func (p Port) reserve(in func(func() error) error) (*Socket, error) {
	sp, err := p.species()
	if err != nil {
		return nil, err
	}
	fd, err := sp.socket()
	if p.absent(err) {
		return &Socket{}, nil
	}
	if err != nil {
		return nil, p.explain(err, in)
	}
	err = spare(fd)
	if err == nil {
		err = p.bind(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, p.explain(err, in)
	}
	return &Socket{fd: fd, open: true}, nil
}

// What reservations leave for everything else that a daemon opens, its clients' connections among it: this part of the files that may
// be open, and at most maxSpare.
const (
	spareShare = 4
	maxSpare   = 2048
)

// spare refuses a descriptor when few others are left. The kernel gives out the lowest number that is free.
func spare(fd int) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if uint64(fd) >= l.Cur-min(l.Cur/spareShare, maxSpare) {
		return unix.EMFILE
	}
	return nil
}

// species is what a socket for the port must be.
func (p Port) species() (sp species, err error) {
	switch {
	case !p.Addr.IsValid() || p.Addr.Zone() != "" || p.Addr.Is4In6():
		return sp, bridged.Errorf(bridged.ErrInvalid, "cannot reserve a port of the host address %q", p.Addr)
	case p.Port == 0:
		return sp, bridged.Errorf(bridged.ErrInvalid, "cannot reserve port 0 of %s", p.Addr)
	}
	sp = species{family: unix.AF_INET, kind: unix.SOCK_STREAM, proto: int(p.Proto)}
	if p.Addr.Is6() {
		sp.family = unix.AF_INET6
	}
	switch bridged.Proto(p.Proto) {
	case bridged.TCP, bridged.SCTP:
		return sp, nil
	case bridged.UDP:
		sp.kind = unix.SOCK_DGRAM
		return sp, nil
	}
	return sp, bridged.Errorf(bridged.ErrInvalid, "cannot reserve %s: only ports of TCP, UDP and SCTP can be", p)
}

// socket makes one that holds no port yet.
func (sp species) socket() (fd int, err error) {
	return unix.Socket(sp.family, sp.kind|unix.SOCK_CLOEXEC, sp.proto)
}

// absent reports whether the error of socket(2) means that nobody can have such a socket. A specific address of an absent
// family is another matter: the host does not have it.
func (p Port) absent(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) && p.Addr.IsUnspecified()
}

// bind binds without SO_REUSEADDR: two sockets that both have it can share a port as long as neither listens.
func (p Port) bind(fd int) error {
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(p.Port)}
	if p.Addr.Is4() {
		sa.(*unix.SockaddrInet4).Addr = p.Addr.As4()
	} else {
		sa = &unix.SockaddrInet6{Port: int(p.Port), Addr: p.Addr.As16()}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return err
	}
	if bridged.Proto(p.Proto) != bridged.UDP {
		return nil
	}
	// After bind, so that sockets that are tied to an interface conflict with ours too.
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, noInterface)
}

// explain says what an errno means for the user. in is that of reserve.
func (p Port) explain(err error, in func(func() error) error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return newTaken(p, err, in)
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EAFNOSUPPORT):
		return bridged.Errorf(bridged.ErrInvalid, "%s is no address of this host: %w", p.Addr, err)
	case errors.Is(err, unix.EACCES):
		return bridged.Errorf(bridged.ErrDenied, "cannot reserve %s without CAP_NET_BIND_SERVICE: %w", p, err)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return bridged.Errorf(bridged.ErrUnavailable, "cannot reserve %s: raise the daemon's limit of open files (LimitNOFILE): %w", p, err)
	}
	return fmt.Errorf("cannot reserve %s: %w", p, err)
}

// Close gives the port back; a second Close does nothing.
func (s *Socket) Close() error {
	if !s.open {
		return nil
	}
	s.open = false
	return unix.Close(s.fd)
}
