// Package forwarding says which packets pass: between sandboxes, the host and the rest of the world. It is the constant
// part of the packet program that is not address translation (that is package nat), the elements that networks and
// endpoints have in it, and the sysctls that it relies on. Everything here is a pure function from values to values;
// package engine brings them into the kernel.
//
// # The way of a packet
//
//	from a port of ours (bv…)                                                    from elsewhere
//	    │                                                                              │
//	┌───▼──────────────── table bridge bridged ─────────────┐                          │
//	│ prerouting −300 ─► port ─► source    whose MAC, IP,   │                          │
//	│                     │      ├ source-ip   ARP, ND      │                          │
//	│                     │      ├ source-ip6  is it?       │                          │
//	│                     │      └ source-arp               │                          │
//	│                     └ ICC off: only the own gateway's │                          │
//	│                       MAC may be addressed            │                          │
//	│    ├─► input −200: no link-local control frames       │                          │
//	│    └─► forward −200: ICC off: no flooding ─► sibling  │                          │
//	└────┼──────────────────────────────────────────────────┘                          │
//	     │ to the gateway's MAC; the interface is now the bridge                       │
//	┌────▼───────────────── table inet bridged ───────────────────────────────────────▼─────────┐
//	│ guard (prerouting, mangle)                                                                │
//	│   │ the host's loopback, a port that lost its bridge                                      │
//	│   ├─► inside ─► spoofed: other addresses of the host  · container sources from outside,   │
//	│   │   for internal networks, no reverse path          · direct access from outside        │
//	│   ▼                                                                                       │
//	│ nat: prerouting (dstnat) ─► DOCKER: published ports get the sandbox as destination        │
//	│   │                                                                                       │
//	│   ├─ for the host ─► input (filter) ─► host: isolated and closed networks                 │
//	│   │                                                                                       │
//	│   └─ for others ─► forward (filter)                                                       │
//	│                      ├─ in or out of a bridge of ours ─► ours                             │
//	│                      │     established · limits of published ports                        │
//	│                      │     within one bridge ─► DOCKER-ICC: DNATed, ICC, links, else drop │
//	│                      │     fences: internal, spoofed, invalid                             │
//	│                      │     outwards · DNATed · unprotected · routed, ping                 │
//	│                      │     another network ─► drop                                        │
//	│                      │     marked · limits · open · else drop                             │
//	│                      └─ neither: not a router, where we switched forwarding on            │
//	│                                                                                           │
//	│ redirects (output, filter): no ICMP redirects into our bridges                            │
//	│ nat: postrouting (srcnat) ─► hairpin; masquerade                                          │
//	└───────────────────────────────────────────────────────────────────────────────────────────┘
//
// # Why this order
//
// guard sits after conntrack (fragments are reassembled, ct state is known) and before DNAT, where the destination is still
// the one that was asked for: only there can direct access be told from access to a published port. The host's loopback
// comes before established, because route_localnet switches off the kernel's own check for sources too. A port of ours
// speaks through its bridge only (with br_netfilter, bridged packets carry the bridge's name here), so a packet that
// arrives at IP level from bv… itself comes from one that lost its bridge.
//
// inside: every address of the host is reachable over every interface, and what is for the host never comes to forward; so an
// internal network has its fence here. Link-local to link-local stays on the bridge and is let through first, for fib
// finds neither a route for such a source nor a type for such a destination.
//
// ours: established first, for speed. limits before any accept of a DNATed flow. DOCKER-ICC before the fences and before
// the drop of invalid packets: when br_netfilter is on, or a sibling routes, only one direction of a flow passes here, and
// the members of an internal network may talk to one another. Then the fences, before any accept of a new flow. Invalid
// packets have no conntrack entry and so no masquerade: they would leave with the sandbox's address; on a routed network
// they are how asymmetric routing looks, hence the test for masq4, masq6. What opens a sandbox for a host interface or a
// mark does not open it for its neighbours: "other network" comes before both.
//
// The bridge table decides in prerouting what may be addressed, not in forward: br_netfilter turns a sibling's published
// port into a bridged frame after that hook. Group frames are decided copy by copy, in forward. Nothing in it needs ct or
// meta ibrname, which many kernels lack in this family; hence keys with the port in them.
//
// # Elements
//
// A port's elements only permit: the program fences every port of ours by its name, so one without elements can send
// nothing, and losing an element, or being late with one, can only close. The elements that restrict belong to networks and to
// the host: those of [Network] go in before the bridge has a port and out after the bridge is gone, those of [Host] go in before
// forwarding is switched on.
//
// # Beside the ruleset
//
// The program relies on these, which are others' to do:
//
//   - Bridges have a fixed MAC address, which is the one in the set gateways.
//   - Bridges have no_linklocal_learn: a frame to 01:80:c2:00:00:0e passes every hook of nf_tables, and learning its source
//     would hand a sibling's MAC to the sender.
//   - Every port has hairpin mode, or a sandbox can't reach its own published port when br_netfilter is on.
//   - Sandboxes have addr_gen_mode eui64: the link-local address made of the MAC is an element like any other.
//   - [Sysctls] are set before the bridge has a port; among them route_localnet, for ports published on 127.0.0.1.
//   - The two sandboxes of a link have a host route to the other by their gateway.
package forwarding
