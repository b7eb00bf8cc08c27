package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/bridged/bridged"
)

// flagValue is a flag whose text is parsed into *target. An error of parse says what was expected; pflag puts the flag and
// the value before it.
type flagValue[T any] struct {
	target *T
	parse  func(string) (T, error)
	kind   string // the word for the value in --help
	text   string
}

func (v *flagValue[T]) String() string { return v.text }
func (v *flagValue[T]) Type() string   { return v.kind }

func (v *flagValue[T]) Set(text string) (err error) {
	parsed, err := v.parse(text)
	if err == nil {
		*v.target, v.text = parsed, text
	}
	return err
}

// flagList is a flag that can be given several times.
type flagList[T any] struct {
	target *[]T
	parse  func(string) (T, error)
	kind   string
}

func (v *flagList[T]) String() string { return "" }
func (v *flagList[T]) Type() string   { return v.kind }

func (v *flagList[T]) Set(text string) error {
	parsed, err := v.parse(text)
	if err == nil {
		*v.target = append(*v.target, parsed)
	}
	return err
}

// repeatable marks it for a configuration file, where its values are a list.
func (v *flagList[T]) repeatable() {}

// one adds a flag with a value to parse.
func one[T any](flags *pflag.FlagSet, target *T, name, kind string, parse func(string) (T, error), help string) {
	flags.Var(&flagValue[T]{target: target, parse: parse, kind: kind}, name, help)
}

// many adds a flag that can be given several times; short may be "".
func many[T any](flags *pflag.FlagSet, target *[]T, name, short, kind string, parse func(string) (T, error), help string) {
	flags.VarP(&flagList[T]{target: target, parse: parse, kind: kind}, name, short, help)
}

// parseSubnet reads a CIDR of either family, masked.
func parseSubnet(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("want an address and a prefix length, as in 192.168.1.0/24 or fd00:1::/64")
	}
	return p.Masked(), nil
}

// parseIP reads an address of either family.
func parseIP(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("want an IP address, as 192.168.1.1 or fd00:1::1")
	}
	return a.Unmap(), nil
}

func parseIPv4(text string) (netip.Addr, error) {
	a, err := parseIP(text)
	if err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf("want an IPv4 address, as 172.17.0.5")
	}
	return a, nil
}

func parseIPv6(text string) (netip.Addr, error) {
	a, err := parseIP(text)
	if err != nil || !a.Is6() {
		return netip.Addr{}, fmt.Errorf("want an IPv6 address, as fd00:1::5")
	}
	return a, nil
}

// parseInterfaceCIDR reads an interface's address with its prefix length, not masked: a host's address in a subnet
// that has room for others.
func parseInterfaceCIDR(text string, is func(netip.Addr) bool, example string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	a := p.Addr()
	switch {
	case err != nil || !is(a) || a.Is4In6():
		return netip.Prefix{}, fmt.Errorf("want an address and a prefix length, as in %s", example)
	case a.BitLen()-p.Bits() < 2:
		return netip.Prefix{}, fmt.Errorf("want a subnet with room for others, as in %s: /%d has none", example, p.Bits())
	case a == p.Masked().Addr():
		return netip.Prefix{}, fmt.Errorf("want the bridge's own address, as in %s: %s is the network's address", example, a)
	case a.Is4() && !p.Contains(a.Next()):
		return netip.Prefix{}, fmt.Errorf("want the bridge's own address, as in %s: %s is the broadcast address", example, a)
	case a.IsLoopback() || a.IsMulticast():
		return netip.Prefix{}, fmt.Errorf("want an address that an interface can have, as in %s", example)
	}
	return p, nil
}

// parseSubnetOf reads a masked CIDR of one family.
func parseSubnetOf(is func(netip.Addr) bool, example string) func(string) (netip.Prefix, error) {
	return func(text string) (netip.Prefix, error) {
		p, err := parseSubnet(text)
		if err != nil || !is(p.Addr()) {
			return netip.Prefix{}, fmt.Errorf("want an address and a prefix length, as in %s", example)
		}
		return p, nil
	}
}

// pair is a flag's KEY=VALUE.
type pair struct{ key, value string }

func parsePair(text string) (pair, error) {
	key, value, _ := strings.Cut(text, "=")
	if key == "" {
		return pair{}, fmt.Errorf("want KEY=VALUE")
	}
	return pair{key, value}, nil
}

// pairs are the keys and values as a map; of a key that came twice the last.
func pairs(list []pair) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string, len(list))
	for _, p := range list {
		m[p.key] = p.value
	}
	return m
}

// named is a flag's NAME=IP.
type named struct {
	name string
	addr netip.Addr
}

func parseNamed(text string) (named, error) {
	name, value, _ := strings.Cut(text, "=")
	a, err := parseIP(value)
	if name == "" || err != nil {
		return named{}, fmt.Errorf("want NAME=IP, as printer=192.168.1.9")
	}
	return named{name, a}, nil
}

// parseMAC reads an Ethernet address, and gives it back as text.
func parseMAC(text string) (string, error) {
	mac, err := bridged.ParseMAC(text)
	if err != nil {
		return "", fmt.Errorf("want six hex bytes, as 02:42:ac:11:00:02")
	}
	return mac.String(), nil
}

// parsePublish checks a port specification, and gives it back as it is.
func parsePublish(text string) (string, error) {
	_, err := bridged.ParsePortSpec(text)
	return text, err
}

// parseOneOf accepts one of some words.
func parseOneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		for _, w := range words {
			if text == w {
				return text, nil
			}
		}
		return "", fmt.Errorf("want one of %s", strings.Join(words, ", "))
	}
}
