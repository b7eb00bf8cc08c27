package docker

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/ordered"
)

// Options of Docker's own about an endpoint.
const (
	optionPorts   = "com.docker.network.portmap"
	optionExposed = "com.docker.network.endpoint.exposedports"
)

// ports are those to publish: first those with one host port, then those with several to choose from, then those with any, or what is chosen could be
// another's. Ports that are only exposed are left as they are.
func (o options) ports() ([]bridged.PortSpec, error) {
	var exposed []transportPort
	if _, err := o.option(optionExposed, &exposed); err != nil {
		return nil, err
	}
	var bindings []portBinding
	if _, err := o.option(optionPorts, &bindings); err != nil {
		return nil, err
	}
	var specs []bridged.PortSpec
	for i, b := range bindings {
		s, err := b.spec()
		if err != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, "option %s, number %d: %w", optionPorts, i, err)
		}
		specs = append(specs, s)
	}
	choice := func(s bridged.PortSpec) int {
		if s.HostPort.First == 0 {
			return 1 << 16
		}
		return s.HostPort.Len()
	}
	ordered.SortStable(specs, func(a, b bridged.PortSpec) int {
		return cmp.Or(cmp.Compare(choice(a), choice(b)), cmp.Compare(a.HostPort.First, b.HostPort.First))
	})
	return specs, nil
}

// spec is the port as a specification.
func (b portBinding) spec() (s bridged.PortSpec, err error) {
	s = bridged.PortSpec{Proto: bridged.Proto(b.Proto), ContainerPort: b.Port, HostPort: bridged.PortRange{First: b.HostPort, Last: cmp.Or(b.HostPortEnd, b.HostPort)}}
	switch {
	case !slices.Contains([]bridged.Proto{bridged.TCP, bridged.UDP, bridged.SCTP}, s.Proto):
		return s, fieldError("Proto", "%d is none of 6 (tcp), 17 (udp) and 132 (sctp)", b.Proto)
	case b.Port == 0:
		return s, fieldError("Port", "0 is no port of a container")
	case s.HostPort.Last < s.HostPort.First || b.HostPort == 0 && b.HostPortEnd != 0:
		return s, fieldError("HostPortEnd", "%d: there are no ports from %d to that", b.HostPortEnd, b.HostPort)
	}
	if b.IP != "" {
		if _, err := netip.ParseAddr(b.IP); err != nil {
			return s, fieldError("IP", "%.50q is no address", b.IP)
		}
	}
	if b.HostIP == "" {
		return s, nil
	}
	a, err := netip.ParseAddr(b.HostIP)
	if err != nil || a.Zone() != "" {
		return s, fieldError("HostIP", "%.50q is no address of a host", b.HostIP)
	}
	s.HostIP = a.Unmap()
	return s, nil
}

// mac is the MAC address that the user asked for, which Docker sends as bytes; the zero MAC: none.
func (o options) mac() (mac bridged.MAC, err error) {
	var b []byte
	if given, err := o.option(bridged.OptionMAC, &b); err != nil || !given || len(b) == 0 {
		return mac, err
	}
	if len(b) != len(mac) {
		return mac, bridged.Errorf(bridged.ErrInvalid, "option %s: %d bytes, want %d", bridged.OptionMAC, len(b), len(mac))
	}
	return bridged.MAC(b), nil
}

// checkEndpoint checks what the user says about the interface inside. Its sysctls are set by Docker's engine, or not: it is not ours.
func (o options) checkEndpoint() error {
	given := make(map[string]string)
	for _, key := range []string{bridged.OptionInterface, bridged.OptionSysctls} {
		var value string
		if ok, err := o.option(key, &value); err != nil {
			return err
		} else if ok {
			given[key] = value
		}
	}
	var e bridged.Endpoint
	return e.SetOptions(given)
}
