package cni

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/bridged/bridged"
)

// Attachment is what the configuration asks of the daemon for a container.
func (c *Config) Attachment(e Environment) (bridged.AttachmentSpec, error) {
	spec := bridged.AttachmentSpec{
		Key:     bridged.AttachmentKey{Network: c.Name, Container: e.Container, Interface: e.Interface},
		NetNS:   e.NetNS,
		MAC:     c.mac(e.Args),
		Hairpin: c.HairpinMode,
		Sysctls: c.sysctls(),
		Inside:  bridged.Inside{MTU: c.Args.CNI.MTU, Promisc: c.promisc(), DAD: c.EnableDAD, Down: c.DisableContainerInterface},
		Aliases: c.RuntimeConfig.Aliases,
		Labels:  e.Args.Labels,
	}
	err := cmp.Or(c.checkSwitches(), c.checkCapabilities(), c.setNetwork(&spec.Network), c.setBandwidth(&spec.Bandwidth), c.setPorts(&spec))
	if err != nil {
		return spec, err
	}
	return spec, c.setAddresses(&spec, e.Args)
}

// checkSwitches refuses what does not go together, or does not exist here.
func (c *Config) checkSwitches() error {
	switch {
	case c.HairpinMode && c.PromiscMode:
		return errorf(CodeInvalid, "hairpinMode and promiscMode are both on: a bridge in promiscuous mode would see hairpin frames twice; use one of them")
	case c.DisableContainerInterface && c.IPAM != nil:
		return errorf(CodeInvalid, "disableContainerInterface and ipam: an interface that stays down can't have addresses; remove one of the two")
	case !c.SNAT:
		return &Error{CodeInvalid, "snat: false has no meaning here", "a container that reaches its own published port, and the host's 127.0.0.1, need translated sources: remove the key"}
	}
	return nil
}

// capabilities are those that the plugin knows.
var capabilities = []string{"portMappings", "bandwidth", "dns", "ips", "mac", "ipRanges", "aliases", "io.kubernetes.cri.pod-annotations"}

// checkCapabilities refuses what the runtime would be asked for in vain.
func (c *Config) checkCapabilities() error {
	for _, name := range slices.Sorted(maps.Keys(c.Capabilities)) {
		if c.Capabilities[name] && !slices.Contains(capabilities, name) {
			return &Error{CodeUnsupported, "unknown key capabilities." + name + ": true", "known are " + strings.Join(capabilities, ", ")}
		}
	}
	return nil
}

// setNetwork says what the network must be.
func (c *Config) setNetwork(n *bridged.AttachmentNetwork) (err error) {
	*n = bridged.AttachmentNetwork{
		Bridge: c.Bridge, MTU: c.MTU, Gateway: c.IsGateway, Force: c.ForceAddress, Masquerade: c.IPMasq, Promisc: c.PromiscMode,
		SourceGuard: c.MACSpoofCheck, Isolated: c.PortIsolation, Ingress: c.IngressPolicy,
	}
	if err := bridged.CheckBridgeName(c.Bridge); err != nil {
		return errorf(CodeInvalid, "bridge: %v", err)
	}
	for _, mtu := range []placed[int]{{"mtu", c.MTU}, {"args.cni.mtu", c.Args.CNI.MTU}} {
		if mtu.value == 0 {
			continue
		}
		if err := bridged.CheckMTU(mtu.value); err != nil {
			return errorf(CodeInvalid, "%s: %v", mtu.path, err)
		}
	}
	policies := []bridged.IngressPolicy{"", bridged.IngressOpen, bridged.IngressSameBridge, bridged.IngressIsolated}
	if !slices.Contains(policies, c.IngressPolicy) {
		return errorf(CodeInvalid, "ingressPolicy: %q is none: want open, same-bridge or isolated", c.IngressPolicy)
	}
	n.Sources, err = c.sources()
	return err
}

// sources are the prefixes of conditionsV4 and conditionsV6: arguments of iptables, of which "-s PREFIX" can be said here.
func (c *Config) sources() (all []netip.Prefix, err error) {
	for _, list := range []struct {
		key   string
		words []string
		is    func(netip.Addr) bool
	}{{"conditionsV4", c.ConditionsV4, netip.Addr.Is4}, {"conditionsV6", c.ConditionsV6, netip.Addr.Is6}} {
		for i := 0; i < len(list.words); i += 2 {
			if word := list.words[i]; !slices.Contains([]string{"-s", "--src", "--source"}, word) || i+1 == len(list.words) {
				return nil, &Error{CodeInvalid, list.key + ": " + strings.Join(list.words, " ") + " can't be said without iptables",
					`only sources can be: want for example ["-s", "10.0.0.0/8"]`}
			}
			for text := range strings.SplitSeq(list.words[i+1], ",") {
				p, ok := parseSource(text)
				if !ok || !list.is(p.Addr()) {
					return nil, errorf(CodeInvalid, "%s: %q is no prefix of its family: want for example 10.0.0.0/8 for IPv4, fd00::/8 for IPv6", list.key, text)
				}
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// parseSource reads an address or a prefix.
func parseSource(text string) (netip.Prefix, bool) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip, ip.BitLen()), true
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil
}

// setAddresses says which subnets the network has, and which of their addresses the container asks for.
func (c *Config) setAddresses(spec *bridged.AttachmentSpec, env Args) (err error) {
	ips := c.ips(env)
	if c.IPAM == nil {
		switch {
		case len(ips) > 0:
			return errorf(CodeInvalid, "%s: %s can't be given without ipam", ips[0].path, ips[0].value)
		case len(spec.Ports) > 0:
			return errorf(CodeInvalid, "runtimeConfig.portMappings: without ipam there is no address that a port could lead to")
		}
		return nil
	}
	if err := c.IPAM.checkType(); err != nil {
		return err
	}
	if spec.Network.IPv4, spec.Network.IPv6, err = c.subnets(); err != nil {
		return err
	}
	if spec.Inside.Routes, err = c.routes(); err != nil {
		return err
	}
	spec.DefaultRoute = c.IsDefaultGateway
	for _, ip := range ips {
		if !spec.Network.IPv4.Prefix.Contains(ip.value) && !spec.Network.IPv6.Prefix.Contains(ip.value) {
			return errorf(CodeInvalid, "%s: %s is in no subnet of the network", ip.path, ip.value)
		}
		if slices.ContainsFunc(spec.IPs, func(other netip.Addr) bool { return other.Is4() == ip.value.Is4() && other != ip.value }) {
			return errorf(CodeInvalid, "%s: %s is a second address of its family: one is possible", ip.path, ip.value)
		}
		if !slices.Contains(spec.IPs, ip.value) {
			spec.IPs = append(spec.IPs, ip.value)
		}
	}
	return nil
}

// ips are the addresses that are asked for, wherever that is said.
func (c *Config) ips(env Args) (all []placed[netip.Addr]) {
	if env.IP.IsValid() {
		all = append(all, placed[netip.Addr]{"CNI_ARGS IP", env.IP})
	}
	for _, list := range [][]placed[address]{at("args.cni.ips", c.Args.CNI.IPs), at("runtimeConfig.ips", c.RuntimeConfig.IPs)} {
		for _, ip := range list {
			all = append(all, placed[netip.Addr]{ip.path, ip.value.addr()})
		}
	}
	return all
}

// mac is the Ethernet address that is asked for: what is said of this container wins over what is said of all.
func (c *Config) mac(env Args) bridged.MAC {
	for _, m := range []mac{c.RuntimeConfig.MAC, c.Args.CNI.MAC, mac(env.MAC)} {
		if m != (mac{}) {
			return bridged.MAC(m)
		}
	}
	return bridged.MAC(c.MAC)
}

func (c *Config) promisc() bool {
	if p := c.Args.CNI.Promisc; p != nil {
		return *p
	}
	return c.Promisc
}

func (c *Config) sysctls() map[string]string {
	if len(c.Args.CNI.Sysctl) == 0 {
		return c.Sysctl
	}
	all := make(map[string]string)
	maps.Copy(all, c.Sysctl)
	maps.Copy(all, c.Args.CNI.Sysctl)
	return all
}

// setBandwidth limits the container. What the configuration says wins over what the runtime asks for, as in the reference plugin.
func (c *Config) setBandwidth(b *bridged.Bandwidth) error {
	limit, path := c.bandwidth, ""
	if limit == (bandwidth{}) && c.RuntimeConfig.Bandwidth != nil {
		limit, path = *c.RuntimeConfig.Bandwidth, "runtimeConfig.bandwidth."
	}
	*b = bridged.Bandwidth{
		Ingress: bridged.Rate{Rate: limit.IngressRate, Burst: limit.IngressBurst},
		Egress:  bridged.Rate{Rate: limit.EgressRate, Burst: limit.EgressBurst},
	}
	for _, r := range []placed[bridged.Rate]{{path + "ingress", b.Ingress}, {path + "egress", b.Egress}} {
		switch rate, burst := r.value.Rate, r.value.Burst; {
		case (rate == 0) != (burst == 0):
			return errorf(CodeInvalid, "%sRate is %d and %sBurst is %d: set both, or none", r.path, rate, r.path, burst)
		case burst/8 >= maxUint32:
			return errorf(CodeInvalid, "%sBurst: %d bits are too many: want less than 4 GiB", r.path, burst)
		}
	}
	return nil
}

// setPorts says what is published.
func (c *Config) setPorts(spec *bridged.AttachmentSpec) error {
	for _, m := range at("runtimeConfig.portMappings", c.RuntimeConfig.Ports) {
		p, err := m.value.port(m.path)
		if err != nil {
			return err
		}
		spec.Ports = append(spec.Ports, p)
	}
	return nil
}

func (m portMapping) port(path string) (p bridged.PortSpec, err error) {
	for _, n := range []placed[int]{{"hostPort", m.HostPort}, {"containerPort", m.ContainerPort}} {
		if n.value < 1 || n.value > 65535 {
			return p, errorf(CodeInvalid, "%s.%s: %d is no port: want a number from 1 to 65535", path, n.path, n.value)
		}
	}
	if p.Proto, err = bridged.ParseProto(m.Protocol); err != nil {
		return p, errorf(CodeInvalid, "%s.protocol: %v", path, err)
	}
	if m.HostIP != "" {
		if p.HostIP, err = netip.ParseAddr(m.HostIP); err != nil || p.HostIP.Zone() != "" {
			return p, errorf(CodeInvalid, "%s.hostIP: %q is no IP address", path, m.HostIP)
		}
		p.HostIP = p.HostIP.Unmap()
	}
	host := uint16(m.HostPort)
	p.HostPort, p.ContainerPort = bridged.PortRange{First: host, Last: host}, uint16(m.ContainerPort)
	return p, nil
}
