package bridged

import (
	"net/netip"
	"strings"
)

// State is everything that was asked for, as values: what package engine makes true, and package store keeps. The zero
// State is a host without networks.
type State struct {
	Networks  map[string]Network  // by id
	Sandboxes map[string]Sandbox  // by id
	Endpoints map[string]Endpoint // by id
	Ports     map[Binding]Port
	Links     map[LinkID]Link
	// Forwarding: the families whose forwarding we switched on ourselves.
	Forwarding Forwarding
	// Reservations are subnets that are kept for callers who manage addresses with us, by id; Reserved are the addresses of them that were
	// given out.
	Reservations map[string]Reservation
	Reserved     map[PoolAddr]Reserved
	// Pools are the histories of the networks' and the reservations' addresses.
	Pools map[PoolID]Pool
}

// Forwarding says for which families the daemon switched IP forwarding on itself, in this boot: for these the host must not
// become a router between interfaces that are not ours.
type Forwarding struct {
	IPv4, IPv6 bool
}

// PoolID names one family of a network, or a reservation.
type PoolID struct {
	Network string // id, or that of a reservation
	IPv6    bool
}

// MarshalText is the network's id with the suffix "/4" or "/6".
func (p PoolID) MarshalText() ([]byte, error) {
	if p.IPv6 {
		return []byte(p.Network + "/6"), nil
	}
	return []byte(p.Network + "/4"), nil
}

// UnmarshalText reads what MarshalText wrote.
func (p *PoolID) UnmarshalText(text []byte) error {
	end := strings.LastIndexByte(string(text), '/')
	if end < 0 || string(text[end:]) != "/4" && string(text[end:]) != "/6" {
		return Errorf(ErrInvalid, "invalid pool id %q", text)
	}
	*p = PoolID{Network: string(text[:end]), IPv6: string(text[end:]) == "/6"}
	return nil
}

// Pool is the history of a network's addresses in one family: a new endpoint gets the lowest one never given out, and
// when there is none, the one that has been free longest.
type Pool struct {
	// Next is the lowest address never given out (addresses from there on may still have been asked for by name). The zero
	// Addr: none was given out yet.
	Next netip.Addr
	// Freed are the addresses given back, the one that is free longest first.
	Freed []netip.Addr
}

// Clone is a deep enough copy: the maps are new, the values are shared, and values are never changed in place.
func (s State) Clone() State {
	return State{
		Networks:   cloneMap(s.Networks),
		Sandboxes:  cloneMap(s.Sandboxes),
		Endpoints:  cloneMap(s.Endpoints),
		Ports:      cloneMap(s.Ports),
		Links:      cloneMap(s.Links),
		Forwarding: s.Forwarding,

		Reservations: cloneMap(s.Reservations),
		Reserved:     cloneMap(s.Reserved),
		Pools:        cloneMap(s.Pools),
	}
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}
