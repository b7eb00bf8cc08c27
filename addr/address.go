package addr

import (
	"fmt"
	"net/netip"
)

// Address is an IP address of a link.
type Address struct {
	// Link is the link's index.
	Link int
	// Prefix is the address with its prefix length (not masked).
	Prefix netip.Prefix
	// NoDAD: an IPv6 address that can be used at once, without duplicate address detection. Of no meaning to IPv4.
	NoDAD bool

	// Tentative and Failed are duplicate address detection, under way and lost. They are read, never written.
	Tentative, Failed bool
}

// Equal reports whether both are the same address with the same prefix length on the same link. How it came there does not
// matter: an address that is there needs no duplicate address detection any more.
func (a Address) Equal(o Address) bool { return a.Link == o.Link && a.Prefix == o.Prefix }

// String is as "10.0.0.1/24 on link 3".
func (a Address) String() string { return fmt.Sprintf("%v on link %d", a.Prefix, a.Link) }

// Diff is what must be deleted and added to get from have to want, each in the order in which it was given. Whoever leaves
// other people's addresses alone must leave them out of have.
func Diff(have, want []Address) (del, add []Address) {
	return without(have, want), without(want, have)
}

// without is the addresses of a that are not in b.
func without(a, b []Address) []Address {
	type key struct {
		link   int
		prefix netip.Prefix
	}
	in := make(map[key]bool, len(b))
	for _, x := range b {
		in[key{x.Link, x.Prefix}] = true
	}
	var out []Address
	for _, x := range a {
		if k := (key{x.Link, x.Prefix}); !in[k] {
			in[k] = true // each once
			out = append(out, x)
		}
	}
	return out
}
