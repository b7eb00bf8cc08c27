// Package hostcheck looks at a host before and while others' packets depend on it: which addresses are taken, what this kernel can do,
// and who else's firewall or settings get in the way. It changes nothing.
//
//	resolver files, routes ─► Taken  ─► Check, Choose        may this subnet be used? which is the first that may?
//	a transaction undone   ─► Kernel ─► Require              has the kernel what we need? what is it called in its configuration?
//	rules, sysctls         ─► Host   ─► Findings             what stops our packets, and what to do about it
//
// On the left is what reads ([ReadTaken], [Probe], [Read]): in the calling thread's network namespace, by netlink and files in /proc
// and /etc, without starting a process. On the right are pure functions over values, which can be had without a kernel.
//
// # How packets are judged
//
// An accept in one nf_tables table is no accept in the next: each base chain on the forward hook is asked, and one drop is
// enough. [Findings] therefore leads packets like those that our own rules accept (new TCP connections out of a bridge, into
// it, and between two of its ports when br_netfilter shows those to the IP rules) through everybody else's chains. A rule's
// match is known to hold, known not to hold, or depends on what the packet does not say (ports, marks, sets of addresses). A
// chain is found when the packet ends in a drop or reject although nothing that it does not say was held against it. Rules that
// might accept some of these packets make the finding a warning instead of a problem.
package hostcheck
