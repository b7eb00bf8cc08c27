package bridged

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// PortRange is First to Last, both included. The zero range means that any port may be chosen.
type PortRange struct {
	First, Last uint16
}

// Len is the number of ports in the range.
func (r PortRange) Len() int { return int(r.Last) - int(r.First) + 1 }

// Has reports whether the port can be chosen.
func (r PortRange) Has(port uint16) bool {
	return r == PortRange{} || r.First <= port && port <= r.Last
}

// String is "80" or "8000-8010".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// PortSpec asks for one container port to be published.
type PortSpec struct {
	// HostIP is the host address: the zero Addr is every address of each family that the sandbox has, 0.0.0.0 every IPv4
	// address only, :: every IPv6 address only.
	HostIP netip.Addr
	// HostPort is the port on the host: one of this range, or any when it is zero.
	HostPort      PortRange
	ContainerPort uint16
	Proto         Proto
}

// Fixed reports whether the port on the host is just one, and not chosen.
func (s PortSpec) Fixed() bool { return s.HostPort.First != 0 && s.HostPort.First == s.HostPort.Last }

// String is the specification in the form that [ParsePortSpec] reads.
func (s PortSpec) String() string {
	var b strings.Builder
	if s.HostIP.Is6() {
		fmt.Fprintf(&b, "[%s]:", s.HostIP)
	} else if s.HostIP.IsValid() {
		fmt.Fprintf(&b, "%s:", s.HostIP)
	}
	if s.HostPort != (PortRange{}) {
		fmt.Fprintf(&b, "%s:", s.HostPort)
	} else if s.HostIP.IsValid() {
		b.WriteByte(':')
	}
	fmt.Fprintf(&b, "%d/%s", s.ContainerPort, s.Proto)
	return b.String()
}

// ParsePortSpec reads [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/tcp|udp|sctp]. "8000-8010:80" is one of these host ports,
// "8000-8010:80-90" pairs them (the sizes must be equal), "80-90" is eleven ports with host ports to choose. An IPv6
// address stands in brackets. One PortSpec comes back for each container port.
func ParsePortSpec(s string) ([]PortSpec, error) {
	fail := func(format string, args ...any) ([]PortSpec, error) {
		return nil, Errorf(ErrInvalid, "invalid port specification %q: %s", s, fmt.Sprintf(format, args...))
	}
	rest, protoName, found := strings.Cut(s, "/")
	proto := TCP
	if found {
		var err error
		if proto, err = ParseProto(protoName); err != nil {
			return fail("%v", err)
		}
	}
	hostIP, rest, err := cutHostIP(rest)
	if err != nil {
		return fail("%v", err)
	}
	hostText, containerText, found := strings.Cut(rest, ":")
	if !found {
		if hostIP.IsValid() {
			return fail("an address must be followed by a host port and a container port, as in 127.0.0.1:8080:80")
		}
		hostText, containerText = "", rest
	}
	container, err := parsePortRange(containerText)
	if err != nil {
		return fail("container port %v", err)
	}
	if container.First == 0 {
		return fail("container port 0 is not possible")
	}
	var host PortRange
	if hostText != "" {
		if host, err = parsePortRange(hostText); err != nil {
			return fail("host port %v", err)
		}
		if host.First == 0 && host.Last != 0 {
			return fail("host port range %s begins with 0", hostText)
		}
	}
	return pairPorts(hostIP, host, container, proto, fail)
}

// cutHostIP splits a leading host address off; none gives the zero Addr.
func cutHostIP(s string) (netip.Addr, string, error) {
	var text, rest string
	if strings.HasPrefix(s, "[") {
		var found bool
		if text, rest, found = strings.Cut(s[1:], "]:"); !found {
			return netip.Addr{}, "", fmt.Errorf("the address in brackets must be followed by a colon and the ports")
		}
		if !strings.Contains(text, ":") {
			return netip.Addr{}, "", fmt.Errorf("%q in brackets is no IPv6 address", text)
		}
	} else {
		switch strings.Count(s, ":") {
		case 0, 1:
			return netip.Addr{}, s, nil
		case 2:
			text, rest, _ = strings.Cut(s, ":")
		default:
			return netip.Addr{}, "", fmt.Errorf("too many colons; an IPv6 address must stand in brackets, as in [::1]:8080:80")
		}
	}
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, "", fmt.Errorf("%q is no IP address", text)
	case ip.Zone() != "":
		return netip.Addr{}, "", fmt.Errorf("host address %q can't have a zone", text)
	}
	return ip.Unmap(), rest, nil
}

// pairPorts makes one PortSpec for each container port.
func pairPorts(ip netip.Addr, host, container PortRange, proto Proto, fail func(string, ...any) ([]PortSpec, error)) ([]PortSpec, error) {
	if host != (PortRange{}) && container.Len() > 1 && host.Len() != container.Len() {
		return fail("%d host ports for %d container ports; the ranges must have the same size", host.Len(), container.Len())
	}
	specs := make([]PortSpec, 0, container.Len())
	for i := range container.Len() {
		h := host
		if container.Len() > 1 && host != (PortRange{}) {
			h.First += uint16(i)
			h.Last = h.First
		}
		specs = append(specs, PortSpec{HostIP: ip, HostPort: h, ContainerPort: container.First + uint16(i), Proto: proto})
	}
	return specs, nil
}

func parsePortRange(s string) (PortRange, error) {
	firstText, lastText, isRange := strings.Cut(s, "-")
	first, err := parsePort(firstText)
	if err != nil {
		return PortRange{}, err
	}
	if !isRange {
		return PortRange{First: first, Last: first}, nil
	}
	last, err := parsePort(lastText)
	switch {
	case err != nil:
		return PortRange{}, err
	case last < first:
		return PortRange{}, fmt.Errorf("range %s ends before it begins", s)
	}
	return PortRange{First: first, Last: last}, nil
}

func parsePort(s string) (uint16, error) {
	if s == "" {
		return 0, fmt.Errorf("is missing")
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is no number", s)
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s is larger than 65535", s)
	}
	return uint16(n), nil
}
