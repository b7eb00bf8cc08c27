package bridged

import (
	"net"
	"net/netip"
	"reflect"
	"time"
)

// Driver is what a network is made of.
type Driver string

// The drivers. Only "bridge" networks can be created; the other two exist once, from the start.
const (
	DriverBridge Driver = "bridge"
	DriverHost   Driver = "host"
	DriverNull   Driver = "null"
)

// Names of the networks that exist from the start and can't be removed.
const (
	NetworkBridge = "bridge"
	NetworkHost   = "host"
	NetworkNone   = "none"
)

// Network is endpoints that can talk to one another: a bridge, and its subnets. A Network is not changed in place; a
// changed network is a new value.
type Network struct {
	ID      string
	Name    string
	Created time.Time
	Driver  Driver

	// Bridge is the bridge's interface name; empty for the drivers host and null.
	Bridge string
	// BridgeMAC is the bridge's own address. It never changes when ports come and go.
	BridgeMAC MAC
	// Given marks a bridge that existed before and is not ours (-b NAME): it is never renamed, renumbered or removed.
	Given bool

	// IPv4 and IPv6 are the subnets, one a family. The zero Subnet: the network has no such family.
	IPv4, IPv6 Subnet

	// MTU of the bridge and of each pair, in bytes.
	MTU int
	// Internal: members reach one another and their gateway's address, nothing else; only the host reaches them.
	Internal bool
	// Gateway4 and Gateway6 are how each family is reached from outside and reaches it; "" is GatewayNAT.
	Gateway4, Gateway6 GatewayMode
	// InhibitIPv4: the bridge has no IPv4 address; the gateway is somebody else's on the same link.
	InhibitIPv4 bool
	// Source4 and Source6 are the source addresses of what leaves the bridge, instead of those that masquerading chooses. The zero Addr:
	// none.
	Source4, Source6 netip.Addr
	// Trusted are interfaces of the host from which members' published ports can be reached at the members' own addresses.
	Trusted []string
	// InterfacePrefix begins the names of interfaces inside, before a number; "" is "eth".
	InterfacePrefix string
	// NoAddress: the bridge has no address at all; the gateways are somebody else's on the same link.
	NoAddress bool `json:",omitempty"`
	// Promisc: the bridge takes every frame that it sees.
	Promisc bool `json:",omitempty"`
	// Clients are the only prefixes from which published ports are reached, for each family of which there is one.
	Clients []netip.Prefix `json:",omitempty"`
	// AllowOverlap: the subnets may overlap with routes and nameservers of the host.
	AllowOverlap bool
	// ICC (inter-container communication): may members talk to one another?
	ICC bool
	// Masquerade: is what leaves the bridge by another interface given that interface's address?
	Masquerade bool
	// SourceGuard: may members only use the MAC, IP and link-local addresses that they were given?
	SourceGuard bool
	// HostIP is the host address of published ports that name none. The zero Addr: every address of both families.
	HostIP netip.Addr

	Options map[string]string
	Labels  map[string]string
}

// GatewayMode is how one family of a network is reached from outside its bridge, and reaches what is there.
type GatewayMode string

// The gateway modes.
const (
	// GatewayNAT: published ports of the host lead in, and what leaves is masqueraded. Nobody outside reaches a member's own address.
	GatewayNAT GatewayMode = "nat"
	// GatewayUnprotected is GatewayNAT, and every member's address can be reached from outside, every port of it.
	GatewayUnprotected GatewayMode = "nat-unprotected"
	// GatewayRouted: no translation. Published ports are reached at the member's own address, and it answers to ping.
	GatewayRouted GatewayMode = "routed"
	// GatewayIsolated: not even the host has an address on the bridge. The network must be internal.
	GatewayIsolated GatewayMode = "isolated"
)

// Gateway is the mode of one family.
func (n Network) Gateway(ipv6 bool) GatewayMode {
	mode := n.Gateway4
	if ipv6 {
		mode = n.Gateway6
	}
	if mode == "" {
		return GatewayNAT
	}
	return mode
}

// Subnet is the subnet of one family; the zero Subnet when there is none.
func (n Network) Subnet(ipv6 bool) Subnet {
	if ipv6 {
		return n.IPv6
	}
	return n.IPv4
}

// Source is the fixed source address of one family; the zero Addr when there is none.
func (n Network) Source(ipv6 bool) netip.Addr {
	if ipv6 {
		return n.Source6
	}
	return n.Source4
}

// Translates reports whether what leaves the bridge in one family gets an address of the host.
func (n Network) Translates(ipv6 bool) bool {
	mode := n.Gateway(ipv6)
	return n.Subnet(ipv6).Valid() && n.Masquerade && !n.Internal && (mode == GatewayNAT || mode == GatewayUnprotected)
}

// Opens reports whether published ports of one family are reached at the member's own address, by some at least.
func (n Network) Opens(ipv6 bool) bool {
	return n.Gateway(ipv6) == GatewayRouted || len(n.Trusted) > 0 && n.Subnet(ipv6).Valid()
}

// ClientsOf are the Clients of one family.
func (n Network) ClientsOf(ipv6 bool) []netip.Prefix {
	var of []netip.Prefix
	for _, c := range n.Clients {
		if c.Addr().Is6() == ipv6 {
			of = append(of, c)
		}
	}
	return of
}

// BridgeAddrs are the bridge's own addresses with the length of their subnets, IPv4 first: those of its gateways, unless they are not the
// bridge's.
func (n Network) BridgeAddrs() []netip.Prefix {
	var addrs []netip.Prefix
	for _, ipv6 := range []bool{false, true} {
		inhibited := n.NoAddress || n.Gateway(ipv6) == GatewayIsolated || n.InhibitIPv4 && !ipv6
		if s := n.Subnet(ipv6); s.Valid() && !inhibited {
			addrs = append(addrs, s.GatewayPrefix())
		}
	}
	return addrs
}

// Equal reports whether the two are the same in every field.
func (n Network) Equal(o Network) bool {
	if !n.Created.Equal(o.Created) {
		return false
	}
	n.Created = o.Created
	return reflect.DeepEqual(n, o)
}

// Predefined reports whether the network exists from the start and can't be removed.
func (n Network) Predefined() bool {
	return n.Name == NetworkBridge || n.Name == NetworkHost || n.Name == NetworkNone
}

// Subnets are the subnets that the network has, IPv4 first.
func (n Network) Subnets() []Subnet {
	var s []Subnet
	for _, f := range []Subnet{n.IPv4, n.IPv6} {
		if f.Prefix.IsValid() {
			s = append(s, f)
		}
	}
	return s
}

// Subnet is one family of a network.
type Subnet struct {
	// Prefix is the subnet, masked. The zero Prefix: the network does not have this family.
	Prefix netip.Prefix
	// Range is the part of Prefix that addresses are given out of; the zero Prefix: all of it.
	Range netip.Prefix
	// Ranges are such parts, in the order in which they are used, instead of a Range that is one prefix.
	Ranges []AddrRange `json:",omitempty"`
	// Gateway is the bridge's own address in the subnet, the members' default route.
	Gateway netip.Addr
	// Aux are addresses in the subnet that something else on the link has, by name: never given out.
	Aux map[string]netip.Addr
}

// AddrRange is First to Last, both included. A zero Addr: the first or last one of the subnet that a host can have.
type AddrRange struct{ First, Last netip.Addr }

// Valid reports whether the network has this family.
func (s Subnet) Valid() bool { return s.Prefix.IsValid() }

// GatewayPrefix is the bridge's address with the subnet's prefix length.
func (s Subnet) GatewayPrefix() netip.Prefix { return netip.PrefixFrom(s.Gateway, s.Prefix.Bits()) }

// MAC is an Ethernet address. The zero MAC means none.
type MAC [6]byte

// ParseMAC reads an Ethernet address in any form that [net.ParseMAC] knows.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, Errorf(ErrInvalid, "invalid MAC address %q: use six hex bytes, as in 02:42:ac:11:00:02", s)
	}
	if MAC(hw) == (MAC{}) {
		return MAC{}, Errorf(ErrInvalid, "invalid MAC address %q: no interface can have it", s)
	}
	return MAC(hw), nil
}

// String is the lower-case colon form, and "" for the zero MAC.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// MarshalText is [MAC.String].
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	*m, err = ParseMAC(string(b))
	return err
}
