package nat

import "github.com/bridged/bridged/nft"

// Inet is the table that this package's chains and sets share with those of package forwarding.
var Inet = nft.TableID{Family: nft.Inet, Name: "bridged"}

// Sizes, in elements. They are declared because a set without one rehashes as it grows (up to 8 ms at 75 % of each power of
// two, measured on Linux 6.18), and they bound what can be asked for: a full set answers ENFILE.
const (
	maxNetworks = 4096
	maxPorts    = 131072 // each of 65,536 ports, tcp and udp
)

// Sets are the sets and maps whose elements are this package's.
func Sets() []nft.Set {
	var (
		ifname   = []nft.Type{nft.TypeIfName}
		port     = []nft.Type{nft.TypeProto, nft.TypePort}
		port4    = []nft.Type{nft.TypeIPv4, nft.TypeProto, nft.TypePort}
		port6    = []nft.Type{nft.TypeIPv6, nft.TypeProto, nft.TypePort}
		service4 = []nft.Type{nft.TypeIPv4, nft.TypePort}
		service6 = []nft.Type{nft.TypeIPv6, nft.TypePort}
	)
	return []nft.Set{
		// Published ports: on one address of the host, and on all of them. The counters are per published port.
		{Name: "publish4", Key: port4, Data: service4, Size: maxPorts, Counter: true},
		{Name: "publish4any", Key: port, Data: service4, Size: maxPorts, Counter: true},
		{Name: "publish6", Key: port6, Data: service6, Size: maxPorts, Counter: true},
		{Name: "publish6any", Key: port, Data: service6, Size: maxPorts, Counter: true},
		// Bridges whose subnets leave with the address of the interface that they leave by.
		{Name: "masq4", Key: ifname, Size: maxNetworks},
		{Name: "masq6", Key: ifname, Size: maxNetworks},
		// Bridges with a fixed source address instead.
		{Name: "snat4", Key: ifname, Data: []nft.Type{nft.TypeIPv4}, Size: maxNetworks},
		{Name: "snat6", Key: ifname, Data: []nft.Type{nft.TypeIPv6}, Size: maxNetworks},
	}
}
