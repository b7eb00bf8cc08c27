// Package nat is the address translation of a container network: the chains and maps through which published ports are
// reached and through which sandboxes reach others in the host's name, and the elements that networks and ports have there.
//
// The chains and maps are constant. A network is one element a family, a published port one element:
//
//	       to a local address                                                       publish4:  127.0.0.2 . tcp . 8081
//	prerouting ─┐                                                                              : 172.17.0.2 . 80
//	            ├─► DOCKER ─► (address, protocol, port), then (protocol, port)      publish4any: tcp . 8080
//	output ─────┘             ─► DNAT to (address, port)                                       : 172.17.0.2 . 80
//
//	postrouting ─► what was DNATed and goes into a bridge of ours ─► hairpin
//	            ─► what stays within one bridge: as it is
//	            ─► what a subnet of ours sends elsewhere: snat4 (a fixed address), masq4 (that of the interface)
//
// The order matters in three places. A port published on one address goes before one published on all of them, as with
// sockets. hairpin comes first in postrouting, because it is the one case in which packets that stay within a bridge need
// another source: a sandbox that asks its own published port, or a sibling's, must get the answer through the host that
// translated the question. And `snat` goes before `masquerade`, since the first translation of a chain is the last.
//
// hairpin masquerades what comes from a subnet of ours (the answer must come back through the host), from 127.0.0.0/8 (an
// address that means nothing inside; the bridges have route_localnet=1 for it), and everything towards an internal
// network (no default route there: the host must ask as the bridge itself).
//
// Everything lives in the table [Inet] together with package forwarding's part, whose sets (bridges, same, internal,
// subnets4, subnets6) the rules here name: neither part loads without the other. Both are pure; package engine merges them
// and brings them into the kernel.
package nat
