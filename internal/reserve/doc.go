// Package reserve holds host ports by bound sockets, so that no other process can have them.
//
// A published port needs no socket: the packet filter rewrites its packets before a socket is looked up. The socket is for
// bind(2) of others, which fails with EADDRINUSE, and for the choice of source ports, which passes the port over. What still comes
// in for the port on the host itself (to [::1], which DNAT can't take anywhere) must be refused at once, as if there were no socket:
//
//   - TCP and SCTP refuse it, since the socket never listens.
//   - A UDP socket would swallow it. So it is tied to a network interface that can't exist, after it was bound: the kernel's
//     check for conflicts (udp_lib_lport_inuse, net/ipv4/udp.c) still finds it for every socket that is not tied to an interface
//     itself, while the lookup for a packet (compute_score, same file) never does, and ICMP port unreachable is answered.
//
// So there is one hole: a UDP socket that another process tied to an interface (SO_BINDTODEVICE, as DHCP clients do) can be
// bound to the same port.
//
// Everything happens in the network namespace of the calling thread, which the caller must have locked to its goroutine when it is
// not the process's own. Only what a [Stock] has can be bound from anywhere.
package reserve
