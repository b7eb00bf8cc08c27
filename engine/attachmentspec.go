package engine

import (
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/ordered"
	"github.com/bridged/bridged/ipam"
)

// attachment is a request that was checked, as far as that can be done without the state.
type attachment struct {
	spec bridged.AttachmentSpec
	// network is what the network is to be; its ID, Created and BridgeMAC are left open, and what the request leaves to the engine is zero.
	network bridged.Network
	// endpoint has what the request says of the endpoint.
	endpoint bridged.Endpoint
}

// newAttachment checks a request.
func (e *Engine) newAttachment(spec bridged.AttachmentSpec) (a attachment, err error) {
	a.spec = spec
	if err := checkAttachmentKey(spec.Key); err != nil {
		return a, err
	}
	if !filepath.IsAbs(spec.NetNS) {
		return a, bridged.Errorf(bridged.ErrInvalid, "namespace path %q must be absolute, as in /run/netns/%s", spec.NetNS, spec.Key.Container)
	}
	if a.network, err = e.attachmentNetwork(spec); err != nil {
		return a, err
	}
	a.endpoint = bridged.Endpoint{
		Interface: spec.Key.Interface, MAC: spec.MAC, Inside: spec.Inside, NoHairpin: !spec.Hairpin, Bandwidth: spec.Bandwidth,
		Aliases: spec.Aliases, Labels: spec.Labels,
	}
	if a.endpoint.Sysctls, err = sysctlPaths(spec.Sysctls); err != nil {
		return a, err
	}
	for _, alias := range spec.Aliases {
		if err := bridged.CheckName("alias", alias); err != nil {
			return a, err
		}
	}
	if err := checkAttachmentPorts(spec); err != nil {
		return a, err
	}
	if err := checkBandwidth(spec.Bandwidth); err != nil {
		return a, err
	}
	return a, a.checkInside()
}

func checkAttachmentKey(k bridged.AttachmentKey) error {
	if err := bridged.CheckName("network", k.Network); err != nil {
		return err
	}
	if err := bridged.CheckName("container", k.Container); err != nil {
		return err
	}
	return bridged.CheckNewLinkName(k.Interface)
}

// attachmentNetwork is the network that a request wants.
func (e *Engine) attachmentNetwork(spec bridged.AttachmentSpec) (bridged.Network, error) {
	asked := spec.Network
	n := bridged.Network{
		Name: bridged.CNINetworkName(spec.Key.Network), Driver: bridged.DriverBridge, Bridge: asked.Bridge, MTU: asked.MTU,
		ICC: !asked.Isolated && asked.Ingress != bridged.IngressIsolated, Masquerade: asked.Masquerade, SourceGuard: asked.SourceGuard,
		NoAddress: !asked.Gateway, Promisc: asked.Promisc, AllowOverlap: true, Labels: map[string]string{bridged.LabelCNI: spec.Key.Network},
	}
	if n.Bridge != "" {
		if err := bridged.CheckBridgeName(n.Bridge); err != nil {
			return n, err
		}
	}
	if n.MTU != 0 {
		if err := bridged.CheckMTU(n.MTU); err != nil {
			return n, err
		}
	}
	switch asked.Ingress {
	case "", bridged.IngressOpen:
		n.Gateway4, n.Gateway6 = bridged.GatewayUnprotected, bridged.GatewayUnprotected
	case bridged.IngressSameBridge, bridged.IngressIsolated:
	default:
		return n, bridged.Errorf(bridged.ErrInvalid, "invalid ingress policy %q: use %s, %s or %s", asked.Ingress,
			bridged.IngressOpen, bridged.IngressSameBridge, bridged.IngressIsolated)
	}
	for _, f := range []struct {
		subnet bridged.Subnet
		into   *bridged.Subnet
		is     func(netip.Addr) bool
		name   string
	}{{asked.IPv4, &n.IPv4, netip.Addr.Is4, "IPv4"}, {asked.IPv6, &n.IPv6, netip.Addr.Is6, "IPv6"}} {
		if !f.subnet.Valid() {
			continue
		}
		if !f.is(f.subnet.Prefix.Addr()) {
			return n, bridged.Errorf(bridged.ErrInvalid, "subnet %s is no %s subnet", f.subnet.Prefix, f.name)
		}
		if f.subnet.Prefix.Bits() == 0 { // to be chosen
			*f.into = bridged.Subnet{Prefix: f.subnet.Prefix.Masked()}
			continue
		}
		if !f.subnet.Gateway.IsValid() {
			f.subnet.Gateway = ipam.FirstHost(f.subnet.Prefix)
		}
		if err := setSubnet(&n, f.subnet); err != nil {
			return n, err
		}
	}
	var err error
	if n.Clients, err = outermostPrefixes(asked.Sources); err != nil {
		return n, err
	}
	if err := checkAttachmentNetwork(n, spec.Hairpin); err != nil {
		return n, err
	}
	return n, e.checkAttachmentRules(n)
}

// checkAttachmentNetwork refuses what does not go together.
func checkAttachmentNetwork(n bridged.Network, hairpin bool) error {
	switch {
	case n.Promisc && hairpin:
		return bridged.Errorf(bridged.ErrInvalid, "network %s can't have hairpin mode and a bridge in promiscuous mode: the bridge would see frames twice", n.Name)
	case len(n.Subnets()) == 0 && n.SourceGuard:
		return bridged.Errorf(bridged.ErrInvalid, "network %s has no subnet, so there are no addresses that a source guard could hold containers to", n.Name)
	case !n.ICC && n.NoAddress && len(n.Subnets()) > 0:
		return bridged.Errorf(bridged.ErrInvalid, "network %s can't keep its containers apart when its gateway is another host's: the bridge must have the gateway's address", n.Name)
	case n.IPv6.Valid() && n.MTU != 0 && n.MTU < minMTU6:
		return bridged.Errorf(bridged.ErrInvalid, "MTU %d of network %s is too small for IPv6: want %d or more", n.MTU, n.Name, minMTU6)
	}
	return nil
}

// checkAttachmentRules refuses what a network can't be without packet filter rules.
func (e *Engine) checkAttachmentRules(n bridged.Network) error {
	switch {
	case !n.ICC:
		return e.needFirewall("a network whose containers are kept apart")
	case n.SourceGuard:
		return e.needFirewall("a source guard")
	case n.Gateway4 != bridged.GatewayUnprotected:
		return e.needFirewall("an ingress policy")
	case len(n.Clients) > 0:
		return e.needFirewall("published ports for some clients only")
	}
	return nil
}

// outermostPrefixes are the prefixes, masked, without those that are in others.
func outermostPrefixes(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, p := range prefixes {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, bridged.Errorf(bridged.ErrInvalid, "invalid prefix %q of clients: want one as 10.0.0.0/8", p)
		}
		out = append(out, p.Masked())
	}
	ordered.Sort(out, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	kept := out[:0]
	for _, p := range out {
		if !slices.ContainsFunc(kept, p.Overlaps) {
			kept = append(kept, p)
		}
	}
	if len(kept) == 0 {
		return nil, nil // as it is read from a file
	}
	return kept, nil
}

// checkInside checks the addresses and the routes that were asked for.
func (a *attachment) checkInside() error {
	in, n := a.endpoint.Inside, a.network
	if in.Down && (len(n.Subnets()) > 0 || len(in.Routes) > 0 || len(a.spec.Ports) > 0) {
		return bridged.Errorf(bridged.ErrInvalid, "interface %s can't stay down and have addresses, routes or published ports", a.spec.Key.Interface)
	}
	if in.MTU != 0 {
		if err := bridged.CheckMTU(in.MTU); err != nil {
			return err
		}
	}
	for i, ip := range a.spec.IPs {
		s := n.Subnet(ip.Is6())
		switch {
		case !ip.IsValid() || ip.Zone() != "":
			return bridged.Errorf(bridged.ErrInvalid, "invalid address %q", ip)
		case slices.ContainsFunc(a.spec.IPs[:i], func(o netip.Addr) bool { return o.Is4() == ip.Is4() }):
			return bridged.Errorf(bridged.ErrInvalid, "cannot use addresses %v: a container has one address of each family in a network", a.spec.IPs)
		case !s.Valid():
			return bridged.Errorf(bridged.ErrInvalid, "cannot use address %s: network %s has no subnet of its family", ip, n.Name)
		case !poolConfig(s).Chooses(ip):
			return bridged.Errorf(bridged.ErrInvalid, "cannot use address %s: it is outside the ranges of network %s", ip, n.Name)
		}
	}
	for i, r := range in.Routes {
		if err := checkRoute(n, r); err != nil {
			return err
		}
		if slices.Contains(in.Routes[:i], r) {
			return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: it is there twice", r.Dst)
		}
	}
	return nil
}

// defaultRoutes are those that a request wants beside its own, on a network.
func defaultRoutes(spec bridged.AttachmentSpec, n bridged.Network) (routes []bridged.Route) {
	for _, ipv6 := range []bool{false, true} {
		leads := func(r bridged.Route) bool { return r.Default() && r.Dst.Addr().Is6() == ipv6 }
		if s := n.Subnet(ipv6); spec.DefaultRoute && s.Valid() && !slices.ContainsFunc(spec.Inside.Routes, leads) {
			routes = append(routes, bridged.Route{Dst: anywhere(ipv6), Gateway: s.Gateway})
		}
	}
	return routes
}

func checkRoute(n bridged.Network, r bridged.Route) error {
	subnet := n.Subnet(r.Gateway.Is6())
	switch {
	case !r.Dst.IsValid() || r.Dst != r.Dst.Masked():
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %q: the destination must be a prefix without host bits, as 10.1.0.0/16", r.Dst)
	case r.Gateway.IsValid() && r.Gateway.Is4() != r.Dst.Addr().Is4():
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: its gateway %s is of the other family", r.Dst, r.Gateway)
	case !n.Subnet(r.Dst.Addr().Is6()).Valid():
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: network %s has no subnet of its family", r.Dst, n.Name)
	case r.Gateway.IsValid() && !subnet.Prefix.Contains(r.Gateway) && !(r.Gateway.Is6() && r.Gateway.IsLinkLocalUnicast()):
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: its gateway %s is not in the network's subnet %s", r.Dst, r.Gateway, subnet.Prefix)
	case r.MTU < 0 || r.MTU > math.MaxUint16:
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: MTU %d must be from 0 to %d", r.Dst, r.MTU, math.MaxUint16)
	case r.Priority < 0 || r.Priority > math.MaxUint32:
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: priority %d must be from 0 to %d", r.Dst, r.Priority, math.MaxUint32)
	case r.Table < 0 || r.Table > math.MaxUint32:
		return bridged.Errorf(bridged.ErrInvalid, "invalid route to %s: table %d must be from 0 to %d", r.Dst, r.Table, math.MaxUint32)
	}
	return nil
}

// sysctlName is the name of a parameter of the network, in either form, and what its value may be.
var (
	sysctlName  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^net([./][a-zA-Z0-9_:-]+)+$`) })
	sysctlSlash = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^net(/[a-zA-Z0-9_:-][a-zA-Z0-9_.:-]*)+$`) })
	sysctlValue = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[ -~\t]{1,255}$`) })
)

// sysctlPaths are the parameters by their path below /proc/sys.
func sysctlPaths(values map[string]string) (map[string]string, error) {
	if len(values) == 0 {
		return nil, nil
	}
	paths := make(map[string]string, len(values))
	for _, name := range sortedKeys(values) {
		path := name
		switch {
		case sysctlSlash().MatchString(name):
		case sysctlName().MatchString(name) && !strings.Contains(name, "/"):
			path = strings.ReplaceAll(name, ".", "/")
		default:
			return nil, bridged.Errorf(bridged.ErrInvalid, "cannot set sysctl %q: only parameters of the network can be, as net.ipv4.conf.%s.arp_notify", name, bridged.InterfaceName)
		}
		if !sysctlValue().MatchString(values[name]) {
			return nil, bridged.Errorf(bridged.ErrInvalid, "cannot set sysctl %s to %q: want one line of up to 255 printable characters", name, values[name])
		}
		paths[path] = values[name]
	}
	return paths, nil
}

func checkAttachmentPorts(spec bridged.AttachmentSpec) error {
	if len(spec.Ports) > 0 && !spec.Network.IPv4.Valid() && !spec.Network.IPv6.Valid() {
		return bridged.Errorf(bridged.ErrInvalid, "cannot publish ports of container %s: it has no address in network %s", spec.Key.Container, spec.Key.Network)
	}
	for _, p := range spec.Ports {
		switch {
		case p.ContainerPort == 0:
			return bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: there is no container port 0", p)
		case p.Proto != bridged.TCP && p.Proto != bridged.UDP && p.Proto != bridged.SCTP:
			return bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: use tcp, udp or sctp", p)
		case p.HostPort.Last < p.HostPort.First || p.HostPort.First == 0 && p.HostPort.Last != 0:
			return bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: the range of host ports ends before it begins, or begins with 0", p)
		case p.HostIP.Zone() != "" || p.HostIP.Is4In6():
			return bridged.Errorf(bridged.ErrInvalid, "cannot publish %s: %s can't be a host address", p, p.HostIP)
		}
	}
	return nil
}

func checkBandwidth(b bridged.Bandwidth) error {
	for _, r := range []struct {
		what string
		bridged.Rate
	}{{"ingress", b.Ingress}, {"egress", b.Egress}} {
		switch {
		case (r.Rate.Rate == 0) != (r.Burst == 0):
			return bridged.Errorf(bridged.ErrInvalid, "invalid %s bandwidth: a rate and a burst go together, and the other one of %d and %d is 0", r.what, r.Rate.Rate, r.Burst)
		case r.Rate.Rate != 0 && r.Rate.Rate < 8 || r.Burst != 0 && r.Burst < 8:
			return bridged.Errorf(bridged.ErrInvalid, "invalid %s bandwidth: rate %d and burst %d are in bits, at least 8 each", r.what, r.Rate.Rate, r.Burst)
		case r.Burst/8 > math.MaxUint32:
			return bridged.Errorf(bridged.ErrInvalid, "invalid %s bandwidth: burst %d is more than %d bits", r.what, r.Burst, uint64(math.MaxUint32)*8)
		}
	}
	return nil
}
