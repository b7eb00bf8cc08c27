package cni

import (
	"net/netip"
	"strings"

	"github.com/bridged/bridged"
)

// mac is an Ethernet address in a configuration, in any form; "" is none.
type mac bridged.MAC

// UnmarshalText reads an Ethernet address.
func (m *mac) UnmarshalText(text []byte) error { return (*bridged.MAC)(m).UnmarshalText(text) }

// address is an IP address in a configuration, with a prefix length or without; "" is none.
type address netip.Addr

// UnmarshalText reads an address.
func (a *address) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		return nil
	}
	ip, err := parseIP(string(text))
	*a = address(ip)
	return err
}

func (a address) addr() netip.Addr { return netip.Addr(a) }

// prefix is a subnet or a destination in a configuration; "" is none.
type prefix netip.Prefix

// UnmarshalText reads a prefix.
func (p *prefix) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	read, err := netip.ParsePrefix(string(text))
	if err != nil || read.Addr().Is4In6() {
		return bridged.Errorf(bridged.ErrInvalid, "%q is no prefix: want an address and a length, as in 10.1.0.0/16", text)
	}
	*p = prefix(read)
	return nil
}

func (p prefix) prefix() netip.Prefix { return netip.Prefix(p) }

// parseIP reads an address that is asked for, with or without the length of its prefix, which the subnet decides.
func parseIP(text string) (netip.Addr, error) {
	alone, _, long := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(alone)
	if err == nil && long {
		_, err = netip.ParsePrefix(text)
	}
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, bridged.Errorf(bridged.ErrInvalid, "%q is no IP address", text)
	}
	return ip.Unmap(), nil
}
