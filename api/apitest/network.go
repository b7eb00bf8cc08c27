package apitest

import (
	"context"
	"net/netip"

	"github.com/bridged/bridged"
)

// Networks are all networks.
func (e *Engine) Networks() []bridged.NetworkInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []bridged.NetworkInfo
	for _, n := range sorted(e.networks) {
		all = append(all, e.networkInfo(n))
	}
	return all
}

// Network is one.
func (e *Engine) Network(ref string) (bridged.NetworkInfo, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id, err := e.findNetwork(ref)
	if err != nil {
		return bridged.NetworkInfo{}, err
	}
	return e.networkInfo(e.networks[id]), nil
}

func (e *Engine) networkInfo(n bridged.Network) bridged.NetworkInfo {
	info := bridged.NetworkInfo{Network: n}
	for _, ep := range sorted(e.endpoints) {
		if ep.Network == n.ID {
			info.Members = append(info.Members, bridged.Member{Endpoint: ep, SandboxName: e.sandboxes[ep.Sandbox].Name})
		}
	}
	return info
}

// CreateNetwork records a network; without a subnet it has 172.18.0.0/16, and with IPv6 fd00:1::/64.
func (e *Engine) CreateNetwork(_ context.Context, spec bridged.NetworkSpec) (bridged.NetworkInfo, []string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var none bridged.NetworkInfo
	if e.fail != nil {
		return none, nil, e.fail
	}
	for _, n := range e.networks {
		if n.Name == spec.Name {
			return none, nil, bridged.Errorf(bridged.ErrConflict, "network with name %s already exists", spec.Name)
		}
	}
	if spec.Driver != "" && spec.Driver != string(bridged.DriverBridge) {
		return none, nil, bridged.Errorf(bridged.ErrInvalid, "driver %q not found: there is bridge", spec.Driver)
	}
	n := bridged.Network{
		Name: spec.Name, Driver: bridged.DriverBridge, Internal: spec.Internal, ICC: true,
		Options: spec.Options, Labels: spec.Labels,
	}
	if !spec.NoIPv4 {
		n.IPv4.Prefix = netip.MustParsePrefix("172.18.0.0/16")
	}
	if spec.IPv6 {
		n.IPv6.Prefix = netip.MustParsePrefix("fd00:1::/64")
	}
	for _, s := range spec.Subnets {
		if s.Prefix.Addr().Is4() {
			n.IPv4 = s
		} else {
			n.IPv6 = s
		}
	}
	for _, s := range []*bridged.Subnet{&n.IPv4, &n.IPv6} {
		if s.Valid() && !s.Gateway.IsValid() {
			s.Gateway = s.Prefix.Addr().Next()
		}
	}
	n = e.networks[e.addNetwork(n)]
	e.happen(bridged.Event{Type: bridged.EventNetwork, Action: "create", ID: n.ID, Name: n.Name, Attributes: map[string]string{"driver": string(n.Driver)}})
	return e.networkInfo(n), e.warnings, nil
}

// PruneNetworks removes the networks that are meant and have no members.
func (e *Engine) PruneNetworks(ctx context.Context, spec bridged.PruneSpec) ([]string, error) {
	var removed []string
	for _, n := range e.Networks() {
		if len(n.Members) > 0 || !spec.Matches(n.Network) {
			continue
		}
		if err := e.RemoveNetwork(ctx, n.ID); err != nil {
			return removed, err
		}
		removed = append(removed, n.Name)
	}
	return removed, nil
}

// RemoveNetwork removes a network without members.
func (e *Engine) RemoveNetwork(_ context.Context, ref string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	id, err := e.findNetwork(ref)
	if err != nil {
		return err
	}
	n := e.networks[id]
	switch {
	case n.Predefined():
		return bridged.Errorf(bridged.ErrDenied, "%s is a pre-defined network and cannot be removed", n.Name)
	case len(e.networkInfo(n).Members) > 0:
		return bridged.Errorf(bridged.ErrConflict, "network %s has active endpoints", n.Name)
	}
	delete(e.networks, id)
	e.happen(bridged.Event{Type: bridged.EventNetwork, Action: "remove", ID: n.ID, Name: n.Name, Attributes: map[string]string{"driver": string(n.Driver)}})
	return nil
}
