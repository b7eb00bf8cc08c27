package forwarding

import (
	"net/netip"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/nft"
)

// Bridge is the table of the source guard and of ICC.
var Bridge = nft.TableID{Family: nft.Bridge, Name: "bridged"}

// BridgeTable is the whole table [Bridge].
func BridgeTable() nft.Table {
	return nft.Table{
		ID:   Bridge,
		Sets: bridgeSets(),
		Chains: []nft.Chain{
			bridgePrerouting(), bridgePort(), bridgeInput(), bridgeForward(),
			source(), sourceIP(), rolesIP(), sourceARP(), sourceIP6(), rolesIP6(), firstFragment(),
		},
	}
}

func bridgeSets() []nft.Set {
	ports := []nft.Type{nft.TypeIfName}
	portMAC := []nft.Type{nft.TypeIfName, nft.TypeEther}
	return []nft.Set{
		{Name: "icc", Key: ports, Size: maxPorts},       // may address their siblings
		{Name: "unguarded", Key: ports, Size: maxPorts}, // may claim to be anybody
		// Guarded ports that may serve DHCP, router advertisements, multicast queries.
		{Name: "routers", Key: ports, Size: maxNetworks},
		// The MAC of the port's own bridge. Another bridge's is unknown here and would be flooded to the siblings.
		{Name: "gateways", Key: portMAC, Size: maxPorts},
		// What a port may claim to be, the link-local address included.
		{Name: "macs", Key: portMAC, Size: maxPorts},
		{Name: "source4", Key: []nft.Type{nft.TypeIfName, nft.TypeEther, nft.TypeIPv4}, Size: maxPorts},
		{Name: "source6", Key: []nft.Type{nft.TypeIfName, nft.TypeEther, nft.TypeIPv6}, Size: maxPorts},
		// The target of a neighbour solicitation or advertisement.
		{Name: "targets6", Key: []nft.Type{nft.TypeIfName, nft.TypeTarget}, Size: maxPorts},
	}
}

func fromPort() nft.Match { return nft.IIFName.Begins(bridged.PortPrefix) }

// toGroup matches frames for more than one receiver: broadcast and multicast.
func toGroup() nft.Match {
	group := nft.MAC([6]byte{0: 0x01})
	return nft.EtherDAddr.Masked(group, group)
}

// bridgePrerouting leaves everything alone that is not a port of ours.
func bridgePrerouting() nft.Chain {
	return nft.Chain{
		Name:  "prerouting",
		Hook:  &nft.Hook{Type: nft.FilterChain, Point: nft.Prerouting, Priority: nft.PriorityBrDstNAT},
		Rules: []nft.Rule{{fromPort(), nft.Jump("port")}},
	}
}

// bridgePort decides who a port may be, and whom it may address. Group frames are decided copy by copy, in forward.
func bridgePort() nft.Chain {
	return nft.Chain{
		Name: "port",
		Rules: []nft.Rule{
			{nft.IIFName.NotIn("unguarded"), nft.Jump("source")},
			{nft.IIFName.In("icc"), nft.Accept},
			{toGroup(), nft.Accept},
			{nft.Join(nft.IIFName, nft.EtherDAddr).In("gateways"), nft.Accept},
			drop("ICC off"),
		},
	}
}

// bridgeInput: link-local control frames (01:80:c2:00:00:0x) skip prerouting, and the bridge learns their source MAC after
// this hook. Without the drop a sandbox takes over a sibling's MAC.
func bridgeInput() nft.Chain {
	mask := nft.MAC([6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xf0})
	control := nft.MAC([6]byte{0x01, 0x80, 0xc2})
	return nft.Chain{
		Name: "input",
		Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Input, Priority: nft.PriorityBrFilter},
		Rules: []nft.Rule{
			drop("link-local control frame",
				nft.EtherDAddr.Masked(mask, control), fromPort(), nft.IIFName.NotIn("unguarded")),
		},
	}
}

// bridgeForward: broadcast and multicast with ICC off: to the host yes (DHCP, ARP, MLD), to the siblings no.
func bridgeForward() nft.Chain {
	return nft.Chain{
		Name: "forward",
		Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Forward, Priority: nft.PriorityBrFilter},
		Rules: []nft.Rule{
			drop("ICC off, flooded", fromPort(), nft.IIFName.NotIn("icc"), toGroup()),
		},
	}
}

// source is the source guard. VLAN-tagged and other frames end in its last drop.
func source() nft.Chain {
	return nft.Chain{
		Name: "source",
		Rules: []nft.Rule{
			drop("another's MAC", nft.Join(nft.IIFName, nft.EtherSAddr).NotIn("macs")),
			{nft.VerdictMap{Expr: nft.EtherType, Map: []nft.VerdictMapEntry{
				{Key: etherIP, Verdict: nft.Goto("source-ip")},
				{Key: etherARP, Verdict: nft.Goto("source-arp")},
				{Key: etherIP6, Verdict: nft.Goto("source-ip6")},
			}}},
			drop("neither IP nor ARP"),
		},
	}
}

func sourceIP() nft.Chain {
	broadcast := nft.Addr(netip.AddrFrom4([4]byte{255, 255, 255, 255}))
	return nft.Chain{
		Name: "source-ip",
		Rules: []nft.Rule{
			{nft.Join(nft.IIFName, nft.EtherSAddr, nft.IPSAddr).In("source4"), nft.Goto("roles-ip")},
			{
				nft.IPSAddr.Is(nft.Addr(netip.IPv4Unspecified())), nft.IPDAddr.Is(broadcast),
				nft.UDPSPort.Is(dhcpClient), nft.UDPDPort.Is(dhcpServer), nft.Return,
			},
			drop("spoofed source"),
		},
	}
}

// rolesIP is for what only a router may be.
func rolesIP() nft.Chain {
	return nft.Chain{
		Name: "roles-ip",
		Rules: []nft.Rule{
			{nft.L4Proto.Is(protoTCP), nft.Return},
			{nft.IIFName.In("routers"), nft.Return},
			drop("DHCP server", nft.UDPSPort.Is(dhcpServer), nft.UDPDPort.Is(dhcpClient)),
			drop("router", nft.ICMPType.Is(icmpRedirect, icmpRouterAdvertisement)),
			drop("multicast querier", nft.IGMPType.Is(igmpQuery)),
		},
	}
}

func sourceARP() nft.Chain {
	sender := nft.Join(nft.IIFName, nft.ARPSAddrEther)
	return nft.Chain{
		Name: "source-arp",
		Rules: []nft.Rule{
			{nft.ARPOperation.Is(arpRequest, arpReply), nft.Join(sender, nft.ARPSAddrIP).In("source4"), nft.Return},
			{
				nft.ARPOperation.Is(arpRequest), nft.ARPSAddrIP.Is(nft.Addr(netip.IPv4Unspecified())),
				sender.In("macs"), nft.Return,
			},
			drop("another's ARP"),
		},
	}
}

// sourceIP6 permits duplicate address detection for the port's own addresses only: for another's it would be a denial of
// service.
func sourceIP6() nft.Chain {
	unspecified := nft.IP6SAddr.Is(nft.Addr(netip.IPv6Unspecified()))
	return nft.Chain{
		Name: "source-ip6",
		Rules: []nft.Rule{
			{nft.Join(nft.IIFName, nft.EtherSAddr, nft.IP6SAddr).In("source6"), nft.Goto("roles-ip6")},
			{unspecified, nft.ICMP6Type.Is(ndNeighborSolicit), ownTarget(), nft.Return},
			{unspecified, nft.ICMP6Type.Is(mldReport, mldDone, mld2Report), nft.Return},
			drop("spoofed source"),
		},
	}
}

// rolesIP6 is for what only a router may be. icmpv6 type skips extension headers in this family too, but not those that push
// it into the second fragment.
func rolesIP6() nft.Chain {
	return nft.Chain{
		Name: "roles-ip6",
		Rules: []nft.Rule{
			{nft.L4Proto.Is(protoTCP), nft.Return},
			{nft.ICMP6Type.Is(ndNeighborAdvert), ownTarget(), nft.Return},
			drop("another's neighbour advertisement", nft.ICMP6Type.Is(ndNeighborAdvert)),
			{nft.IIFName.In("routers"), nft.Return},
			{nft.FragOff.Is(nft.Port(0)), nft.Jump("first-fragment")},
			drop("router", nft.ICMP6Type.Is(mldQuery, ndRouterAdvert, ndRedirect, routerRenumbering)),
			drop("DHCP server", nft.UDPSPort.Is(dhcp6Server), nft.UDPDPort.Is(dhcp6Client)),
		},
	}
}

// firstFragment lets through what has a transport header to read: the comparison is then always true.
func firstFragment() nft.Chain {
	return nft.Chain{
		Name: "first-fragment",
		Rules: []nft.Rule{
			{nft.THFirstByte.AtLeast(nft.Byte(0)), nft.Return},
			drop("transport header hidden in a later fragment"),
		},
	}
}

// ownTarget matches the target of neighbour solicitations and advertisements: one of the port's own addresses.
func ownTarget() nft.Match { return nft.Join(nft.IIFName, nft.NDTarget).In("targets6") }
