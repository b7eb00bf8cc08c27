package forwarding

import "github.com/bridged/bridged/nft"

// Numbers of the protocols that the program looks into.
var (
	// ICMP types, RFC 792 and RFC 1256.
	icmpRedirect            = nft.Byte(5)
	icmpEchoRequest         = nft.Byte(8)
	icmpRouterAdvertisement = nft.Byte(9)

	// ICMPv6 types, RFC 4443, RFC 2710, RFC 4861, RFC 2894 and RFC 3810.
	icmp6EchoRequest  = nft.Byte(128)
	mldQuery          = nft.Byte(130)
	mldReport         = nft.Byte(131)
	mldDone           = nft.Byte(132)
	ndRouterSolicit   = nft.Byte(133)
	ndRouterAdvert    = nft.Byte(134)
	ndNeighborSolicit = nft.Byte(135)
	ndNeighborAdvert  = nft.Byte(136)
	ndRedirect        = nft.Byte(137)
	routerRenumbering = nft.Byte(138)
	mld2Report        = nft.Byte(143)

	// igmpQuery is IGMP's membership query, RFC 2236.
	igmpQuery = nft.Byte(0x11)

	// EtherTypes, as in linux/if_ether.h.
	etherIP  = nft.Port(0x0800)
	etherARP = nft.Port(0x0806)
	etherIP6 = nft.Port(0x86dd)

	// ARP operations, RFC 826.
	arpRequest = nft.Port(1)
	arpReply   = nft.Port(2)

	// Ports of DHCP, RFC 2131 and RFC 8415.
	dhcpServer  = nft.Port(67)
	dhcpClient  = nft.Port(68)
	dhcp6Server = nft.Port(547)
	dhcp6Client = nft.Port(546)

	protoTCP = nft.Byte(6)
)
