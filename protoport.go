package bridged

import (
	"cmp"
	"strconv"
	"strings"
)

// ProtoPort is a port of a transport protocol.
type ProtoPort struct {
	Proto Proto
	Port  uint16
}

// ParseProtoPort reads PORT[/tcp|udp|sctp], as in "5432/tcp"; without a protocol it is TCP.
func ParseProtoPort(s string) (ProtoPort, error) {
	portText, protoText, found := strings.Cut(s, "/")
	if !found {
		protoText = TCP.String()
	}
	port, err := parsePort(portText)
	switch {
	case err != nil:
		return ProtoPort{}, Errorf(ErrInvalid, "invalid port %q: the port %w", s, err)
	case port == 0:
		return ProtoPort{}, Errorf(ErrInvalid, "invalid port %q: there is no port 0", s)
	}
	proto, err := ParseProto(protoText)
	if err != nil {
		return ProtoPort{}, Errorf(ErrInvalid, "invalid port %q: %w", s, err)
	}
	return ProtoPort{Proto: proto, Port: port}, nil
}

// String is as in "5432/tcp".
func (p ProtoPort) String() string { return strconv.Itoa(int(p.Port)) + "/" + p.Proto.String() }

// MarshalText is [ProtoPort.String].
func (p ProtoPort) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParseProtoPort].
func (p *ProtoPort) UnmarshalText(b []byte) (err error) {
	*p, err = ParseProtoPort(string(b))
	return err
}

// Compare orders by port, then by protocol.
func (p ProtoPort) Compare(o ProtoPort) int {
	return cmp.Or(cmp.Compare(p.Port, o.Port), cmp.Compare(p.Proto, o.Proto))
}
