package bridged

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Proto is a transport protocol, by its IP protocol number.
type Proto uint8

// The protocols that ports can be published for.
const (
	TCP  Proto = 6
	UDP  Proto = 17
	SCTP Proto = 132
)

// ParseProto reads "tcp", "udp" or "sctp", in any case.
func ParseProto(s string) (Proto, error) {
	switch strings.ToLower(s) {
	case "tcp":
		return TCP, nil
	case "udp":
		return UDP, nil
	case "sctp":
		return SCTP, nil
	}
	return 0, Errorf(ErrInvalid, "invalid protocol %q: use tcp, udp or sctp", s)
}

// String is "tcp", "udp" or "sctp".
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// MarshalText is [Proto.String].
func (p Proto) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParseProto].
func (p *Proto) UnmarshalText(b []byte) (err error) {
	*p, err = ParseProto(string(b))
	return err
}

// Binding is the host's side of a published port; no two ports share one.
type Binding struct {
	// HostIP is the address asked for; 0.0.0.0 is every IPv4 address of the host, :: every IPv6 address. Never zero.
	HostIP   netip.Addr
	Proto    Proto
	HostPort uint16
}

// String is as in "0.0.0.0:8080/tcp".
func (b Binding) String() string {
	return netip.AddrPortFrom(b.HostIP, b.HostPort).String() + "/" + b.Proto.String()
}

// MarshalText is [Binding.String]. A binding without an address or a protocol, which nobody could read again, is [ErrInvalid].
func (b Binding) MarshalText() ([]byte, error) {
	switch b.Proto {
	case TCP, UDP, SCTP:
		if b.HostIP.IsValid() {
			text := netip.AddrPortFrom(b.HostIP, b.HostPort).AppendTo(make([]byte, 0, len("255.255.255.255:65535/sctp")))
			return append(append(text, '/'), b.Proto.String()...), nil
		}
	}
	return nil, Errorf(ErrInvalid, "invalid binding %q", b.String())
}

// UnmarshalText reads what MarshalText wrote.
func (b *Binding) UnmarshalText(text []byte) error {
	addrPort, proto, _ := strings.Cut(string(text), "/")
	ap, err := netip.ParseAddrPort(addrPort)
	if err != nil {
		return Errorf(ErrInvalid, "invalid binding %q: %w", text, err)
	}
	p, err := ParseProto(proto)
	if err != nil {
		return Errorf(ErrInvalid, "invalid binding %q: %w", text, err)
	}
	*b = Binding{HostIP: ap.Addr(), Proto: p, HostPort: ap.Port()}
	return nil
}

// Overlaps reports whether a packet could be meant for both: the same protocol and port, and the same address or a wildcard
// of the same family on either side.
func (b Binding) Overlaps(o Binding) bool {
	if b.Proto != o.Proto || b.HostPort != o.HostPort || b.HostIP.Is4() != o.HostIP.Is4() {
		return false
	}
	return b.HostIP == o.HostIP || b.HostIP.IsUnspecified() || o.HostIP.IsUnspecified()
}

// Port is one published port in one family. A publication without a host address is two of them, one a family.
type Port struct {
	// Binding is no embedded field: its text form would become the form of the whole Port.
	Binding  Binding
	Sandbox  string // id
	Endpoint string // id; its address of the binding's family is where the packets go
	// ContainerPort is the port inside.
	ContainerPort uint16
}

// String is as in "80/tcp -> 0.0.0.0:8080", the form of `docker port`.
func (p Port) String() string {
	return fmt.Sprintf("%d/%s -> %s", p.ContainerPort, p.Binding.Proto,
		netip.AddrPortFrom(p.Binding.HostIP, p.Binding.HostPort))
}
