// Package conntrack deletes the kernel's memory of flows (its connection tracking entries) that would bypass a port's
// publication or outlive it.
//
// NAT is decided by a flow's first packet. A UDP or SCTP flow that began before its port was published keeps going where it
// went, and one that was translated keeps reaching the old container, for as long as packets come. A TCP flow outlives an
// unpublication the same way. So whoever publishes, unpublishes or gives an address back calls [Purger.Purge] behind the commit.
package conntrack
