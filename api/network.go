package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/client"
	"github.com/bridged/bridged/internal/ordered"
)

// scopeLocal is the scope of every network: this host.
const scopeLocal = "local"

// ipamDriver is the name of the address management that every network has.
const ipamDriver = "default"

func (s *Server) networks(c *call) (any, error) {
	filter, err := networkFilters(c.URL.Query().Get("filters"))
	if err != nil {
		return nil, err
	}
	all := []client.Network{}
	for _, n := range s.engine.Networks() {
		if filter.matchNetwork(n) {
			all = append(all, wireNetwork(n))
		}
	}
	ordered.Sort(all, func(a, b client.Network) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (s *Server) network(c *call) (any, error) {
	ref := c.PathValue("ref")
	if scope := c.URL.Query().Get("scope"); scope != "" && scope != scopeLocal {
		return nil, bridged.Errorf(bridged.ErrNotFound, "network %s not found in the scope %q: all networks have the scope %s", ref, scope, scopeLocal)
	}
	n, err := s.engine.Network(ref)
	if err != nil {
		return nil, err
	}
	return wireNetwork(n), nil
}

func (s *Server) createNetwork(c *call) (any, error) {
	var in client.NetworkCreate
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	spec, err := networkSpec(in)
	if err != nil {
		return nil, err
	}
	n, warnings, err := s.engine.CreateNetwork(c.Context(), spec)
	if err != nil {
		return nil, createError(in, err)
	}
	return client.NetworkCreated{ID: n.ID, Warning: strings.Join(warnings, "\n")}, nil
}

// createError gives an error the status that Docker's has.
func createError(in client.NetworkCreate, err error) error {
	drivers := []string{"", string(bridged.DriverBridge), string(bridged.DriverHost), string(bridged.DriverNull)}
	switch {
	case errors.Is(err, bridged.ErrConflict) && bridged.Network{Name: in.Name}.Predefined():
		return &httpError{error: err, status: http.StatusForbidden}
	case errors.Is(err, bridged.ErrInvalid) && !slices.Contains(drivers, in.Driver):
		return &httpError{error: err, status: http.StatusNotFound}
	}
	return err
}

func (s *Server) removeNetwork(c *call) (any, error) {
	return nil, s.engine.RemoveNetwork(c.Context(), c.PathValue("ref"))
}

func (s *Server) connectNetwork(c *call) (any, error) {
	var in client.NetworkConnect
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	spec, err := connectSpec(c.PathValue("ref"), in)
	if err != nil {
		return nil, err
	}
	_, err = s.engine.Connect(c.Context(), spec)
	return nil, err
}

// connectSpec checks the body of a network connect.
func connectSpec(network string, in client.NetworkConnect) (spec bridged.ConnectSpec, err error) {
	if in.Container == "" {
		return spec, fieldError("Container", "is missing: want a sandbox's name or id")
	}
	spec = bridged.ConnectSpec{Network: network, Sandbox: in.Container}
	if in.EndpointConfig == nil {
		return spec, nil
	}
	const path = "EndpointConfig."
	config := in.EndpointConfig
	spec.Aliases, spec.Options, spec.Priority = config.Aliases, config.DriverOpts, config.GwPriority
	if ipam := config.IPAMConfig; ipam != nil {
		if spec.IPv4, err = parseFamily(path+"IPAMConfig.IPv4Address", ipam.IPv4Address, netip.Addr.Is4, "IPv4"); err != nil {
			return spec, err
		}
		if spec.IPv6, err = parseFamily(path+"IPAMConfig.IPv6Address", ipam.IPv6Address, netip.Addr.Is6, "IPv6"); err != nil {
			return spec, err
		}
	}
	if config.MacAddress != "" {
		if spec.MAC, err = bridged.ParseMAC(config.MacAddress); err != nil {
			return spec, fieldError(path+"MacAddress", "%w", err)
		}
	}
	return spec, nil
}

func (s *Server) disconnectNetwork(c *call) (any, error) {
	var in client.NetworkDisconnect
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Container == "" {
		return nil, fieldError("Container", "is missing: want a sandbox's name or id")
	}
	return nil, s.engine.Disconnect(c.Context(), c.PathValue("ref"), in.Container, in.Force)
}

func (s *Server) pruneNetworks(c *call) (any, error) {
	f, err := parseFilters(c.URL.Query().Get("filters"), "label", "label!", "until")
	if err != nil {
		return nil, err
	}
	spec := bridged.PruneSpec{Labels: f["label"], NoLabels: f["label!"]}
	switch until := f["until"]; {
	case len(until) > 1:
		return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter "until": it was given %d times`, len(until))
	case len(until) == 1:
		if spec.Until, err = parseTime(until[0], time.Now()); err != nil {
			return nil, bridged.Errorf(bridged.ErrInvalid, `invalid filter "until": %w`, err)
		}
	}
	removed, err := s.engine.PruneNetworks(c.Context(), spec)
	if err != nil {
		return nil, err
	}
	return client.NetworksPruned{NetworksDeleted: notNil(removed)}, nil
}

// localTimes are the forms, beside those of [client.Since], in which Docker's users write a time; without a zone it is the daemon's.
var localTimes = []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02Z07:00", time.DateOnly}

// parseTime reads a time as Docker's users write it.
func parseTime(text string, now time.Time) (time.Time, error) {
	t, err := client.Since(text).Time(now)
	if err == nil && text != "" {
		return t, nil
	}
	for _, form := range localTimes {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return t, bridged.Errorf(bridged.ErrInvalid, "%q is no time: want one as 2026-01-02T15:04:05, a duration before now as 10m, or seconds since 1970", text)
}

// networkSpec checks the body of a network create.
func networkSpec(in client.NetworkCreate) (bridged.NetworkSpec, error) {
	var none bridged.NetworkSpec
	if err := bridged.CheckName("network", in.Name); err != nil {
		return none, err
	}
	if in.Scope != "" && in.Scope != scopeLocal {
		return none, fieldError("Scope", "%q is not possible: all networks have the scope %s", in.Scope, scopeLocal)
	}
	spec := bridged.NetworkSpec{
		Name:     in.Name,
		Driver:   in.Driver,
		NoIPv4:   in.EnableIPv4 != nil && !*in.EnableIPv4,
		IPv6:     in.EnableIPv6 != nil && *in.EnableIPv6,
		Internal: in.Internal,
		Options:  in.Options,
		Labels:   in.Labels,
	}
	if in.IPAM == nil {
		return spec, nil
	}
	if d := in.IPAM.Driver; d != "" && d != ipamDriver {
		return none, fieldError("IPAM.Driver", "unknown driver %q: there is %s", d, ipamDriver)
	}
	if o := sortedKeys(in.IPAM.Options); len(o) > 0 {
		return none, fieldError("IPAM.Options", "unknown option %q: there are none", o[0])
	}
	var err error
	spec.Subnets, err = subnets(in)
	return spec, err
}

// subnets checks the IPAM configuration of a network create: one subnet a family, of a family that is wanted.
func subnets(in client.NetworkCreate) ([]bridged.Subnet, error) {
	var all []bridged.Subnet
	for i, config := range in.IPAM.Config {
		path := fmt.Sprintf("IPAM.Config[%d].", i)
		s, err := parseSubnet(path, config)
		if err != nil {
			return nil, err
		}
		is4 := s.Prefix.Addr().Is4()
		enabled, name := in.EnableIPv6, "EnableIPv6"
		if is4 {
			enabled, name = in.EnableIPv4, "EnableIPv4"
		}
		if enabled != nil && !*enabled {
			return nil, fieldError(path+"Subnet", "%s can't be with %s false", s.Prefix, name)
		}
		for _, other := range all {
			if other.Prefix.Addr().Is4() == is4 {
				return nil, fieldError(path+"Subnet", "%s and %s are of the same family: a network has one subnet of each", other.Prefix, s.Prefix)
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// parseSubnet reads one subnet; path begins the names of its fields.
func parseSubnet(path string, in client.IPAMConfig) (bridged.Subnet, error) {
	var none, s bridged.Subnet
	if in.Subnet == "" {
		return none, fieldError(path+"Subnet", "is missing: a gateway, a range or an auxiliary address needs its subnet")
	}
	prefix, err := parsePrefix(path+"Subnet", in.Subnet)
	if err != nil {
		return none, err
	}
	s.Prefix = prefix.Masked()
	if in.IPRange != "" {
		if s.Range, err = parsePrefix(path+"IPRange", in.IPRange); err != nil {
			return none, err
		}
		s.Range = s.Range.Masked()
		if s.Range.Bits() < s.Prefix.Bits() || !s.Prefix.Contains(s.Range.Addr()) {
			return none, fieldError(path+"IPRange", "%s is not in the subnet %s", s.Range, s.Prefix)
		}
	}
	if in.Gateway != "" {
		if s.Gateway, err = parseAddrIn(path+"Gateway", in.Gateway, s.Prefix); err != nil {
			return none, err
		}
	}
	for _, name := range sortedKeys(in.AuxiliaryAddresses) {
		a, err := parseAddrIn(path+"AuxiliaryAddresses."+name, in.AuxiliaryAddresses[name], s.Prefix)
		if err != nil {
			return none, err
		}
		if s.Aux == nil {
			s.Aux = make(map[string]netip.Addr)
		}
		s.Aux[name] = a
	}
	return s, nil
}

// parsePrefix reads a CIDR.
func parsePrefix(field, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fieldError(field, "%q is no subnet: want an address and a prefix length, as in 192.168.1.0/24 or fd00:1::/64", text)
	}
	return p, nil
}

// parseAddr reads an address without zone.
func parseAddr(field, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fieldError(field, "%q is no IP address, as in 192.168.1.1 or fd00:1::1", text)
	}
	return a.Unmap(), nil
}

// parseAddrIn reads an address of a subnet.
func parseAddrIn(field, text string, subnet netip.Prefix) (netip.Addr, error) {
	a, err := parseAddr(field, text)
	if err == nil && !subnet.Contains(a) {
		err = fieldError(field, "%s is not in the subnet %s", a, subnet)
	}
	return a, err
}

func wireNetwork(n bridged.NetworkInfo) client.Network {
	out := client.Network{
		Name:       n.Name,
		ID:         n.ID,
		Created:    n.Created,
		Scope:      scopeLocal,
		Driver:     string(n.Driver),
		EnableIPv4: n.IPv4.Valid(),
		EnableIPv6: n.IPv6.Valid(),
		IPAM:       client.IPAM{Driver: ipamDriver, Options: map[string]string{}, Config: []client.IPAMConfig{}},
		Internal:   n.Internal,
		Containers: make(map[string]client.Container, len(n.Members)),
		Options:    notNilMap(n.Options),
		Labels:     notNilMap(n.Labels),
	}
	for _, s := range n.Subnets() {
		out.IPAM.Config = append(out.IPAM.Config, wireSubnet(s))
	}
	for _, m := range n.Members {
		out.Containers[m.Sandbox] = client.Container{
			Name:        m.SandboxName,
			EndpointID:  m.ID,
			MacAddress:  m.MAC.String(),
			IPv4Address: prefixText(m.IPv4),
			IPv6Address: prefixText(m.IPv6),
		}
	}
	return out
}

func wireSubnet(s bridged.Subnet) client.IPAMConfig {
	out := client.IPAMConfig{Subnet: s.Prefix.String(), IPRange: prefixText(s.Range), Gateway: addrText(s.Gateway)}
	if len(s.Aux) > 0 {
		out.AuxiliaryAddresses = make(map[string]string, len(s.Aux))
		for name, a := range s.Aux {
			out.AuxiliaryAddresses[name] = a.String()
		}
	}
	return out
}

// addrText is the address, and "" for the zero Addr.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// prefixText is the prefix, and "" for the zero Prefix.
func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
