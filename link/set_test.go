package link_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/addr"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/link"
)

func TestSet(t *testing.T) {
	n, c := host(t)
	index, _, err := c.CreatePair(pairOf("bv1", netipAddr("10.0.0.2")), nstest.New(t).FD())
	check(t, err)
	mac := addr.MAC{2, 3, 4, 5, 6, 7}
	for _, step := range []struct {
		name  string
		do    func() error
		holds func(ipLink) bool
	}{
		{"MTU", func() error { return c.SetMTU(index, 1350) }, func(l ipLink) bool { return l.MTU == 1350 }},
		{"MAC", func() error { return c.SetMAC(index, mac) }, func(l ipLink) bool { return l.Address == mac.String() }},
		{"down", func() error { return c.SetDown(index) }, func(l ipLink) bool { return !l.flag("UP") }},
		{"up", func() error { return c.SetUp(index) }, func(l ipLink) bool { return l.flag("UP") }},
		{"no master", func() error { return c.SetMaster(index, 0, link.Port{}) }, func(l ipLink) bool { return l.Master == "" }},
		{"master", func() error { return c.SetMaster(index, ipLinks(n)["br0"].Index, link.Port{}) }, func(l ipLink) bool {
			return l.Master == "br0" && l.Info.SlaveData.Hairpin && !l.Info.SlaveData.Isolated
		}},
		{"isolated", func() error { return c.SetIsolated(index, true) }, func(l ipLink) bool {
			return l.Info.SlaveData.Hairpin && l.Info.SlaveData.Isolated
		}},
		{"no master, isolated", func() error { return c.SetMaster(index, 0, link.Port{}) }, func(l ipLink) bool { return l.Master == "" }},
		{"isolated at once", func() error { return c.SetMaster(index, ipLinks(n)["br0"].Index, link.Port{Isolated: true}) }, func(l ipLink) bool {
			return l.Master == "br0" && l.flag("UP") && l.Info.SlaveData.Hairpin && l.Info.SlaveData.Isolated
		}},
		{"alias", func() error { return c.SetAlias(index, strings.Repeat("x", link.MaxAlias)) }, func(l ipLink) bool {
			listed, err := c.ByName("bv1")
			return err == nil && l.Alias == strings.Repeat("x", link.MaxAlias) && listed.Alias == l.Alias
		}},
		{"no alias", func() error { return c.SetAlias(index, "") }, func(l ipLink) bool { return l.Alias == "" }},
		{"not isolated", func() error { return c.SetIsolated(index, false) }, func(l ipLink) bool { return !l.Info.SlaveData.Isolated }},
	} {
		check(t, step.do())
		if got := ipLinks(n)["bv1"]; !step.holds(got) {
			t.Errorf("%s: link is %+v", step.name, got)
		}
	}
	for name, err := range map[string]error{
		"up": c.SetUp(4711), "down": c.SetDown(4711), "MTU": c.SetMTU(4711, 1400), "MAC": c.SetMAC(4711, mac), "master": c.SetMaster(4711, 0, link.Port{}), "isolated": c.SetIsolated(4711, true),
		"alias": c.SetAlias(4711, "x"),
	} {
		if !errors.Is(err, unix.ENODEV) {
			t.Errorf("%s of no link: %v", name, err)
		}
	}
	if err := c.SetAlias(index, strings.Repeat("x", link.MaxAlias+1)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an alias that is too long: %v", err)
	}
}
