package ipam

import (
	"maps"
	"net/netip"
	"slices"
)

// Config describes one subnet.
type Config struct {
	// Prefix is the subnet. Its host bits are ignored, as those of Range are.
	Prefix netip.Prefix
	// Range is the part of Prefix that [Pool.Take] chooses from; the zero Prefix: all of it.
	Range netip.Prefix
	// Ranges are such parts, in the order in which Take uses them, instead of a Range. They don't overlap.
	Ranges []Range
	// Gateway is never given out; the zero Addr: there is none.
	Gateway netip.Addr
	// Aux are addresses, by name, that something else on the link has: never given out.
	Aux map[string]netip.Addr
}

// DefaultGateway is the gateway when c names none: the first address of the range, or of the subnet when there is no range,
// that a host can have and that is no auxiliary address. The zero Addr: there is none.
func DefaultGateway(c Config) netip.Addr {
	c = c.masked()
	if !c.Prefix.IsValid() || !within(c.Range, c.Prefix) {
		return netip.Addr{}
	}
	taken := make(map[netip.Addr]bool, len(c.Aux))
	for _, a := range c.Aux {
		taken[a] = true
	}
	for a := c.Range.Addr(); c.Range.Contains(a); a = a.Next() {
		if c.special(a) == "" && !taken[a] {
			return a
		}
	}
	return netip.Addr{}
}

// masked is c without host bits and with a Range.
func (c Config) masked() Config {
	c.Prefix, c.Range = c.Prefix.Masked(), c.Range.Masked()
	if !c.Range.IsValid() {
		c.Range = c.Prefix
	}
	return c
}

// special says which address of the (masked) subnet a is that no host can have, and "" for a host's.
func (c Config) special(a netip.Addr) string {
	switch {
	case allHosts(c.Prefix):
		return ""
	case a == c.Prefix.Addr() && a.Is4():
		return "the network address"
	case a == c.Prefix.Addr():
		return "the subnet-router anycast address" // RFC 4291, section 2.6.1
	case a.Is4() && a == last(c.Prefix):
		return "the broadcast address"
	}
	return ""
}

// check says what of the (masked) configuration does not fit.
func (c Config) check() error {
	if !c.Prefix.IsValid() {
		return errorf(ErrConfig, "a subnet is needed, as in 192.168.1.0/24")
	}
	for p, what := range unusable() {
		if c.Prefix.Overlaps(p) {
			return errorf(ErrConfig, "subnet %s can't be used: %s are %s", c.Prefix, p, what)
		}
	}
	if !within(c.Range, c.Prefix) {
		return errorf(ErrConfig, "range %s is outside the subnet %s", c.Range, c.Prefix)
	}
	if err := c.checkRanges(); err != nil {
		return err
	}
	if c.Gateway.IsValid() {
		if err := c.checkAddr("gateway", c.Gateway); err != nil {
			return err
		}
	}
	names := make(map[netip.Addr]string, len(c.Aux))
	for _, name := range slices.Sorted(maps.Keys(c.Aux)) {
		a := c.Aux[name]
		if err := c.checkAddr("auxiliary address "+name, a); err != nil {
			return err
		}
		if a == c.Gateway {
			return errorf(ErrConfig, "auxiliary address %s %s is the gateway's", name, a)
		}
		if other, ok := names[a]; ok {
			return errorf(ErrConfig, "auxiliary addresses %s and %s are both %s", other, name, a)
		}
		names[a] = name
	}
	return nil
}

func (c Config) checkAddr(what string, a netip.Addr) error {
	if !c.Prefix.Contains(a) {
		return errorf(ErrConfig, "%s %s is outside the subnet %s", what, a, c.Prefix)
	}
	if s := c.special(a); s != "" {
		return errorf(ErrConfig, "%s %s is %s of %s", what, a, s, c.Prefix)
	}
	return nil
}
