package ipam_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/bridged/bridged/ipam"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		prefix, rng, gateway string
		aux                  map[string]netip.Addr
		want                 string
	}{
		{"", "", "", nil, "a subnet is needed"},
		{"127.0.0.0/16", "", "", nil, "subnet 127.0.0.0/16 can't be used: 127.0.0.0/8 are loopback addresses"},
		{"224.1.0.0/16", "", "", nil, "multicast"},
		{"0.0.0.0/0", "", "", nil, "can't be used"},
		{"fe80::/64", "", "", nil, "link-local"},
		{"::ffff:10.0.0.0/112", "", "", nil, "IPv4 addresses in IPv6 form"},
		{"10.0.0.0/16", "10.1.0.0/24", "", nil, "range 10.1.0.0/24 is outside the subnet 10.0.0.0/16"},
		{"10.0.0.0/16", "10.0.0.0/8", "", nil, "range 10.0.0.0/8 is outside the subnet 10.0.0.0/16"},
		{"10.0.0.0/16", "fd00::/64", "", nil, "range fd00::/64 is outside"},
		{"10.0.0.0/16", "", "10.1.0.1", nil, "gateway 10.1.0.1 is outside the subnet 10.0.0.0/16"},
		{"10.0.0.0/16", "", "fd00::1", nil, "gateway fd00::1 is outside the subnet 10.0.0.0/16"},
		{"10.0.0.0/16", "", "10.0.0.0", nil, "gateway 10.0.0.0 is the network address of 10.0.0.0/16"},
		{"10.0.0.0/16", "", "10.0.255.255", nil, "gateway 10.0.255.255 is the broadcast address of 10.0.0.0/16"},
		{"fd00::/64", "", "fd00::", nil, "gateway fd00:: is the subnet-router anycast address of fd00::/64"},
		{"10.0.0.0/16", "", "", map[string]netip.Addr{"dns": addr("10.9.0.1")}, "auxiliary address dns 10.9.0.1 is outside"},
		{"10.0.0.0/16", "", "10.0.0.1", map[string]netip.Addr{"dns": addr("10.0.0.1")}, "auxiliary address dns 10.0.0.1 is the gateway's"},
		{"10.0.0.0/16", "", "", map[string]netip.Addr{"a": addr("10.0.0.2"), "b": addr("10.0.0.2")}, "a and b are both 10.0.0.2"},
	} {
		_, err := ipam.New(ipam.Config{Prefix: prefix(tt.prefix), Range: prefix(tt.rng), Gateway: addr(tt.gateway), Aux: tt.aux})
		if !errors.Is(err, ipam.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New(%q, range %q, gateway %q) = %v, want %q", tt.prefix, tt.rng, tt.gateway, err, tt.want)
		}
	}
}

func TestDefaultGateway(t *testing.T) {
	for _, tt := range []struct {
		prefix, rng string
		aux         string
		want        string
	}{
		{"192.168.1.0/24", "", "", "192.168.1.1"},
		{"192.168.1.77/24", "", "", "192.168.1.1"},
		{"192.168.1.0/24", "", "192.168.1.1", "192.168.1.2"},
		{"172.28.0.0/16", "172.28.5.0/24", "", "172.28.5.0"},
		{"172.28.0.0/16", "172.28.0.0/24", "", "172.28.0.1"},
		{"10.0.0.6/31", "", "", "10.0.0.6"},
		{"10.0.0.6/32", "", "", "10.0.0.6"},
		{"10.0.0.6/32", "", "10.0.0.6", ""},
		{"fd00::/64", "", "", "fd00::1"},
		{"fd00::2/127", "", "", "fd00::2"},
		{"fd00::9/128", "", "", "fd00::9"},
		{"255.255.255.254/32", "", "", "255.255.255.254"},
		{"10.0.0.0/24", "10.9.0.0/24", "", ""},
		{"", "", "", ""},
	} {
		c := ipam.Config{Prefix: prefix(tt.prefix), Range: prefix(tt.rng)}
		if tt.aux != "" {
			c.Aux = map[string]netip.Addr{"x": addr(tt.aux)}
		}
		if got := ipam.DefaultGateway(c); got != addr(tt.want) {
			t.Errorf("DefaultGateway(%q, range %q, aux %q) = %v, want %q", tt.prefix, tt.rng, tt.aux, got, tt.want)
		}
	}
}

func TestFirstHost(t *testing.T) {
	for p, want := range map[string]string{
		"10.1.2.3/24": "10.1.2.1", "10.1.2.2/30": "10.1.2.1", "10.1.2.3/31": "10.1.2.2", "10.1.2.3/32": "10.1.2.3",
		"fd00::5/64": "fd00::1", "fd00::5/127": "fd00::4", "fd00::5/128": "fd00::5",
	} {
		if got := ipam.FirstHost(prefix(p)); got != addr(want) {
			t.Errorf("FirstHost(%s) = %v, want %s", p, got, want)
		}
	}
}
