package addr

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/rtnl"
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

// without is the addresses of a that are not in b, each once.
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
			in[k] = true
			out = append(out, x)
		}
	}
	return out
}

// Append adds the request that adds the address to a batch. IPv4 addresses get the subnet's broadcast address, up to /30.
func (a Address) Append(b *rtnl.Batch) (message int) {
	return a.append(b, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
}

func (a Address) append(b *rtnl.Batch, kind, flags uint16) (message int) {
	ip := a.Prefix.Addr()
	message = b.Begin(kind, flags)
	var f uint8
	if a.NoDAD && ip.Is6() {
		f = unix.IFA_F_NODAD
	}
	b.Address(family(ip), a.Prefix.Bits(), f, a.Link)
	b.Bytes(unix.IFA_LOCAL, ip.AsSlice())
	b.Bytes(unix.IFA_ADDRESS, ip.AsSlice())
	if kind == unix.RTM_NEWADDR && ip.Is4() && a.Prefix.Bits() <= 30 {
		b.Bytes(unix.IFA_BROADCAST, broadcast(a.Prefix))
	}
	return message
}

// broadcast is the highest address of an IPv4 prefix.
func broadcast(p netip.Prefix) []byte {
	ip := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		ip[bit/8] |= 0x80 >> (bit % 8)
	}
	return ip[:]
}

// decodeAddress reads the body of an RTM_NEWADDR or RTM_DELADDR: struct ifaddrmsg and attributes.
func decodeAddress(body []byte) (Address, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return Address{}, false
	}
	bits, flags := int(body[1]), uint32(body[2])
	a := Address{Link: int(order.Uint32(body[4:]))}
	var ip, local netip.Addr
	for kind, v := range rtnl.Attributes(body[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_ADDRESS: // the other end's, on a point-to-point link
			ip, _ = netip.AddrFromSlice(v)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_FLAGS:
			flags = rtnl.Uint32(v)
		}
	}
	if local.IsValid() {
		ip = local
	}
	a.Prefix = netip.PrefixFrom(ip, bits)
	a.NoDAD = flags&unix.IFA_F_NODAD != 0
	a.Tentative = flags&unix.IFA_F_TENTATIVE != 0
	a.Failed = flags&unix.IFA_F_DADFAILED != 0
	return a, a.Prefix.IsValid()
}
