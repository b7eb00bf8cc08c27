package docker

import (
	"context"
	"errors"
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

func (d *driver) createEndpoint(c *serve.Call, in endpointCreate) (endpointCreated, error) {
	var out endpointCreated
	spec, err := interfaceSpec(in)
	if err != nil {
		return out, err
	}
	prefix, err := in.Options.prefix()
	if err != nil {
		return out, err
	}
	if _, err := d.network(in.NetworkID); err != nil {
		return out, err
	}
	j, err := d.engine.AllocateInterface(c.Context(), spec)
	if errors.Is(err, bridged.ErrConflict) {
		if have, findErr := d.endpoint(in.endpointRef); findErr == nil && isLeased(have.Endpoint, spec) {
			j, err = have, nil
		}
	}
	if err != nil {
		return out, err
	}
	d.prefixes.set(in.EndpointID, prefix)
	if e := j.Endpoint; !spec.IPv4.IsValid() && e.IPv4.IsValid() {
		out.Interface.Address = e.IPv4.String()
	}
	if e := j.Endpoint; !spec.IPv6.IsValid() && e.IPv6.IsValid() {
		out.Interface.AddressIPv6 = e.IPv6.String()
	}
	if in.Interface == nil || in.Interface.MacAddress == "" {
		out.Interface.MacAddress = j.Endpoint.MAC.String()
	}
	return out, nil
}

// interfaceSpec checks the body of CreateEndpoint. What it says about ports is said again when they are to be published.
func interfaceSpec(in endpointCreate) (spec bridged.InterfaceSpec, err error) {
	if err := checkID("EndpointID", in.EndpointID); err != nil {
		return spec, err
	}
	if _, err := in.Options.ports(); err != nil {
		return spec, err
	}
	if err := in.Options.checkEndpoint(); err != nil {
		return spec, err
	}
	spec = bridged.InterfaceSpec{ID: in.EndpointID, Network: in.NetworkID}
	if spec.MAC, err = in.Options.mac(); err != nil || in.Interface == nil {
		return spec, err
	}
	if spec.IPv4, err = addressOf("Interface.Address", in.Interface.Address, netip.Addr.Is4); err != nil {
		return spec, err
	}
	if spec.IPv6, err = addressOf("Interface.AddressIPv6", in.Interface.AddressIPv6, netip.Addr.Is6); err != nil {
		return spec, err
	}
	if in.Interface.MacAddress == "" {
		return spec, nil
	}
	mac, err := bridged.ParseMAC(in.Interface.MacAddress)
	switch {
	case err != nil:
		return spec, fieldError("Interface.MacAddress", "%w", err)
	case spec.MAC != bridged.MAC{} && spec.MAC != mac:
		return spec, fieldError("Interface.MacAddress", "%s is not the %s of option %s", mac, spec.MAC, bridged.OptionMAC)
	}
	spec.MAC = mac
	return spec, nil
}

// addressOf is the address of a text as 172.28.0.2/16; the zero Addr for "".
func addressOf(field, text string, is func(netip.Addr) bool) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !is(p.Addr()) {
		return netip.Addr{}, fieldError(field, "%.50q is no address with its prefix length of this family", text)
	}
	return p.Addr(), nil
}

// isLeased reports whether the endpoint is one that this asks for.
func isLeased(e bridged.Endpoint, spec bridged.InterfaceSpec) bool {
	return (!spec.IPv4.IsValid() || spec.IPv4 == e.IPv4.Addr()) && (!spec.IPv6.IsValid() || spec.IPv6 == e.IPv6.Addr()) &&
		(spec.MAC == bridged.MAC{} || spec.MAC == e.MAC)
}

func (d *driver) deleteEndpoint(c *serve.Call, in endpointRef) (none, error) {
	j, err := d.endpoint(in)
	if err != nil {
		return none{}, err
	}
	return none{}, d.release(c.Context(), j.Endpoint.Sandbox)
}

// release gives back what an endpoint has.
func (d *driver) release(ctx context.Context, key string) error {
	err := d.engine.ReleaseInterface(ctx, key)
	if err == nil {
		d.prefixes.set(key, "")
	}
	return err
}

// endpointInfo says which port of the bridge the endpoint has. Docker's own keys would have to be of Docker's own types, which JSON has not.
func (d *driver) endpointInfo(_ *serve.Call, in endpointRef) (endpointInfo, error) {
	j, err := d.endpoint(in)
	if err != nil {
		return endpointInfo{}, err
	}
	info := endpointInfo{Value: map[string]string{}}
	if port := j.Endpoint.HostInterface; port != "" {
		info.Value["bridged.port"] = port
	}
	return info, nil
}

func (d *driver) join(c *serve.Call, in join) (out joined, err error) {
	if _, err := in.Options.ports(); err != nil {
		return out, err
	}
	j, err := d.endpoint(in.endpointRef)
	if err != nil {
		return out, err
	}
	j, peer, err := d.engine.JoinInterface(c.Context(), j.Endpoint.Sandbox)
	if err != nil {
		return out, err
	}
	c.AtEnd(func() { d.names.want(in.endpointRef) })
	out = joined{
		InterfaceName: interfaceName{SrcName: peer, DstPrefix: d.prefixes.get(j)},
		StaticRoutes:  []struct{}{},
		// Docker would join a container without a gateway to a network of its own making.
		DisableGatewayService: true,
	}
	if j.Network.Internal {
		return out, nil // leads nowhere
	}
	if j.Endpoint.IPv4.IsValid() {
		out.Gateway = j.Network.IPv4.Gateway.String()
	}
	if j.Endpoint.IPv6.IsValid() {
		out.GatewayIPv6 = j.Network.IPv6.Gateway.String()
	}
	return out, nil
}

func (d *driver) leave(c *serve.Call, in endpointRef) (none, error) {
	j, err := d.endpoint(in)
	if err != nil {
		return none{}, err
	}
	return none{}, d.engine.LeaveInterface(c.Context(), j.Endpoint.Sandbox)
}

// publish makes the endpoint's published ports just these. Docker calls it for the endpoint that is the container's way to the world.
func (d *driver) publish(c *serve.Call, in externalConnectivity) (none, error) {
	specs, err := in.Options.ports()
	if err != nil {
		return none{}, err
	}
	if _, err := d.endpoint(in.endpointRef); err != nil {
		return none{}, err
	}
	if err := d.needLink(in.EndpointID); err != nil {
		return none{}, err
	}
	_, warnings, err := d.engine.SetPorts(c.Context(), in.EndpointID, specs)
	if err != nil {
		return none{}, err
	}
	for _, w := range warnings {
		d.log.Warn(w, "endpoint", in.EndpointID)
	}
	if err := d.needLink(in.EndpointID); err != nil { // it left meanwhile
		_, _, undoErr := d.engine.SetPorts(c.Context(), in.EndpointID, nil)
		if errors.Is(undoErr, bridged.ErrNotFound) {
			undoErr = nil // deleted, with all that it had
		}
		return none{}, errors.Join(err, undoErr)
	}
	c.AtEnd(func() { d.names.want(in.endpointRef) })
	return none{}, nil
}

// needLink refuses an endpoint that has not joined.
func (d *driver) needLink(key string) error {
	if _, peer, ok := d.engine.Interface(key); !ok || peer == "" {
		return bridged.Errorf(bridged.ErrConflict, "endpoint %s has not joined a container: its ports can't be published", key)
	}
	return nil
}

func (d *driver) unpublish(c *serve.Call, in endpointRef) (none, error) {
	j, err := d.endpoint(in)
	if err != nil {
		return none{}, err
	}
	_, _, err = d.engine.SetPorts(c.Context(), j.Endpoint.Sandbox, nil)
	return none{}, err
}
