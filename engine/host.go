package engine

import (
	"context"
	"io"
	"net/netip"
	"slices"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/conntrack"
	"github.com/bridged/bridged/internal/netns"
	"github.com/bridged/bridged/link"
	"github.com/bridged/bridged/nft"
)

// host is the machine as the engine sees it: everything that touches Linux goes through these. The fake of the tests keeps
// objects in memory and fails where it is told to.
type host interface {
	kernel
	namespaces
	ports
	// facts tells what a configuration is completed with.
	facts() (facts, error)
	// probe finds out what the kernel has.
	probe() (hostcheck.Kernel, error)
	// taken is what addresses are in use on the host, outside our own bridges.
	taken() (hostcheck.Taken, error)
	// settings is what others may have in the way of our packets; with an error, as far as it can be read.
	settings(own hostcheck.Own) (hostcheck.Host, error)
	// nameservers are those of it that the resolver asks.
	nameservers() []netip.Addr
	// ownership names what protects our tables.
	ownership() (protection string, transactions uint64)
	close() error
}

// kernel holds the objects of a Plan.
type kernel interface {
	// do makes one step: all of it, or an error and nothing.
	do(ctx context.Context, s step) error
	// observe is what there is, but for tables and elements, of the objects that want names, and what there is of ours beside them. listed is for a
	// caller that has just listed the host; nil: it is listed.
	observe(want objects, listed *listing) (objects, error)
	// observeRules are our tables and what is in them.
	observeRules(ctx context.Context) (*nft.Inventory, error)
	// tables are the nf_tables tables that there are, of whomever.
	tables(ctx context.Context) ([]nft.TableID, error)
	// adopt takes over the tables that an earlier daemon left.
	adopt(ctx context.Context) error
	// delPairs removes many pairs; it waits a grace period of the kernel, whatever their number.
	delPairs(names []string) error
	// finish makes the kernel do at once what it does within a second of a port's getting its carrier: see Engine.finish.
	finish(p pair) error
	announce(p pair) error
	// subscribe asks the kernel to say what changes: from then on nothing is missed.
	subscribe() error
	// watch hands on what it says, until ctx is done.
	watch(ctx context.Context, suspect func(suspicion), changed func(moved)) error
	// look is observe for the pairs and bridges that want names, without any list; the rules are taken to be as wanted.
	look(want objects) (objects, error)
	// compare says in what the kernel differs from the elements, bridges and pairs that want names, inside their namespaces, too.
	compare(ctx context.Context, want objects) (differences []string, err error)
	// linked says whether the pair is there, and the namespace of its other end lives.
	linked(hostEnd string) (bool, error)
	// drift finds what the kernel does not tell.
	drift(w watched) drift
}

// namespaces are the network namespaces of sandboxes.
type namespaces interface {
	// marked are the paths of namespaces that we made, with the ids of their sandboxes.
	marked() (map[string]string, error)
	// names are those in the directory where namespaces that we made are mounted; nil: it can't be read.
	names() map[string]struct{}
	// makeNamespace makes the sandbox's, at its path.
	makeNamespace(s bridged.Sandbox) (bridged.NamespaceID, error)
	// mountNamespace gives the sandbox's namespace, which is at path, a further one.
	mountNamespace(s bridged.Sandbox, path, further string) error
	// removeNamespace removes what is at path if it was made for the sandbox.
	removeNamespace(s bridged.Sandbox, path string) error
	// exists says whether there is something at path.
	exists(path string) bool
	// namespace is the identity of the one at path, or of the process's when pid is not 0.
	namespace(path string, pid int) (bridged.NamespaceID, error)
	// hold is namespace, and until letGo that one is what steps on its identity mean, without another look at a path.
	hold(path string, pid int) (id bridged.NamespaceID, letGo func(), err error)
	// identities are those of the namespaces at many paths; of what is no namespace, or can't be looked at, there is none.
	identities(paths []string) (map[string]bridged.NamespaceID, error)
	// inhabited are the namespaces that a process is in, or that are mounted, each with a path that leads to it.
	inhabited() (map[netns.File]string, error)
}

// ports are the host's side of published ports.
type ports interface {
	// reserve binds one socket after the other, until one can't be bound: the error is about bindings[len(sockets)].
	reserve(bindings []bridged.Binding) (sockets []io.Closer, err error)
	// restock makes ahead what further reservations like these need.
	restock(bindings []bridged.Binding) error
	ephemeral() (first, last uint16, reserved func(uint16) bool, err error)
	purge(flows []conntrack.Flow, addrs []netip.Addr) error
}

// facts are what the daemon reads once, when it starts.
type facts struct {
	mtu        int // of the default route's link; 0: there is none
	machineID  []byte
	links      []link.Link
	addresses  []addr.Address
	taken      hostcheck.Taken
	forwarding bridged.Forwarding  // is on
	namespace  bridged.NamespaceID // the host's own
	noIPv6     error               // why there is no IPv6; nil: there is
	// bridgeFilter: br_netfilter shows bridged packets to the IP rules.
	bridgeFilter bool
}

// listing is what there is on the host.
type listing struct {
	links []link.Link
	// settings: addresses and routes are all that there are. Else they are asked for where they are needed.
	settings  bool
	addresses []addr.Address
	routes    []addr.Route
}

// listing is the host as it was when the facts were read.
func (f facts) listing() *listing {
	return &listing{links: f.links, settings: true, addresses: f.addresses, routes: f.taken.Routes}
}

// link is the link of that name.
func (f facts) link(name string) (link.Link, bool) {
	i := slices.IndexFunc(f.links, func(l link.Link) bool { return l.Name == name })
	if i < 0 {
		return link.Link{}, false
	}
	return f.links[i], true
}

// addressesOf are a link's addresses of one family, without the link-local ones that IPv6 has everywhere, in the kernel's order: a primary address before its
// secondary ones.
func (f facts) addressesOf(index int, ipv6 bool) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range f.addresses {
		if a.Link == index && a.Prefix.Addr().Is4() != ipv6 && !(ipv6 && a.Prefix.Addr().IsLinkLocalUnicast()) {
			all = append(all, a.Prefix)
		}
	}
	return all
}

// portsOf are the links that are ports of a bridge.
func (f facts) portsOf(index int) []link.Link {
	var ports []link.Link
	for _, l := range f.links {
		if l.Master == index {
			ports = append(ports, l)
		}
	}
	return ports
}
