package link_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

func TestCreateBridge(t *testing.T) {
	n := nstest.New(t)
	c := dial(t, n)
	made, err := c.CreateBridge(link.Bridge{Name: "br0", MAC: bridgeMAC, MTU: 1400})
	check(t, err)

	got := ipLinks(n)["br0"]
	switch d := got.Info.Data; {
	case got.Info.Kind != "bridge", got.Address != bridgeMAC.String(), got.MTU != 1400, got.flag("UP"):
		t.Errorf("bridge is %+v", got)
	case d.ForwardDelay != 0, d.STP != 0, d.VLANFiltering != 0, d.Snooping != 0, d.NoLLLearn != 1, d.AgeingTime != 30000:
		t.Errorf("bridge has the settings %+v", d)
	case got.Group != "1651663975":
		t.Errorf("bridge is in group %s", got.Group)
	}
	want := link.Link{
		Index: got.Index, Name: "br0", Kind: "bridge", MAC: bridgeMAC, MTU: 1400,
		Group: link.Group, PeerNetNS: -1, NoLinkLocalLearn: true,
	}
	if made != want {
		t.Errorf("CreateBridge returned %+v, want %+v", made, want)
	}
	if !made.Ours() {
		t.Error("the bridge is not ours")
	}

	check(t, c.SetUp(made.Index))
	if !ipLinks(n)["br0"].flag("UP") {
		t.Error("the bridge is not up")
	}
}

// A bridge's own MAC and MTU stay when ports with lower ones come and go.
func TestBridgeStaysTheSame(t *testing.T) {
	for _, mtu := range []int{1500, 1499, 9000, 68} {
		n := nstest.New(t)
		c := dial(t, n)
		_, err := c.CreateBridge(link.Bridge{Name: "br0", MAC: bridgeMAC, MTU: mtu})
		check(t, err)
		same := func(when string) {
			if got := ipLinks(n)["br0"]; got.Address != bridgeMAC.String() || got.MTU != mtu {
				t.Errorf("%s the bridge has %s and MTU %d, not %d", when, got.Address, got.MTU, mtu)
			}
		}
		same("without ports")
		low := pairOf("bv1", netipAddr("10.0.0.2"))
		low.MAC, low.HostMAC, low.MTU = addr.MAC{2, 0, 0, 0, 0, 1}, addr.MAC{2, 0, 0, 0, 0, 2}, 1300
		_, _, err = c.CreatePair(low, nstest.New(t).FD())
		check(t, err)
		same("with a port")
		check(t, c.Delete("bv1"))
		same("after a port")
	}
}

func TestCreateBridgeRefused(t *testing.T) {
	n := nstest.New(t)
	c := dial(t, n)
	_, err := c.CreateBridge(br0)
	check(t, err)
	before := ipLinks(n)
	for name, tc := range map[string]struct {
		bridge link.Bridge
		errno  error
		says   string
	}{
		"taken":       {br0, unix.EEXIST, "br0"},
		"hardware":    {link.Bridge{Name: "lo", MAC: bridgeMAC}, unix.EEXIST, "lo"},
		"long name":   {link.Bridge{Name: "br-0123456789abc", MAC: bridgeMAC}, unix.EINVAL, "16 bytes"},
		"no name":     {link.Bridge{MAC: bridgeMAC}, unix.EINVAL, "0 bytes"},
		"bad name":    {link.Bridge{Name: "br/0", MAC: bridgeMAC}, unix.EINVAL, "br/0"},
		"no MAC":      {link.Bridge{Name: "br1"}, unix.EINVAL, "MAC"},
		"group MAC":   {link.Bridge{Name: "br1", MAC: addr.MAC{1}}, unix.EADDRNOTAVAIL, "br1"},
		"MTU too low": {link.Bridge{Name: "br1", MAC: bridgeMAC, MTU: 60}, unix.EINVAL, "MTU is 60"},
	} {
		_, err := c.CreateBridge(tc.bridge)
		if !errors.Is(err, tc.errno) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: error %v, want %v and %q", name, err, tc.errno, tc.says)
		}
	}
	if diff := cmp.Diff(before, ipLinks(n)); diff != "" {
		t.Error("something was changed: ", diff)
	}
}
