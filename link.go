package bridged

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Link lets one sandbox, the parent, reach ports of another, the child, on networks that keep their members apart (ICC off): the
// parent is the client, the child the server. On a network with ICC there is nothing to open. A link stays when
// its sandboxes leave a network, come back or get other addresses, and goes with the first of them that is removed.
type Link struct {
	// Parent and Child are the stacks that it joins: ids of sandboxes; of a lease, the caller's key.
	Parent, Child string
	// ParentIP and ChildIP restrict the link to these two addresses. The zero Addrs: all addresses that the two have, on every
	// network that both are in.
	ParentIP, ChildIP netip.Addr
	// Alias is what the parent calls the child. It is only shown.
	Alias string
	// Ports are the child's ports that are opened, in the order of [ProtoPort.Compare]; none: those that it publishes.
	Ports   []ProtoPort
	Created time.Time
	// Gone: the link opens nothing any more, and is forgotten once its routes are taken back. A restart that finds it so does
	// the rest.
	Gone bool
}

// ID is the link's key.
func (l Link) ID() LinkID {
	return LinkID{Parent: l.Parent, Child: l.Child, ParentIP: l.ParentIP, ChildIP: l.ChildIP}
}

// LinkID is what tells links apart: from whom to whom, and for a link between addresses, which ones.
type LinkID struct {
	Parent, Child     string
	ParentIP, ChildIP netip.Addr
}

// Between reports whether the link is one between these two stacks, in whichever direction.
func (id LinkID) Between(a, b string) bool {
	return id.Parent == a && id.Child == b || id.Parent == b && id.Child == a
}

// MarshalText is the parent and the child, and the addresses if there are any, with slashes between them. What keys of leases
// may have in them is escaped as in a URL.
func (id LinkID) MarshalText() ([]byte, error) {
	parts := []string{url.QueryEscape(id.Parent), url.QueryEscape(id.Child)}
	if id.ParentIP.IsValid() {
		parts = append(parts, id.ParentIP.String(), id.ChildIP.String())
	}
	return []byte(strings.Join(parts, "/")), nil
}

// UnmarshalText reads what MarshalText wrote.
func (id *LinkID) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), "/")
	fail := func() error { return Errorf(ErrInvalid, "invalid link id %q", text) }
	if len(parts) != 2 && len(parts) != 4 {
		return fail()
	}
	parent, err := url.QueryUnescape(parts[0])
	if err != nil {
		return fail()
	}
	child, err := url.QueryUnescape(parts[1])
	if err != nil {
		return fail()
	}
	got := LinkID{Parent: parent, Child: child}
	if len(parts) == 4 {
		if got.ParentIP, err = netip.ParseAddr(parts[2]); err != nil {
			return fail()
		}
		if got.ChildIP, err = netip.ParseAddr(parts[3]); err != nil {
			return fail()
		}
	}
	*id = got
	return nil
}

// LinkSpec asks for a link between two sandboxes, each given by name, id or unique prefix of the id.
type LinkSpec struct {
	Parent, Child string
	// Alias is what the parent calls the child; "": the child's name.
	Alias string
	// Ports are the child's; none: those that it publishes, as they come and go.
	Ports []ProtoPort
}

// LinkInfo is a link and the names of its ends; of a lease, the caller's key.
type LinkInfo struct {
	Link
	ParentName, ChildName string
}

// LinkAction is what the handler does with a link between two addresses.
type LinkAction string

// The actions.
const (
	LinkAdd    LinkAction = "add"
	LinkRemove LinkAction = "remove"
)
