package docker

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// Options of Docker's own about a network.
const (
	optionGeneric  = "com.docker.network.generic"
	optionIPv4     = "com.docker.network.enable_ipv4"
	optionIPv6     = "com.docker.network.enable_ipv6"
	optionInternal = "com.docker.network.internal"
)

// NetworkName is the name of Docker's network of that id: Docker does not tell the one that its user gave it.
func NetworkName(id string) string { return "docker-" + id[:12] }

// checkGateways says for which families of a network that is still to be made Docker need not take a gateway's address: for none. Also where the bridge
// has no address, that one is kept, so that no container gets it. What is wrong with the options is said here already, before there are addresses to
// give back.
func (d *driver) checkGateways(_ *serve.Call, in gwAllocCheck) (gwAllocChecked, error) {
	spec, err := in.Options.network()
	if err == nil {
		n := bridged.Network{Internal: spec.Internal}
		err = n.SetOptions(spec.Options)
	}
	return gwAllocChecked{}, err
}

func (d *driver) createNetwork(c *serve.Call, in networkCreate) (none, error) {
	spec, err := networkSpec(in)
	if err != nil {
		return none{}, err
	}
	_, warnings, err := d.engine.CreateNetwork(c.Context(), spec)
	if errors.Is(err, bridged.ErrConflict) {
		if n, findErr := d.network(spec.ID); findErr == nil && isAsked(n, spec) {
			return none{}, nil
		}
	}
	for _, w := range warnings {
		d.log.Warn(w, "network", spec.Name)
	}
	return none{}, err
}

// networkSpec checks the body of CreateNetwork.
func networkSpec(in networkCreate) (spec bridged.NetworkSpec, err error) {
	if err := checkID("NetworkID", in.NetworkID); err != nil {
		return spec, err
	}
	if spec, err = in.Options.network(); err != nil {
		return spec, err
	}
	spec.ID, spec.Name, spec.Labels = in.NetworkID, NetworkName(in.NetworkID), map[string]string{bridged.LabelDocker: ""}
	for _, f := range []struct {
		field string
		data  []ipamData
		off   bool
		is    func(netip.Addr) bool
	}{{"IPv4Data", in.IPv4Data, spec.NoIPv4, netip.Addr.Is4}, {"IPv6Data", in.IPv6Data, !spec.IPv6, netip.Addr.Is6}} {
		switch {
		case len(f.data) == 0:
			continue
		case len(f.data) > 1:
			return spec, fieldError(f.field, "%d subnets: a network has one a family", len(f.data))
		case f.off:
			return spec, fieldError(f.field, "subnet %.50q is of a family that the network does not have", f.data[0].Pool)
		}
		s, err := f.data[0].subnet(f.is)
		if err != nil {
			return spec, bridged.Errorf(bridged.ErrInvalid, "field %q: %w", f.field, err)
		}
		spec.Subnets = append(spec.Subnets, s)
	}
	return spec, nil
}

// network is what the options say about a network.
func (o options) network() (spec bridged.NetworkSpec, err error) {
	ipv4 := true
	_, err4 := o.option(optionIPv4, &ipv4)
	_, err6 := o.option(optionIPv6, &spec.IPv6)
	_, errInternal := o.option(optionInternal, &spec.Internal)
	_, errGeneric := o.option(optionGeneric, &spec.Options)
	spec.NoIPv4 = !ipv4
	return spec, errors.Join(err4, err6, errInternal, errGeneric)
}

// subnet is the subnet, of the family that is says.
func (d ipamData) subnet(is func(netip.Addr) bool) (s bridged.Subnet, err error) {
	if s.Prefix, err = netip.ParsePrefix(d.Pool); err != nil || !is(s.Prefix.Addr()) {
		return s, fieldError("Pool", "%.50q is no subnet of this family", d.Pool)
	}
	s.Prefix = s.Prefix.Masked()
	if d.Gateway != "" {
		if s.Gateway, err = addrIn(s.Prefix, "Gateway", d.Gateway); err != nil {
			return s, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.AuxAddresses)) {
		if s.Aux == nil {
			s.Aux = make(map[string]netip.Addr)
		}
		if s.Aux[name], err = addrIn(s.Prefix, "AuxAddresses."+name, d.AuxAddresses[name]); err != nil {
			return s, err
		}
	}
	return s, nil
}

// addrIn is an address of a subnet, with the subnet's prefix length or without.
func addrIn(subnet netip.Prefix, field, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		var p netip.Prefix
		p, err = netip.ParsePrefix(text)
		a = p.Addr()
	}
	if err != nil || a.Zone() != "" || !subnet.Contains(a) {
		return a, fieldError(field, "%.50q is no address of the subnet %s", text, subnet)
	}
	return a, nil
}

// isAsked reports whether the network is one that this asks for.
func isAsked(n bridged.Network, spec bridged.NetworkSpec) bool {
	for _, s := range spec.Subnets {
		have := n.Subnet(s.Prefix.Addr().Is6())
		if have.Prefix != s.Prefix || s.Gateway.IsValid() && s.Gateway != have.Gateway || !maps.Equal(s.Aux, have.Aux) {
			return false
		}
	}
	return n.Internal == spec.Internal && n.IPv4.Valid() == !spec.NoIPv4 && n.IPv6.Valid() == spec.IPv6 && maps.Equal(n.Options, spec.Options)
}

// deleteNetwork removes a network, and endpoints of it that Docker has forgotten: it deletes a network when it knows of none, and one whose deletion
// was lost, while there was no daemon to be told, is never mentioned again.
func (d *driver) deleteNetwork(c *serve.Call, in networkDelete) (none, error) {
	if _, err := d.network(in.NetworkID); err != nil {
		return none{}, err
	}
	n, err := d.engine.Network(in.NetworkID)
	if err != nil {
		return none{}, err
	}
	if !slices.ContainsFunc(n.Members, func(m bridged.Member) bool { return !isEndpoint(m) }) { // else it is in use, which removing it says
		for _, m := range n.Members {
			d.log.Warn("an endpoint that Docker has forgotten goes with its network", "endpoint", m.Sandbox, "network", n.Name)
			if err := d.release(c.Context(), m.Sandbox); err != nil && !errors.Is(err, bridged.ErrNotFound) {
				return none{}, err
			}
		}
	}
	return none{}, d.engine.RemoveNetwork(c.Context(), n.ID)
}

// isEndpoint reports whether a member of a network is an endpoint of Docker's, not a sandbox or somebody else's lease.
func isEndpoint(m bridged.Member) bool { return m.Leased() && isID(m.Sandbox) }

// discover takes note of nothing: other hosts are of no concern for networks of this one.
func (d *driver) discover(*serve.Call, discovery) (none, error) { return none{}, nil }
