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

	OptionDefaultBridge   = "com.docker.network.bridge.default_bridge"
	OptionGatewayMode4    = "com.docker.network.bridge.gateway_mode_ipv4"
	OptionGatewayMode6    = "com.docker.network.bridge.gateway_mode_ipv6"
	OptionInhibitIPv4     = "com.docker.network.bridge.inhibit_ipv4"
	OptionTrusted         = "com.docker.network.bridge.trusted_host_interfaces"
	OptionInterfacePrefix = "com.docker.network.container_iface_prefix"
	OptionSource4         = "com.docker.network.host_ipv4"
	OptionSource6         = "com.docker.network.host_ipv6"
	OptionAllowOverlap    = "bridged.allow-overlap"
)

// optionNamespaces are the prefixes of keys that are ours to know: an unknown one there is an error. Others are kept and mean
// nothing.
var optionNamespaces = []string{"com.docker.network.bridge.", "bridged."}

// options are the known keys, and what each sets.
var options = map[string]func(n *Network, value string) error{
	OptionICC:         func(n *Network, v string) error { return setBool(&n.ICC, v) },
	OptionMasquerade:  func(n *Network, v string) error { return setBool(&n.Masquerade, v) },
	OptionSourceGuard: func(n *Network, v string) error { return setBool(&n.SourceGuard, v) },
	OptionBridgeName: func(n *Network, v string) error {
		n.Bridge = v
		return CheckBridgeName(v)
	},
	OptionDefaultBridge: func(_ *Network, v string) error {
		var is bool
		if err := setBool(&is, v); err != nil {
			return err
		}
		if is {
			return Errorf(ErrInvalid, "the default network is there from the start")
		}
		return nil
	},
	OptionGatewayMode4: func(n *Network, v string) error { return setGateway(&n.Gateway4, v) },
	OptionGatewayMode6: func(n *Network, v string) error { return setGateway(&n.Gateway6, v) },
	OptionInhibitIPv4:  func(n *Network, v string) error { return setBool(&n.InhibitIPv4, v) },
	OptionAllowOverlap: func(n *Network, v string) error { return setBool(&n.AllowOverlap, v) },
	OptionTrusted: func(n *Network, v string) error {
		n.Trusted = strings.Split(v, ":")
		for _, name := range n.Trusted {
			if err := CheckLinkName(name); err != nil {
				return err
			}
		}
		return nil
	},
	OptionInterfacePrefix: func(n *Network, v string) error {
		n.InterfacePrefix = v
		if err := CheckLinkName(v + "0000"); err != nil {
			return Errorf(ErrInvalid, "interface names begin with it, and end with a number of up to four digits: %w", err)
		}
		return nil
	},
	OptionSource4: func(n *Network, v string) error { return setSource(&n.Source4, v, "IPv4", netip.Addr.Is4) },
	OptionSource6: func(n *Network, v string) error { return setSource(&n.Source6, v, "IPv6", netip.Addr.Is6) },
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

func setGateway(field *GatewayMode, value string) error {
	modes := []GatewayMode{GatewayNAT, GatewayUnprotected, GatewayRouted, GatewayIsolated}
	if !slices.Contains(modes, GatewayMode(value)) {
		return Errorf(ErrInvalid, "it must be one of %v", modes)
	}
	*field = GatewayMode(value)
	return nil
}

func setSource(field *netip.Addr, value, family string, is func(netip.Addr) bool) error {
	ip, err := netip.ParseAddr(value)
	if err != nil || !is(ip) || ip.Zone() != "" || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
		return Errorf(ErrInvalid, "it must be an %s address of the host", family)
	}
	*field = ip
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

// SetOptions sets what the options say. A key of ours or of Docker's bridge driver that is unknown is an error; keys of others are
// kept.
func (n *Network) SetOptions(values map[string]string) error {
	for _, key := range sortedKeys(values) {
		set, ok := options[key]
		switch {
		case ok:
		case slices.ContainsFunc(optionNamespaces, func(prefix string) bool { return strings.HasPrefix(key, prefix) }):
			return Errorf(ErrInvalid, "unknown network option %q: use one of %s", key, strings.Join(sortedKeys(options), ", "))
		default:
			continue
		}
		if err := set(n, values[key]); err != nil {
			return Errorf(ErrInvalid, "invalid network option %s=%s: %w", key, values[key], err)
		}
	}
	n.Options = values
	return n.checkGateways()
}

// checkGateways refuses options that don't go together.
func (n *Network) checkGateways() error {
	for _, f := range []struct {
		mode   GatewayMode
		source netip.Addr
		key    string
	}{{n.Gateway4, n.Source4, OptionGatewayMode4}, {n.Gateway6, n.Source6, OptionGatewayMode6}} {
		switch {
		case f.mode == GatewayIsolated && !n.Internal:
			return Errorf(ErrInvalid, "invalid network option %s=%s: only an internal network can be isolated from its host", f.key, f.mode)
		case f.mode == GatewayRouted && f.source.IsValid():
			return Errorf(ErrInvalid, "invalid network option %s=%s: routed packets keep their source address, so it can't be %s", f.key, f.mode, f.source)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
