package ipam

import "net/netip"

// Block is a part of the address space that subnets of one size are cut from.
type Block struct {
	Base netip.Prefix
	// Size is the prefix length of each subnet.
	Size int
}

// FirstHost is the first address of the prefix that a host can have.
func FirstHost(p netip.Prefix) netip.Addr { return p.Addr() }

// DefaultGateway is the gateway when c names none: the first address of the range (or the subnet) that a host can have
// and that is no auxiliary address. The zero Addr: there is none.
func DefaultGateway(c Config) netip.Addr { return netip.Addr{} }

// DefaultBlocks are what networks without a subnet are cut from.
func DefaultBlocks() []Block { return nil }

// LegacyCandidates are the subnets of the default bridge in the order they are tried, each with its gateway's address.
func LegacyCandidates() []netip.Prefix { return nil }

// Choose is the first subnet of the blocks that overlaps nothing in taken.
func Choose(blocks []Block, taken []netip.Prefix) (netip.Prefix, error) { return netip.Prefix{}, ErrExhausted }

// ULA is this host's IPv6 /48.
func ULA(machineID []byte) netip.Prefix { return netip.Prefix{} }
