package ipam

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
)

// DefaultBlocks are what IPv4 networks without a subnet are cut from: 172.17.0.0 to 172.31.255.255 in /16, then
// 192.168.0.0/16 in /20. (172.16.0.0/16 holds a cloud provider's nameserver, 172.16.0.23.)
func DefaultBlocks() []Block {
	return []Block{
		{netip.MustParsePrefix("172.17.0.0/16"), 16},
		{netip.MustParsePrefix("172.18.0.0/15"), 16},
		{netip.MustParsePrefix("172.20.0.0/14"), 16},
		{netip.MustParsePrefix("172.24.0.0/13"), 16},
		{netip.MustParsePrefix("192.168.0.0/16"), 20},
	}
}

// LegacyCandidates are the subnets of the default bridge, in the order they are tried; each address is the gateway's. They
// are Docker's of before 1.9.
func LegacyCandidates() []netip.Prefix {
	var c []netip.Prefix
	for _, s := range []string{
		"172.17.42.1/16", "10.0.42.1/16", "10.1.42.1/16", "10.42.42.1/16",
		"172.16.42.1/24", "172.16.43.1/24", "172.16.44.1/24", "10.0.42.1/24", "10.0.43.1/24",
		"192.168.42.1/24", "192.168.43.1/24", "192.168.44.1/24",
	} {
		c = append(c, netip.MustParsePrefix(s))
	}
	return c
}

// ULA is the unique local IPv6 prefix (RFC 4193), a /48, of the host with this machine id; it is cut into /64. The 40 bits
// of the global id are a keyed hash: machine-id(5) wants the id itself kept from the network. Where there is no machine id, any
// random bytes that are kept will do.
func ULA(machineID []byte) netip.Prefix {
	h := hmac.New(sha256.New, machineID)
	h.Write([]byte("bridged: unique local prefix"))
	a := [16]byte{0: 0xfd}
	copy(a[1:6], h.Sum(nil))
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}
