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
	// Gateway is the bridge's own address in the subnet, the members' default route.
	Gateway netip.Addr
	// Aux are addresses in the subnet that something else on the link has, by name: never given out.
	Aux map[string]netip.Addr
}

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
