package link_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

// List says what ip says, of links of ours and of others.
func TestListAgreesWithIP(t *testing.T) {
	n, c := host(t)
	sandbox(t, c, "bv1", "10.0.0.2/24", "fd00::2/64")
	sandbox(t, c, "bv2", "10.0.0.3/24")
	n.Run("ip link add name foreign type bridge")
	n.Run("ip link add name here type veth peer name there")
	n.Run("ip link set there master foreign")
	awaitForwarding(t, n, c, "bv1", "bv2")

	list, err := c.List()
	check(t, err)
	want := ipLinks(n)
	if len(list) != len(want) {
		t.Errorf("List has %d links, ip %d", len(list), len(want))
	}
	for _, l := range list {
		w := want[l.Name]
		nsid := -1
		if w.LinkNSID != nil {
			nsid = *w.LinkNSID
		}
		if l.Index != w.Index || l.MTU != w.MTU || l.Kind != w.Info.Kind || l.Up != w.flag("UP") || l.Running != w.flag("LOWER_UP") ||
			l.PeerNetNS != nsid || l.Ours() != (w.Group == "1651663975") || l.Hairpin != w.Info.SlaveData.Hairpin ||
			l.Forwarding != (w.Info.SlaveData.State == "forwarding" && w.State == "UP") || l.NoLinkLocalLearn != (w.Info.Data.NoLLLearn == 1) {
			t.Errorf("List has %+v, ip %+v", l, w)
		}
		if w.Master != "" && l.Master != want[w.Master].Index {
			t.Errorf("%s has the master %d, want %s (%d)", l.Name, l.Master, w.Master, want[w.Master].Index)
		}
		if w.Address != "00:00:00:00:00:00" && l.MAC.String() != w.Address {
			t.Errorf("%s has the MAC %v, want %s", l.Name, l.MAC, w.Address)
		}
		if w.LinkIndex != 0 && l.PeerIndex != w.LinkIndex { // ip prints a name when the peer is here
			t.Errorf("%s has the peer %d, want %d", l.Name, l.PeerIndex, w.LinkIndex)
		}
		byName, err := c.ByName(l.Name)
		if err != nil || byName != l {
			t.Errorf("ByName returns %+v, %v; List has %+v", byName, err, l)
		}
	}
}

func TestByNameMissing(t *testing.T) {
	c := dial(t, nstest.New(t))
	if _, err := c.ByName("bv9"); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "bv9") {
		t.Errorf("error is %v", err)
	}
	if _, err := c.ByName("a-name-that-is-too-long"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error is %v", err)
	}
	if l, err := c.ByName("lo"); err != nil || l.Ours() || l != (link.Link{Index: 1, Name: "lo", MTU: 65536, PeerNetNS: -1}) {
		t.Errorf("lo is %+v, %v", l, err)
	}
}
