package forwarding

import (
	"slices"

	"github.com/bridged/bridged/nft"
)

// Sizes, in elements. They are declared because a set without one rehashes as it grows, and they bound what can be asked
// for: a full set answers ENFILE.
const (
	maxLoopbacks = 16
	maxFamilies  = 4
	maxNetworks  = 4096
	maxPorts     = 65536 // ports of bridges, addresses, published ports, links
)

// defaultRate only fixes the kind of expression: each element of rates4 and rates6 brings its own rate. In packets a second.
const defaultRate = 1000

// Sets are the sets of the table [nat.Inet] whose elements are this package's.
//
// The program is complete before all that it is for: gateway modes other than nat, and policy, are elements of
// sets that stay empty until then.
func Sets() []nft.Set {
	return slices.Concat(portSets(), addressSets(), interfaceSets())
}

// portSets are keyed by a sandbox's address and port. For a published port that is one key, whichever address of the host
// was asked.
func portSets() []nft.Set {
	var (
		port4 = []nft.Type{nft.TypeIPv4, nft.TypeProto, nft.TypePort}
		port6 = []nft.Type{nft.TypeIPv6, nft.TypeProto, nft.TypePort}
		link4 = slices.Insert(slices.Clone(port4), 0, nft.TypeIPv4)
		link6 = slices.Insert(slices.Clone(port6), 0, nft.TypeIPv6)
	)
	return []nft.Set{
		// Reachable without translation.
		{Name: "open4", Key: port4, Size: maxPorts},
		{Name: "open6", Key: port6, Size: maxPorts},
		// The client's address, and the server's address and port: a link while ICC is off, through the gateway.
		{Name: "links4", Key: link4, Size: maxPorts},
		{Name: "links6", Key: link6, Size: maxPorts},
		// Ports that only some clients reach, and these clients' prefixes.
		{Name: "restricted4", Key: port4, Size: maxPorts},
		{Name: "restricted6", Key: port6, Size: maxPorts},
		{Name: "allowed4", Key: append(slices.Clone(port4), nft.TypeIPv4), Interval: true},
		{Name: "allowed6", Key: append(slices.Clone(port6), nft.TypeIPv6), Interval: true},
		// The rate of new connections. A lookup finds an element only while its limit is exceeded.
		{Name: "rates4", Key: port4, Size: maxPorts, LimitOverPerSecond: defaultRate},
		{Name: "rates6", Key: port6, Size: maxPorts, LimitOverPerSecond: defaultRate},
	}
}

// addressSets are keyed by prefixes and addresses of sandboxes. The prefixes are few and rarely change.
func addressSets() []nft.Set {
	prefixes := func(name string, key ...nft.Type) nft.Set { return nft.Set{Name: name, Key: key, Interval: true} }
	return []nft.Set{
		// Each prefix that sandboxes have addresses of; of these, those without direct access from outside; of these, those of
		// internal networks.
		prefixes("subnets4", nft.TypeIPv4), prefixes("subnets6", nft.TypeIPv6),
		prefixes("protected4", nft.TypeIPv4), prefixes("protected6", nft.TypeIPv6),
		prefixes("internal4", nft.TypeIPv4), prefixes("internal6", nft.TypeIPv6),
		// An interface of the host, and what may be addressed directly from there.
		prefixes("trusted4", nft.TypeIfName, nft.TypeIPv4), prefixes("trusted6", nft.TypeIfName, nft.TypeIPv6),
		// A bridge, and further sources behind it: networks behind a sandbox; everything where the source guard is off.
		prefixes("nested4", nft.TypeIfName, nft.TypeIPv4), prefixes("nested6", nft.TypeIfName, nft.TypeIPv6),
		// A bridge, and an address that one of its sandboxes has on another network.
		{Name: "sources4", Key: []nft.Type{nft.TypeIfName, nft.TypeIPv4}, Size: maxPorts},
		{Name: "sources6", Key: []nft.Type{nft.TypeIfName, nft.TypeIPv6}, Size: maxPorts},
	}
}

// interfaceSets are keyed by interfaces, or tell something about the host as a whole.
func interfaceSets() []nft.Set {
	ifname := []nft.Type{nft.TypeIfName}
	bridges := func(name string) nft.Set { return nft.Set{Name: name, Key: ifname, Size: maxNetworks} }
	return []nft.Set{
		bridges("bridges"), // of ours
		// The pairs (b, b): what stays within one bridge. A rule can't compare two interfaces.
		{Name: "same", Key: []nft.Type{nft.TypeIfName, nft.TypeIfName}, Size: maxNetworks},
		bridges("icc"),      // members may talk to one another
		bridges("internal"), // members reach one another and their gateway's address, nothing else
		bridges("closed"),   // members reach only the services listed here, of the host
		{Name: "services", Key: []nft.Type{nft.TypeIfName, nft.TypeProto, nft.TypePort}, Size: maxPorts},
		// Interfaces whose packets the host sent itself.
		{Name: "loopbacks", Key: ifname, Size: maxLoopbacks},
		// Families whose forwarding we switched on: the host routes for no one else.
		{Name: "norouter", Key: []nft.Type{nft.TypeFamily}, Size: maxFamilies},
		// Gateway modes, by family, because IPv4 nat with IPv6 routed is common. A bridge in isolated4 or isolated6 is in
		// internal, too.
		bridges("routed4"), bridges("routed6"),
		bridges("unprotected4"), bridges("unprotected6"),
		bridges("isolated4"), bridges("isolated6"),
		// Firewall marks that are accepted: values and ranges of values.
		{Name: "marks", Key: []nft.Type{nft.TypeMark}, Interval: true},
	}
}
