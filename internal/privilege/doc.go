// Package privilege says what this process, and the peer of a connection, may do, and gives up what the daemon does not need.
//
// A daemon starts as root. When its socket is open, [Restrict] takes from it, for good and in all threads:
//
//   - every capability but those it works with, from the permitted, effective, inheritable, ambient and bounding sets:
//
//     CAP_NET_ADMIN         links, addresses, routes, the packet filter, conntrack, parameters under /proc/sys/net
//     CAP_NET_RAW           announcing a sandbox's addresses: packet sockets
//     CAP_SYS_ADMIN         making, mounting and entering network namespaces: unshare, mount, umount, setns
//     CAP_NET_BIND_SERVICE  reserving published ports below 1024
//     CAP_SYS_PTRACE        the namespaces of processes: sandboxes given by their pid, and which namespaces are still lived in
//     CAP_DAC_READ_SEARCH   namespaces given by a path in a directory of another user, and the name of the process that has a port
//
//   - new privileges (no_new_privs), and the system calls that start a process, look into another one, load code into the kernel, or
//     are a way around the filter that refuses them (filter.go): they fail with EPERM.
//
// What this is not: with CAP_SYS_ADMIN the daemon can mount, and as user 0 it can write root's files. The filter keeps a fault of ours
// from running a program there and then; it is no wall between the daemon and the host.
package privilege
