package bridged

import (
	"net/netip"
	"slices"
	"strings"
)

// PoolSpec asks for a subnet to be kept for a caller that manages addresses with us. What is left zero is chosen.
type PoolSpec struct {
	// Prefix is the subnet; the zero Prefix: the next one that is free, as for a network without a subnet.
	Prefix netip.Prefix
	// Range is the part of Prefix that addresses are given out of; the zero Prefix: all of it.
	Range netip.Prefix
	// IPv6: the subnet that is chosen is an IPv6 one.
	IPv6 bool
}

// Reservation is a subnet that is kept for a caller: no other network gets it, and its addresses are given out one by one. A network that
// is made with just its Prefix takes it as its own, and both give out the same addresses. A Reservation is not changed in place.
type Reservation struct {
	// ID says what the reservation is, as [ReservationID] does.
	ID string
	// Prefix and Range are those of the PoolSpec, masked.
	Prefix, Range netip.Prefix
	// Lasting are the addresses that were given out before a network had the subnet, in their order: gateways and auxiliary ones, which
	// outlive a boot as the reservation does.
	Lasting []netip.Addr `json:",omitempty"`
}

// ReservationID is as "10.77.0.0/24", and with a range as "10.77.0.0/24,10.77.0.128/25".
func ReservationID(prefix, part netip.Prefix) string {
	if !part.IsValid() {
		return prefix.Masked().String()
	}
	return prefix.Masked().String() + "," + part.Masked().String()
}

// ParseReservationID reads what ReservationID wrote, and nothing else.
func ParseReservationID(id string) (prefix, part netip.Prefix, err error) {
	first, second, ranged := strings.Cut(id, ",")
	prefix, err = netip.ParsePrefix(first)
	if err == nil && ranged {
		part, err = netip.ParsePrefix(second)
	}
	if err != nil || ReservationID(prefix, part) != id {
		return netip.Prefix{}, netip.Prefix{}, Errorf(ErrInvalid, "invalid pool id %.100q: want one as 10.77.0.0/24 or 10.77.0.0/24,10.77.0.128/25", id)
	}
	return prefix, part, nil
}

// IPv6 reports whether the subnet is an IPv6 one.
func (r Reservation) IPv6() bool { return r.Prefix.Addr().Is6() }

// Lasts reports whether the address is one of the lasting ones.
func (r Reservation) Lasts(a netip.Addr) bool { return slices.Contains(r.Lasting, a) }

// PoolAddr is an address of a reservation.
type PoolAddr struct {
	Pool string // id
	Addr netip.Addr
}

// MarshalText is as "10.77.0.0/24 10.77.0.2".
func (p PoolAddr) MarshalText() ([]byte, error) { return []byte(p.Pool + " " + p.Addr.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *PoolAddr) UnmarshalText(text []byte) error {
	pool, address, _ := strings.Cut(string(text), " ")
	a, err := netip.ParseAddr(address)
	if err != nil {
		return Errorf(ErrInvalid, "invalid address of a pool %q: %w", text, err)
	}
	*p = PoolAddr{Pool: pool, Addr: a}
	return nil
}

// Reserved is what is known of an address that was given out in this boot: nothing more than that.
type Reserved struct{}
