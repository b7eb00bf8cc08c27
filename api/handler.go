package api

import (
	"math"
	"net"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
)

func (s *Server) allocateInterface(c *call) (any, error) {
	var in client.InterfaceAllocate
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	spec, err := interfaceSpec(in)
	if err != nil {
		return nil, err
	}
	j, err := s.engine.AllocateInterface(c.Context(), spec)
	if err != nil {
		return nil, err
	}
	return wireInterface(j), nil
}

func interfaceSpec(in client.InterfaceAllocate) (spec bridged.InterfaceSpec, err error) {
	if err := checkKey(in.ID); err != nil {
		return spec, err
	}
	spec = bridged.InterfaceSpec{ID: in.ID, Network: in.Network}
	if spec.IPv4, err = parseFamily("RequestedIP", in.RequestedIP, netip.Addr.Is4, "IPv4"); err != nil {
		return spec, err
	}
	if spec.IPv6, err = parseFamily("RequestedIPv6", in.RequestedIPv6, netip.Addr.Is6, "IPv6"); err != nil {
		return spec, err
	}
	if in.RequestedMac != "" {
		if spec.MAC, err = bridged.ParseMAC(in.RequestedMac); err != nil {
			return spec, fieldError("RequestedMac", "%w", err)
		}
	}
	return spec, nil
}

func checkKey(id string) error {
	if id == "" {
		return fieldError("ID", "is missing: want a key of yours, or a sandbox's name or id")
	}
	return nil
}

func wireInterface(j bridged.Joined) client.Interface {
	e := wireEndpoint(j)
	out := client.Interface{
		IP: e.IPAddress, IPPrefixLen: e.IPPrefixLen, Gateway: e.Gateway, Bridge: j.Network.Bridge, MacAddress: e.MacAddress,
		GlobalIPv6: e.GlobalIPv6Address, GlobalIPv6PrefixLen: e.GlobalIPv6PrefixLen, IPv6Gateway: e.IPv6Gateway,
	}
	if j.Endpoint.IPv4.IsValid() {
		out.Mask = net.IP(net.CIDRMask(out.IPPrefixLen, 8*net.IPv4len)).String()
	}
	return out
}

func (s *Server) releaseInterface(c *call) (any, error) {
	var in client.InterfaceRelease
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := checkKey(in.ID); err != nil {
		return nil, err
	}
	return nil, s.engine.ReleaseInterface(c.Context(), in.ID)
}

func (s *Server) allocatePort(c *call) (any, error) {
	var in client.PortAllocate
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := checkKey(in.ID); err != nil {
		return nil, err
	}
	spec, err := portAllocation(in)
	if err != nil {
		return nil, err
	}
	ports, err := s.engine.AllocatePort(c.Context(), in.ID, spec)
	if err != nil {
		return nil, err
	}
	first := sortedPorts(ports)[0].Binding
	return client.PortAllocated{HostIP: first.HostIP.String(), HostPort: int(first.HostPort)}, nil
}

func portAllocation(in client.PortAllocate) (spec bridged.PortSpec, err error) {
	switch {
	case in.ContainerPort < 1 || in.ContainerPort > math.MaxUint16:
		return spec, fieldError("ContainerPort", "%d must be from 1 to %d", in.ContainerPort, math.MaxUint16)
	case in.HostPort < 0 || in.HostPort > math.MaxUint16:
		return spec, fieldError("HostPort", "%d must be from 0, which means any, to %d", in.HostPort, math.MaxUint16)
	}
	host := uint16(in.HostPort)
	spec = bridged.PortSpec{
		HostPort: bridged.PortRange{First: host, Last: host}, ContainerPort: uint16(in.ContainerPort), Proto: bridged.TCP,
	}
	if in.HostIP != "" {
		if spec.HostIP, err = parseAddr("HostIP", in.HostIP); err != nil {
			return spec, err
		}
	}
	if in.Proto != "" {
		if spec.Proto, err = bridged.ParseProto(in.Proto); err != nil {
			return spec, fieldError("Proto", "%w", err)
		}
	}
	return spec, nil
}

func (s *Server) link(c *call) (any, error) {
	var in client.LinkChange
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	action := bridged.LinkAction(in.Action)
	if action != bridged.LinkAdd && action != bridged.LinkRemove {
		return nil, fieldError("Action", "%q is unknown: use add or remove", in.Action)
	}
	parent, err := parseAddr("ParentIP", in.ParentIP)
	if err != nil {
		return nil, err
	}
	child, err := parseAddr("ChildIP", in.ChildIP)
	if err != nil {
		return nil, err
	}
	ports, err := protoPorts(in.Ports)
	if err != nil {
		return nil, err
	}
	return nil, s.engine.Link(c.Context(), action, parent, child, ports)
}
