package conntrack

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// selector says which entries are to go. Looking at one costs the same for any number of flows and addresses.
type selector struct {
	flows map[portKey][]destination // the flows from anybody
	pairs map[pairKey]bool          // the flows from somebody
	addrs map[netip.Addr]bool
	// local reports whether an address is the host's own.
	local func(netip.Addr) bool
}

type portKey struct {
	proto uint8
	port  uint16
}

// destination is a host address and where DNAT sends what is addressed to it.
type destination struct{ host, target netip.Addr }

type pairKey struct {
	src, dst netip.Addr
	portKey
}

func newSelector(flows []Flow, addrs []netip.Addr) *selector {
	s := &selector{flows: make(map[portKey][]destination), pairs: make(map[pairKey]bool), addrs: make(map[netip.Addr]bool, len(addrs))}
	for _, f := range flows {
		k := portKey{f.Proto, f.HostPort}
		if f.Source.IsValid() {
			s.pairs[pairKey{f.Source, f.HostIP, k}] = true
		} else {
			s.flows[k] = append(s.flows[k], destination{f.HostIP, f.Target})
		}
	}
	for _, a := range addrs {
		s.addrs[a] = true
	}
	return s
}

func wildcard(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

// needsLocal reports whether selects asks local.
func (s *selector) needsLocal() bool {
	for _, to := range s.flows {
		if slices.ContainsFunc(to, func(d destination) bool { return wildcard(d.host) }) {
			return true
		}
	}
	return false
}

func (s *selector) selects(e *entry) bool {
	if e.zone {
		return false
	}
	port := portKey{e.orig.proto, e.orig.dstPort}
	if len(s.pairs) > 0 && s.pairs[pairKey{e.orig.src, e.orig.dst, port}] {
		return true
	}
	for _, to := range s.flows[port] {
		if (!to.target.IsValid() || to.target == e.reply.src) && s.sentTo(to.host, e.orig.dst) {
			return true
		}
	}
	return len(s.addrs) > 0 &&
		(s.addrs[e.orig.src] || s.addrs[e.orig.dst] || s.addrs[e.reply.src] || s.addrs[e.reply.dst])
}

// sentTo reports whether a packet to dst was sent to the host address of a flow.
func (s *selector) sentTo(host, dst netip.Addr) bool {
	if !wildcard(host) {
		return host == dst
	}
	if host.IsValid() && host.Is4() != dst.Is4() {
		return false
	}
	return s.local(dst)
}

// localLookup asks the kernel where it would send a packet to an address, once for each. An address that it can't send to is
// none of the host's.
func localLookup(h *netlink.Handle) func(netip.Addr) bool {
	known := make(map[netip.Addr]bool)
	return func(a netip.Addr) bool {
		local, ok := known[a]
		if !ok {
			routes, err := h.RouteGet(a.AsSlice())
			local = err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
			known[a] = local
		}
		return local
	}
}
