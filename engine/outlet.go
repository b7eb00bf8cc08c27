package engine

import (
	"fmt"
	"net/netip"

	"github.com/bridged/bridged"
)

// outlets are where the ports of a stack are published: by family, its gateway. A Joined with the zero Network: there is none of the family.
type outlets struct {
	ipv4, ipv6 bridged.Joined
}

// outletsOf are those of a stack that is in these networks.
func outletsOf(joined []bridged.Joined) (o outlets) {
	o.ipv4, _ = bridged.Gateway(joined, false)
	o.ipv6, _ = bridged.Gateway(joined, true)
	return o
}

// outletsOn are those of a stack that will be in one network.
func outletsOn(n bridged.Network) (o outlets) {
	if n.IPv4.Valid() {
		o.ipv4.Network = n
	}
	if n.IPv6.Valid() {
		o.ipv6.Network = n
	}
	return o
}

func (o outlets) of(ipv6 bool) bridged.Joined {
	if ipv6 {
		return o.ipv6
	}
	return o.ipv4
}

// wildcards are the addresses that mean every one of the host, of each family that there is.
func (o outlets) wildcards() (ips []netip.Addr) {
	if o.ipv4.Network.ID != "" {
		ips = append(ips, netip.IPv4Unspecified())
	}
	if o.ipv6.Network.ID != "" {
		ips = append(ips, netip.IPv6Unspecified())
	}
	return ips
}

// publication is the change that publishes claims of a stack.
func (o outlets) publication(stack string, claims []claim) map[bridged.Binding]*bridged.Port {
	ports := make(map[bridged.Binding]*bridged.Port)
	for _, c := range claims {
		for _, b := range c.bindings {
			ports[b] = &bridged.Port{Binding: b, Sandbox: stack, Endpoint: o.of(b.HostIP.Is6()).Endpoint.ID, ContainerPort: c.container}
		}
	}
	return ports
}

// moved are a stack's ports that lead elsewhere when these are its outlets. One whose family has no outlet leads nowhere, and waits for one.
func (x *index) moved(stack string, o outlets) map[bridged.Binding]*bridged.Port {
	var ports map[bridged.Binding]*bridged.Port
	for b := range x.ports[stack] {
		p := x.Ports[b]
		if to := o.of(b.HostIP.Is6()).Endpoint.ID; to != p.Endpoint {
			if ports == nil {
				ports = make(map[bridged.Binding]*bridged.Port)
			}
			p.Endpoint = to
			ports[b] = &p
		}
	}
	return ports
}

// publishable is where ports of a sandbox are published.
func (x *index) publishable(s bridged.Sandbox) (outlets, error) {
	if err := x.ownStack(s); err != nil {
		return outlets{}, err
	}
	if s.Mode == bridged.ModeHost {
		return outlets{}, bridged.Errorf(bridged.ErrConflict,
			"sandbox %s shares the host's network stack: its ports are the host's own and can't be published", s.Name)
	}
	if len(x.endpoints[s.ID]) == 0 {
		return outlets{}, bridged.Errorf(bridged.ErrConflict, "sandbox %s is in no network: connect it to one before its ports can be published", s.Name)
	}
	return outletsOf(x.joined(s.ID)), nil
}

// publishWarnings say what a user may not expect of ports that were published there.
func publishWarnings(o outlets, specs []bridged.PortSpec) (warnings []string) {
	if len(specs) == 0 {
		return nil
	}
	for _, ipv6 := range []bool{false, true} {
		n, family := o.of(ipv6).Network, "IPv4"
		if ipv6 {
			family = "IPv6"
		}
		switch {
		case n.ID == "" || ipv6 && n.ID == o.ipv4.Network.ID && n.Gateway4 == n.Gateway6:
		case n.Gateway(ipv6) == bridged.GatewayIsolated:
			warnings = append(warnings, fmt.Sprintf("network %s is isolated: over %s its published ports can't be reached", n.Name, family))
		case n.Internal:
			warnings = append(warnings, fmt.Sprintf("network %s is internal: its published ports can be reached from this host only", n.Name))
		case n.Gateway(ipv6) == bridged.GatewayRouted:
			warnings = append(warnings, fmt.Sprintf("network %s is routed: over %s its published ports are reached at the sandbox's own address, not at this host's", n.Name, family))
		}
	}
	return warnings
}
