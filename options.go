package bridged

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Option keys of the bridge driver, as Docker's users know them, and our own.
const (
	OptionICC         = "com.docker.network.bridge.enable_icc"
	OptionMasquerade  = "com.docker.network.bridge.enable_ip_masquerade"
	OptionHostBinding = "com.docker.network.bridge.host_binding_ipv4"
	OptionBridgeName  = "com.docker.network.bridge.name"
	OptionMTU         = "com.docker.network.driver.mtu"
	OptionSourceGuard = "bridged.source-guard"
)

// options are the known keys, and what each sets.
var options = map[string]func(n *Network, value string) error{
	OptionICC:         func(n *Network, v string) error { return setBool(&n.ICC, v) },
	OptionMasquerade:  func(n *Network, v string) error { return setBool(&n.Masquerade, v) },
	OptionSourceGuard: func(n *Network, v string) error { return setBool(&n.SourceGuard, v) },
	OptionBridgeName: func(n *Network, v string) error {
		n.Bridge = v
		return CheckBridgeName(v)
	},
	OptionHostBinding: func(n *Network, v string) error {
		ip, err := netip.ParseAddr(v)
		if err != nil || !ip.Is4() {
			return Errorf(ErrInvalid, "it must be an IPv4 address")
		}
		n.HostIP = ip
		return nil
	},
	OptionMTU: func(n *Network, v string) error {
		mtu, err := strconv.Atoi(v)
		if err != nil {
			return Errorf(ErrInvalid, "it must be a number of bytes")
		}
		n.MTU = mtu
		return CheckMTU(mtu)
	},
}

func setBool(field *bool, value string) error {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return Errorf(ErrInvalid, "it must be true or false")
	}
	*field = b
	return nil
}

// CheckMTU says whether a bridge can have this MTU, in bytes: 68 is the least for IPv4 (RFC 791), 65535 the most of the kernel's
// bridges and veth pairs.
func CheckMTU(mtu int) error {
	if mtu < 68 || mtu > 65535 {
		return Errorf(ErrInvalid, "invalid MTU %d: it must be from 68 to 65535", mtu)
	}
	return nil
}

// SetOptions sets what the options say. An unknown key is an error.
func (n *Network) SetOptions(values map[string]string) error {
	for key, value := range values {
		set, ok := options[key]
		if !ok {
			return Errorf(ErrInvalid, "unknown network option %q: use one of %s", key, strings.Join(optionKeys(), ", "))
		}
		if err := set(n, value); err != nil {
			return Errorf(ErrInvalid, "invalid network option %s=%s: %w", key, value, err)
		}
	}
	n.Options = values
	return nil
}

func optionKeys() []string {
	var keys []string
	for k := range options {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
