package bridged

import (
	"net/netip"
	"time"
)

// AttachmentKey names an attachment: a network interface that a CNI runtime wants in a container.
type AttachmentKey struct {
	// Network is the name in the CNI configuration.
	Network string
	// Container is the runtime's id of the container, Interface the name of the interface inside, as "eth0".
	Container, Interface string
}

// String is as in "eth0 of container 4f1c… in network podnet".
func (k AttachmentKey) String() string {
	container := k.Container
	if len(container) > 12 {
		container = container[:12]
	}
	return k.Interface + " of container " + container + " in network " + k.Network
}

// LabelCNI is the label of networks that attachments made, with their name in the CNI configuration.
const LabelCNI = "bridged.cni.network"

// CNINetworkName is the name of the [Network] for a name in a CNI configuration. Names of networks that are there from the start
// are taken, and those are none of CNI's.
func CNINetworkName(name string) string {
	if (Network{Name: name}).Predefined() {
		return "cni-" + name
	}
	return name
}

// AttachmentSpec asks for an attachment, and says all that it must be. What is left zero is chosen, or not wanted.
type AttachmentSpec struct {
	Key AttachmentKey
	// NetNS is the absolute path of the container's namespace.
	NetNS string
	// Network is what the network must be; the first attachment makes it.
	Network AttachmentNetwork
	// IPs are the addresses asked for, at most one a family, each in the ranges of its subnet.
	IPs []netip.Addr `json:",omitempty"`
	MAC MAC          `json:",omitzero"`
	// DefaultRoute: by way of the gateway of each family, unless Inside has a default route of that family.
	DefaultRoute bool   `json:",omitempty"`
	Inside       Inside `json:",omitzero"`
	// Hairpin: what the container sends may come back to it, as a published port of its own.
	Hairpin bool `json:",omitempty"`
	// Sysctls are set inside: values by name, as "net.ipv4.conf.IFNAME.arp_notify" or "net/core/somaxconn". IFNAME stands for the name of
	// the interface; only what begins with net is possible.
	Sysctls map[string]string `json:",omitempty"`
	// Ports are published at this attachment's addresses.
	Ports     []PortSpec `json:",omitempty"`
	Bandwidth Bandwidth  `json:",omitzero"`
	// Aliases are further names of the container on this network, Labels what the runtime says of the container, as its pod's name.
	// They are only shown.
	Aliases []string          `json:",omitempty"`
	Labels  map[string]string `json:",omitempty"`
}

// AttachmentNetwork is what the CNI configuration says of a network as a whole. An attachment to a network that is there changes it to
// this, except for Bridge, and for the subnets and their gateways, which only Force changes and only while nothing is attached.
type AttachmentNetwork struct {
	// Bridge is the bridge's name; it must not be there, or be this network's.
	Bridge string `json:",omitempty"`
	MTU    int    `json:",omitempty"` // of the bridge and the pairs, in bytes; 0: the default
	// IPv4 and IPv6 are the subnets; without both, containers have no addresses. A gateway that is left zero is the first address, and
	// a prefix of length 0 is the next free subnet of the daemon's address pools.
	IPv4, IPv6 Subnet `json:",omitzero"`
	// Gateway: the bridge has the gateways' addresses.
	Gateway bool `json:",omitempty"`
	// Force: a network with other subnets is given these.
	Force bool `json:",omitempty"`
	// Masquerade: what leaves the bridge by another interface gets that interface's address.
	Masquerade bool `json:",omitempty"`
	// Promisc: the bridge takes every frame that it sees.
	Promisc bool `json:",omitempty"`
	// SourceGuard: containers may only use the MAC, IP and link-local addresses that they were given. It needs a subnet.
	SourceGuard bool `json:",omitempty"`
	// Isolated: containers do not reach one another on the bridge.
	Isolated bool `json:",omitempty"`
	// Ingress is who may begin a connection to a container's own address; "" is IngressOpen.
	Ingress IngressPolicy `json:",omitzero"`
	// Sources are the only prefixes from which published ports are reached, for each family of which there is one.
	Sources []netip.Prefix `json:",omitempty"`
}

// IngressPolicy says who may begin a connection to a container's own address. The host always may, and published ports are reached as
// ever.
type IngressPolicy string

// The policies.
const (
	// IngressOpen: everybody, as far as routes lead.
	IngressOpen IngressPolicy = "open"
	// IngressSameBridge: other containers of the network, and nobody else.
	IngressSameBridge IngressPolicy = "same-bridge"
	// IngressIsolated: nobody.
	IngressIsolated IngressPolicy = "isolated"
)

// Inside is how an attachment's interface is set up inside, beyond its name and addresses. Later it is the container's own business.
type Inside struct {
	Routes []Route `json:",omitempty"`
	// MTU of the inner end alone, in bytes; 0: the network's.
	MTU     int  `json:",omitempty"`
	Promisc bool `json:",omitempty"`
	// DAD: IPv6 addresses are used when nobody else was found to have them (RFC 4862), which takes some seconds.
	DAD bool `json:",omitempty"`
	// Down: the interface stays down. It can't have addresses or routes then.
	Down bool `json:",omitempty"`
}

// Route is a route of a container.
type Route struct {
	// Dst is the destination, masked.
	Dst netip.Prefix
	// Gateway is the next hop; the zero Addr: the gateway of the family's subnet.
	Gateway netip.Addr `json:",omitzero"`
	// MTU of the path, in bytes; 0: the interface's.
	MTU int `json:",omitempty"`
	// Priority is the metric: where routes are alike the lowest wins. 0: the kernel's choice, which is 1024 for IPv6.
	Priority int `json:",omitempty"`
	// Table is RT_TABLE_…; 0: the main table.
	Table int `json:",omitempty"`
}

// Default reports whether it leads everywhere.
func (r Route) Default() bool { return r.Dst.Bits() == 0 }

// Bandwidth limits what an attachment sends and receives. The zero Bandwidth limits nothing.
type Bandwidth struct {
	// Ingress is what comes to the container, Egress what it sends.
	Ingress, Egress Rate `json:",omitzero"`
}

// Rate is a token bucket. The zero Rate: no limit.
type Rate struct {
	// Rate in bits a second, Burst in bits: both are zero, or none.
	Rate, Burst uint64
}

// Attachment is what became of an [AttachmentSpec].
type Attachment struct {
	Key AttachmentKey
	// Created is when it was made.
	Created time.Time
	// Bridge, Host and Inner are the bridge, its port and the interface in the container. Shaper is the host's interface that limits what the
	// container sends; zero without such a limit.
	Bridge, Host, Inner, Shaper AttachmentLink
	// NetNS is the path of the container's namespace.
	NetNS string
	// IPs are the addresses, IPv4 first.
	IPs []AttachmentIP
	// Routes are those of the request, in their order, then the default routes that were added.
	Routes []Route
	// Ports are the published ports, with the host's side chosen.
	Ports []Port
	// Warnings are what the user should know.
	Warnings []string
}

// AttachmentLink is an interface.
type AttachmentLink struct {
	Name string
	MAC  MAC
	MTU  int // in bytes
}

// AttachmentIP is an address of a container.
type AttachmentIP struct {
	// Address has the subnet's prefix length.
	Address netip.Prefix
	// Gateway is the subnet's, whether the bridge has that address or not.
	Gateway netip.Addr
}

// AttachmentCollection says what of a network is still wanted.
type AttachmentCollection struct {
	// Network is the name in the CNI configuration.
	Network string
	// Valid are those to keep; their Network is ignored.
	Valid []AttachmentKey
}

// AttachmentsCollected is the answer to an [AttachmentCollection].
type AttachmentsCollected struct {
	Removed []AttachmentKey
	// Errors are of those that could not be removed, one each.
	Errors []string
}
