package hostcheck_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/bridged/bridged/hostcheck"
	"github.com/bridged/bridged/internal/nstest"
	"github.com/bridged/bridged/nft"
)

// TestProbe: the answers are the same at once and one by one, and agree with what programs of others are allowed to make.
func TestProbe(t *testing.T) {
	nstest.NeedTool(t, "nft")
	n := nstest.New(t)
	var k, slow hostcheck.Kernel
	n.Do(func() {
		var err error
		k, err = hostcheck.Probe(nil)
		check(t, err)
		slow, err = hostcheck.OneByOne()
		check(t, err)
	})
	if diff := gocmp.Diff(k, slow, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("(-at once +one by one):\n%s", diff)
	}
	for name, command := range map[hostcheck.FeatureName]string{
		hostcheck.NFTables:        "nft list ruleset",
		hostcheck.NFTablesInet:    "nft add table inet t ; add chain inet t c { type filter hook forward priority 0 ; }",
		hostcheck.NFTablesBridge:  "nft add table bridge t ; add chain bridge t c { type filter hook prerouting priority -300 ; }",
		hostcheck.Conntrack:       "nft add table inet t ; add chain inet t s ; add rule inet t s ct state new",
		hostcheck.FIB:             "nft add table inet t ; add chain inet t d { type filter hook prerouting priority 0 ; } ; add rule inet t d fib daddr type local",
		hostcheck.NAT:             "nft add table inet t ; add chain inet t n { type nat hook prerouting priority -100 ; } ; add rule inet t n dnat ip to 10.0.0.1",
		hostcheck.Masquerade:      "nft add table inet t ; add chain inet t m { type nat hook postrouting priority 100 ; } ; add rule inet t m masquerade",
		hostcheck.ConcatIntervals: "nft add table inet t ; add set inet t set1 { type ifname . ipv4_addr ; flags interval ; }",
		hostcheck.Bridge:          "ip link add bridge0 type bridge",
		hostcheck.Veth:            "ip link add v1 type veth peer name v2",
		hostcheck.IPv6:            "ip -6 address add fd00::1/64 dev lo",
	} {
		_, err := n.Try(command)
		if f := k.Feature(name); f.Present != (err == nil) {
			t.Errorf("%v, but %q says %v", f, command, err)
		}
	}
	if len(k.Features) != 16 {
		t.Errorf("%d features", len(k.Features))
	}
	for _, f := range k.Features {
		if !strings.HasPrefix(f.Config, "CONFIG_") || f.Since == "" {
			t.Errorf("%s has the option %q since %q", f.Name, f.Config, f.Since)
		}
	}
}

// TestProbeLeavesNothing: no table, no link, and no transaction that anybody could see.
func TestProbeLeavesNothing(t *testing.T) {
	nstest.NeedTool(t, "nft")
	n := nstest.New(t)
	load(t, n, "table inet somebody { }")
	state := func() string {
		return n.Run("nft list ruleset") + n.Run("ip -o link") + n.Run("ip route show table all")
	}
	before := state()
	var generation [2]uint32
	n.Do(func() {
		var err error
		generation[0], err = hostcheck.Generation()
		check(t, err)
		_, err = hostcheck.Probe(nil)
		check(t, err)
		_, err = hostcheck.OneByOne()
		check(t, err)
		generation[1], err = hostcheck.Generation()
		check(t, err)
	})
	if diff := gocmp.Diff(before, state()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if generation[0] != generation[1] {
		t.Errorf("the ruleset's generation was %d and is %d: something was committed", generation[0], generation[1])
	}
}

// TestProbeAbsent: what this kernel does not know, whatever kernel it is, is absent and not an error.
func TestProbeAbsent(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		if err := hostcheck.LinkKind("nosuchkind"); !errors.Is(err, hostcheck.ErrAbsent) {
			t.Errorf("a kind of link that there is not: %v", err)
		}
		unknown := nft.Table{ID: nft.TableID{Family: 99, Name: "t"}, Chains: []nft.Chain{{Name: "c", Hook: &nft.Hook{Type: nft.FilterChain, Point: nft.Forward}}}}
		if err := hostcheck.TryTable(unknown); !errors.Is(err, hostcheck.ErrAbsent) {
			t.Errorf("a family that there is not: %v", err)
		}
		type9 := nft.Table{ID: nft.TableID{Family: nft.Inet, Name: "t"}, Chains: []nft.Chain{{Name: "c", Hook: &nft.Hook{Type: "nosuchtype", Point: nft.Forward}}}}
		if err := hostcheck.TryTable(type9); !errors.Is(err, hostcheck.ErrAbsent) {
			t.Errorf("a chain type that there is not: %v", err)
		}
	})
}

// TestProbeSwitchedOff: IPv6 can be there and off.
func TestProbeSwitchedOff(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		const sysctl = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
		if unix.Access(sysctl, unix.F_OK) != nil {
			t.Skip("this kernel has no IPv6")
		}
		check(t, os.WriteFile(sysctl, []byte("1"), 0))
		k, err := hostcheck.Probe(nil)
		check(t, err)
		f := k.Feature(hostcheck.IPv6)
		if f.Present || !errors.Is(f.Err, hostcheck.ErrAbsent) || !strings.Contains(f.String(), "net/ipv6/conf/all/disable_ipv6 = 1") {
			t.Errorf("got %v", f)
		}
	})
}

// TestProbeDenied: who may not ask is told so, and nothing is called absent.
func TestProbeDenied(t *testing.T) {
	n := nstest.New(t)
	n.Do(func() {
		// Capabilities are a thread's; this one ends with the goroutine.
		done := make(chan error)
		ns := n.FD()
		go func() {
			runtime.LockOSThread()
			err := unix.Setns(ns, unix.CLONE_NEWNET)
			if err == nil {
				err = withoutCapabilities()
			}
			if err == nil {
				_, err = hostcheck.Probe(nil)
			}
			done <- err
		}()
		if err := <-done; !errors.Is(err, unix.EPERM) || errors.Is(err, hostcheck.ErrAbsent) {
			t.Errorf("got %v", err)
		}
	})
}

// withoutCapabilities gives up all of the thread's.
func withoutCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capset(&header, &data[0])
}

// TestWithout: tests of others can take a feature away; a caller is told what is missing, as the kernel's configuration calls it.
func TestWithout(t *testing.T) {
	everything := hostcheck.Ask(func(hostcheck.FeatureName) error { return nil })
	k, err := everything.Without(hostcheck.NFTablesBridge, hostcheck.IPv6).Kernel()
	check(t, err)
	if k.Has(hostcheck.NFTablesBridge) || k.Has(hostcheck.IPv6) || !k.Has(hostcheck.FIB) {
		t.Errorf("got %v", k.Features)
	}
	if missing := k.Missing(); len(missing) != 2 || missing[0].Name != hostcheck.NFTablesBridge || missing[1].Name != hostcheck.IPv6 {
		t.Errorf("missing are %v", missing)
	}
	if err := k.Require(hostcheck.FIB, hostcheck.NAT); err != nil {
		t.Errorf("required what is there: %v", err)
	}
	err = k.Require(hostcheck.FIB, hostcheck.NFTablesBridge)
	const want = "no nf_tables family bridge, which CONFIG_NF_TABLES_BRIDGE brings since Linux 3.13: the kernel does not have it: left out"
	if err == nil || err.Error() != want || !errors.Is(err, hostcheck.ErrAbsent) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	err = k.Require(hostcheck.IPv6, hostcheck.NFTablesBridge)
	if err == nil || !strings.Contains(err.Error(), "CONFIG_IPV6") || !strings.Contains(err.Error(), "; no nf_tables family bridge") {
		t.Errorf("got %v", err)
	}
	if (hostcheck.Kernel{}).Has(hostcheck.FIB) {
		t.Error("a kernel that was not asked has something")
	}

	failure := errors.New("out of order")
	k, err = hostcheck.Ask(func(hostcheck.FeatureName) error { return failure }).Kernel()
	if !errors.Is(err, failure) || len(k.Missing()) != len(k.Features) {
		t.Errorf("got %v, missing %v", err, k.Missing())
	}
}

func BenchmarkProbe(b *testing.B) {
	n := nstest.New(b)
	n.Do(func() {
		for b.Loop() {
			if _, err := hostcheck.Probe(nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
