package api

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/ordered"
)

func (s *Server) sandboxes(*call) (any, error) {
	all := []client.Sandbox{}
	for _, sb := range s.engine.Sandboxes() {
		all = append(all, wireSandbox(sb))
	}
	ordered.Sort(all, func(a, b client.Sandbox) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (s *Server) sandbox(c *call) (any, error) {
	sb, err := s.engine.Sandbox(c.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	return wireSandbox(sb), nil
}

func (s *Server) createSandbox(c *call) (any, error) {
	var in client.SandboxCreate
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	spec, err := sandboxSpec(in)
	if err != nil {
		return nil, err
	}
	sb, err := s.engine.CreateSandbox(c.Context(), spec)
	if err != nil {
		return nil, err
	}
	return client.SandboxCreated{Sandbox: wireSandbox(sb), Warnings: notNil(sb.Warnings)}, nil
}

func (s *Server) removeSandbox(c *call) (any, error) {
	return nil, s.engine.RemoveSandbox(c.Context(), c.PathValue("ref"))
}

// sandboxSpec checks the body of a sandbox create.
func sandboxSpec(in client.SandboxCreate) (spec bridged.SandboxSpec, err error) {
	if err := bridged.CheckName("sandbox", in.Name); err != nil {
		return spec, err
	}
	if err := checkNamespace(in); err != nil {
		return spec, err
	}
	if name := strings.TrimPrefix(in.Network, "container:"); in.Network != "" && bridged.CheckName("network", name) != nil {
		return spec, fieldError("Network", "%q is no network's name or id, bridge, host, none or container:NAME", in.Network)
	}
	spec = bridged.SandboxSpec{Name: in.Name, Network: in.Network, NetNS: in.NetNS, PID: in.PID}
	if spec.IPv4, err = parseFamily("IPv4Address", in.IPv4Address, netip.Addr.Is4, "IPv4"); err != nil {
		return spec, err
	}
	if spec.IPv6, err = parseFamily("IPv6Address", in.IPv6Address, netip.Addr.Is6, "IPv6"); err != nil {
		return spec, err
	}
	if in.MacAddress != "" {
		if spec.MAC, err = bridged.ParseMAC(in.MacAddress); err != nil {
			return spec, fieldError("MacAddress", "%w", err)
		}
	}
	spec.Ports, err = portSpecs(in.Ports)
	return spec, err
}

// checkNamespace checks how the namespace is given. A path below /proc/self would be the daemon's own.
func checkNamespace(in client.SandboxCreate) error {
	switch {
	case in.NetNS != "" && in.PID != 0:
		return bridged.Errorf(bridged.ErrInvalid, `fields "NetNS" (%s) and "PID" (%d): give one of them`, in.NetNS, in.PID)
	case in.PID < 0:
		return fieldError("PID", "%d is no process id", in.PID)
	case in.NetNS == "":
		return nil
	case !filepath.IsAbs(in.NetNS):
		return fieldError("NetNS", "%q must be an absolute path", in.NetNS)
	}
	clean := filepath.Clean(in.NetNS) + "/"
	if strings.HasPrefix(clean, "/proc/self/") || strings.HasPrefix(clean, "/proc/thread-self/") {
		return fieldError("NetNS", "%q would be the daemon's own: give the process's number instead of self", in.NetNS)
	}
	return nil
}

// parseFamily reads an address of one family; "" is the zero Addr.
func parseFamily(field, text string, of func(netip.Addr) bool, family string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := parseAddr(field, text)
	if err == nil && !of(a) {
		err = fieldError(field, "%s is no %s address", a, family)
	}
	return a, err
}

func wireSandbox(sb bridged.SandboxInfo) client.Sandbox {
	out := client.Sandbox{
		ID:       sb.ID,
		Name:     sb.Name,
		Mode:     string(sb.Mode),
		NetNS:    sb.NetNS,
		Networks: make(map[string]client.Endpoint, len(sb.Joined)),
		Ports:    make(map[string][]client.HostPort),
		Links:    wireLinks(sb.Links),
	}
	for _, j := range sb.Joined {
		out.Networks[j.Network.Name] = wireEndpoint(j)
	}
	for _, p := range sortedPorts(sb.Ports) {
		key := containerPort(p)
		out.Ports[key] = append(out.Ports[key], client.HostPort{HostIP: p.Binding.HostIP.String(), HostPort: fmt.Sprint(p.Binding.HostPort)})
	}
	return out
}

// wireEndpoint shows an endpoint. Members of an internal network have no default route, so no gateway is shown.
func wireEndpoint(j bridged.Joined) client.Endpoint {
	e, n := j.Endpoint, j.Network
	out := client.Endpoint{
		NetworkID:     e.Network,
		EndpointID:    e.ID,
		Interface:     e.Interface,
		HostInterface: e.HostInterface,
		MacAddress:    e.MAC.String(),
		Aliases:       notNil(e.Aliases),
		Labels:        e.Labels,
	}
	if e.IPv4.IsValid() {
		out.IPAddress, out.IPPrefixLen = e.IPv4.Addr().String(), e.IPv4.Bits()
	}
	if e.IPv6.IsValid() {
		out.GlobalIPv6Address, out.GlobalIPv6PrefixLen = e.IPv6.Addr().String(), e.IPv6.Bits()
	}
	if !n.Internal && e.IPv4.IsValid() {
		out.Gateway = addrText(n.IPv4.Gateway)
	}
	if !n.Internal && e.IPv6.IsValid() {
		out.IPv6Gateway = addrText(n.IPv6.Gateway)
	}
	return out
}
