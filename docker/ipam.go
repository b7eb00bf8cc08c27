package docker

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/internal/serve"
)

// The address spaces. Docker has a name for those of swarms, too: there are none here.
const (
	localSpace  = "bridged-local"
	globalSpace = "bridged-global"
)

func (d *driver) requestPool(c *serve.Call, in poolRequest) (out poolReserved, err error) {
	if in.AddressSpace != "" && in.AddressSpace != localSpace {
		return out, fieldError("AddressSpace", "%.50q is not possible: all pools are of this host, in %s", in.AddressSpace, localSpace)
	}
	spec := bridged.PoolSpec{IPv6: in.V6}
	if spec.Prefix, err = in.prefix("Pool", in.Pool); err != nil {
		return out, err
	}
	if spec.Range, err = in.prefix("SubPool", in.SubPool); err != nil {
		return out, err
	}
	if spec.Range.IsValid() && !spec.Prefix.IsValid() {
		return out, fieldError("SubPool", "%s is a part of no pool: name the pool, too", spec.Range)
	}
	r, err := d.engine.ReservePool(c.Context(), spec)
	if err != nil {
		return out, err
	}
	return poolReserved{PoolID: r.ID, Pool: r.Prefix.String(), Data: map[string]string{}}, nil
}

// prefix is a subnet of the family that is asked for; the zero Prefix for "".
func (in poolRequest) prefix(field, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, fieldError(field, "%.50q is no subnet", text)
	}
	if p.Addr().Is6() != in.V6 {
		return p, fieldError(field, "%s is not of the family that V6 = %t says", p, in.V6)
	}
	return p.Masked(), nil
}

func (d *driver) releasePool(c *serve.Call, in poolRelease) (none, error) {
	return none{}, d.engine.ReleasePool(c.Context(), in.PoolID)
}

// requestAddress gives out an address. A gateway's, which Docker asks for first, is as any other: the network that is made then keeps it.
func (d *driver) requestAddress(c *serve.Call, in addressRequest) (out addressReserved, err error) {
	var a netip.Addr
	if in.Address != "" {
		if a, err = poolAddr(in.Address); err != nil {
			return out, err
		}
	}
	p, err := d.engine.ReserveAddress(c.Context(), in.PoolID, a)
	if err != nil {
		return out, err
	}
	return addressReserved{Address: p.String(), Data: map[string]string{}}, nil
}

func (d *driver) releaseAddress(c *serve.Call, in addressRelease) (none, error) {
	a, err := poolAddr(in.Address)
	if err != nil {
		return none{}, err
	}
	return none{}, d.engine.ReleaseAddress(c.Context(), in.PoolID, a)
}

func poolAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return a, fieldError("Address", "%.50q is no address", text)
	}
	return a, nil
}
