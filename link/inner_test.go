package link_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

// The first failure is reported by name; the steps behind it run.
func TestConfigureReportsTheFirstFailure(t *testing.T) {
	_, c := host(t)
	s := nstest.New(t)
	_, index, err := c.CreatePair(pairOf("bv1", netipAddr("10.0.0.2")), s.FD())
	check(t, err)
	err = dial(t, s).Configure(link.Inner{
		Index: index, Name: "eth0",
		Addrs:    []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("10.9.0.2/24")},
		Gateways: []netip.Addr{netipAddr("10.77.0.1")},
	})
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "cannot configure eth0: address 10.0.0.2/24: ") {
		t.Errorf("error is %v", err)
	}
	if got := s.Run("ip -4 -o addr show eth0"); !strings.Contains(got, "10.9.0.2/24") {
		t.Errorf("eth0 has %s", got)
	}
}

func TestConfigureRefused(t *testing.T) {
	_, c := host(t)
	s := nstest.New(t)
	_, index, err := c.CreatePair(pairOf("bv1", netipAddr("10.0.0.2")), s.FD())
	check(t, err)
	inner := dial(t, s)
	for name, tc := range map[string]struct {
		in    link.Inner
		errno error
		says  string
	}{
		"gateway out of reach": {
			link.Inner{Index: index, Name: "eth0", Gateways: []netip.Addr{netipAddr("10.77.0.1")}},
			unix.ENETUNREACH, "default route by way of 10.77.0.1",
		},
		"no such link": {link.Inner{Index: 4711, Name: "eth7", IPv6: true}, unix.ENODEV, "eth7"},
	} {
		if err := inner.Configure(tc.in); !errors.Is(err, tc.errno) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error %v, want %v and %q", name, err, tc.errno, tc.says)
		}
	}
}
