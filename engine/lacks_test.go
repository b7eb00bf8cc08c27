package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bridged/bridged"
	"github.com/bridged/bridged/forwarding"
	"github.com/bridged/bridged/hostcheck"
)

// fakeWithout is a host whose kernel lacks a feature.
func fakeWithout(features ...hostcheck.FeatureName) *fakeHost {
	h := newFakeHost()
	h.lacks = features
	return h
}

// wantUnavailable holds an error against its kind and what it must say.
func wantUnavailable(t *testing.T, what string, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, bridged.ErrUnavailable) {
		t.Errorf("%s: %v, want it refused as unavailable", what, err)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %q does not say %q", what, err, s)
		}
	}
}

// wantWarning holds the status against a part of one of its warnings; "" wants none at all.
func wantWarning(t testing.TB, e *Engine, part string) {
	t.Helper()
	warnings := e.Status().Warnings
	if part == "" && len(warnings) > 0 || part != "" && !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, part) }) {
		t.Errorf("the status warns %q, want %q", warnings, part)
	}
}

// TestNoProgram: without what the program needs, the start is refused by name, and nothing was changed. With everything it is not.
func TestNoProgram(t *testing.T) {
	for feature, config := range map[hostcheck.FeatureName]string{
		hostcheck.NFTablesInet: "CONFIG_NF_TABLES_INET", hostcheck.Bridge: "CONFIG_BRIDGE", hostcheck.Veth: "CONFIG_VETH",
		hostcheck.Conntrack: "CONFIG_NFT_CT", hostcheck.FIB: "CONFIG_NFT_FIB_INET", hostcheck.NAT: "CONFIG_NFT_NAT",
		hostcheck.Masquerade: "CONFIG_NFT_MASQ", hostcheck.ConcatIntervals: "5.6", hostcheck.ElementCounters: "5.7",
		hostcheck.ElementLimits: "CONFIG_NFT_LIMIT",
	} {
		t.Run(string(feature), func(t *testing.T) {
			h, cfg := fakeWithout(feature), testConfig(t)
			e := openFake(t, cfg, h)
			wantUnavailable(t, "the start", e.Run(t.Context()), string(feature), config)
			if h.steps != 0 || len(e.State().Networks) != 0 {
				t.Errorf("the refused start made %d steps and %d networks", h.steps, len(e.State().Networks))
			}
			h.lacks = nil
			e, stop := startFake(t, cfg, h)
			defer stop()
			checkKernel(t, e, h)
		})
	}
}

// TestProbeOnlyWhenItMatters: the kernel is asked when a table must be written, and only then.
func TestProbeOnlyWhenItMatters(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	for i, want := range []int{1, 1, 2} {
		if i == 2 {
			h.objects.tables = h.objects.tables[:1] // somebody deleted the other one
		}
		e, stop := startFake(t, cfg, h)
		if h.probes != want {
			t.Errorf("start %d: the kernel was asked %d times, want %d", i+1, h.probes, want)
		}
		checkKernel(t, e, h)
		wantWarning(t, e, "")
		stop()
	}
	h, cfg = newFakeHost(), testConfig(t)
	cfg.NoFirewall, cfg.FirewallFlag = true, "iptables"
	e, stop := startFake(t, cfg, h)
	defer stop()
	if h.probes != 0 {
		t.Errorf("without a packet filter the kernel was asked %d times", h.probes)
	}
	if by := e.Status().ICCBy; by != "none" {
		t.Errorf("without a packet filter, siblings are kept apart by %q", by)
	}
}

// TestNoBridgeFamily: no table, no elements for it, isolated ports on networks without ICC, and no promise of a source guard.
func TestNoBridgeFamily(t *testing.T) {
	const config = "CONFIG_NF_TABLES_BRIDGE"
	h, cfg := fakeWithout(hostcheck.NFTablesBridge), testConfig(t)
	e, stop := startFake(t, cfg, h)
	ctx := t.Context()
	wantWarning(t, e, config)
	if by := e.Status().ICCBy; by != "isolated ports" {
		t.Errorf("siblings are kept apart by %q", by)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "open"}); err != nil {
		t.Fatal(err)
	}
	linkedPair(t, e)
	checkKernel(t, e, h)
	isolated := func() (names []string) {
		for _, s := range e.Sandboxes() {
			if h.objects.pairs[s.Joined[0].Endpoint.HostInterface].Isolated {
				names = append(names, s.Name)
			}
		}
		return names
	}
	if got := strings.Join(isolated(), " "); got != "a b" {
		t.Errorf("isolated are %q, want those of the network without ICC", got)
	}
	for el := range h.objects.elements {
		if el.Set.Table == forwarding.Bridge {
			t.Errorf("an element for a table that is not there: %v", el)
		}
	}

	guarded := bridged.NetworkSpec{Name: "guarded", Options: map[string]string{bridged.OptionSourceGuard: "true"}}
	_, _, err := e.CreateNetwork(ctx, guarded)
	wantUnavailable(t, "a source guard that was asked for", err, bridged.OptionSourceGuard, config)
	unguarded := bridged.NetworkSpec{Name: "unguarded", Options: map[string]string{bridged.OptionSourceGuard: "false"}}
	if _, _, err := e.CreateNetwork(ctx, unguarded); err != nil {
		t.Error(err)
	}

	// ICC of the default network, off and on again: the flag changes its ports.
	for _, step := range []struct {
		icc  bool
		want string
	}{{false, "a b open"}, {true, "a b"}} {
		stop()
		cfg.ICC = step.icc
		e, stop = startFake(t, cfg, h)
		checkKernel(t, e, h)
		if got := strings.Join(isolated(), " "); got != step.want {
			t.Errorf("with --icc=%t isolated are %q, want %q", step.icc, got, step.want)
		}
	}
	stop()
}

// TestIsolatedPortsOrBridgeFilter: isolated ports keep siblings from ports that one of them publishes when br_netfilter is on, so a network
// without ICC is refused then, saying what to do; one that there was is joined by nobody.
func TestIsolatedPortsOrBridgeFilter(t *testing.T) {
	apart := bridged.NetworkSpec{Name: "apart", Options: map[string]string{bridged.OptionICC: "false"}}
	h, cfg := fakeWithout(hostcheck.NFTablesBridge), testConfig(t)
	ctx := t.Context()
	e, stop := startFake(t, cfg, h)
	if _, _, err := e.CreateNetwork(ctx, apart); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "before", Network: "apart"}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"joined", "lease"} {
		allocateOn(t, e, key, "apart")
	}
	if _, _, err := e.JoinInterface(ctx, "joined"); err != nil {
		t.Fatal(err)
	}
	stop()

	h.bridgeFilter = true
	e, stop = startFake(t, cfg, h)
	wantWarning(t, e, "nobody can join network apart")
	if !h.objects.pairs[e.Sandboxes()[0].Joined[0].Endpoint.HostInterface].Isolated {
		t.Error("what was kept apart is open")
	}
	_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "after", Network: "apart"})
	wantUnavailable(t, "a sandbox", err, "network apart", "CONFIG_NF_TABLES_BRIDGE", "bridge-nf-call-iptables")
	_, _, err = e.JoinInterface(ctx, "lease")
	wantUnavailable(t, "a lease", err, "network apart", "CONFIG_NF_TABLES_BRIDGE", "bridge-nf-call-iptables")
	if _, _, err := e.JoinInterface(ctx, "joined"); err != nil {
		t.Errorf("a lease that has its link: %v", err)
	}
	apart.Name = "another"
	_, _, err = e.CreateNetwork(ctx, apart)
	wantUnavailable(t, "a network", err, "network another", "CONFIG_NF_TABLES_BRIDGE", "bridge-nf-call-iptables")
	if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "open"}); err != nil {
		t.Errorf("a network with ICC: %v", err)
	}
	checkKernel(t, e, h)
	stop()

	cfg.ICC = false
	steps := h.steps
	wantUnavailable(t, "--icc=false", openFake(t, cfg, h).Run(ctx), "network bridge", "CONFIG_NF_TABLES_BRIDGE", "bridge-nf-call-iptables")
	if h.steps != steps {
		t.Errorf("the refused start made %d steps", h.steps-steps)
	}
	h.lacks = nil
	_, stop = startFake(t, cfg, h)
	stop()
}

// TestNetworkOfAnotherKernel: networks outlive a boot. One that needs what the kernel lacks now does not stop the start, and nobody can
// join it until it is made anew.
func TestNetworkOfAnotherKernel(t *testing.T) {
	noIPv6 := fmt.Errorf("%w: switched off", hostcheck.ErrAbsent)
	for name, tt := range map[string]struct {
		spec   bridged.NetworkSpec
		lacks  []hostcheck.FeatureName
		noIPv6 error
		says   string
	}{
		"source guard": {
			spec:  bridged.NetworkSpec{Name: "net", Options: map[string]string{bridged.OptionSourceGuard: "true"}},
			lacks: []hostcheck.FeatureName{hostcheck.NFTablesBridge}, says: "CONFIG_NF_TABLES_BRIDGE",
		},
		"IPv6": {spec: bridged.NetworkSpec{Name: "net", IPv6: true}, noIPv6: noIPv6, says: "switched off"},
	} {
		t.Run(name, func(t *testing.T) {
			h, cfg := newFakeHost(), testConfig(t)
			cfg.IPv6 = false
			e, stop := startFake(t, cfg, h)
			ctx := t.Context()
			if _, _, err := e.CreateNetwork(ctx, tt.spec); err != nil {
				t.Fatal(err)
			}
			stop()

			h = newFakeHost() // the next boot
			h.lacks, h.noIPv6 = tt.lacks, tt.noIPv6
			e, stop = startFake(t, cfg, h)
			defer func() { stop() }()
			checkKernel(t, e, h)
			wantWarning(t, e, "nobody can join network net")
			_, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "c", Network: "net"})
			wantUnavailable(t, "a sandbox", err, "network net", tt.says)
			_, err = e.AllocateInterface(ctx, bridged.InterfaceSpec{ID: "c", Network: "net"})
			wantUnavailable(t, "a lease", err, "network net", tt.says)
			if _, err := e.CreateSandbox(ctx, bridged.SandboxSpec{Name: "c"}); err != nil {
				t.Errorf("the default network: %v", err)
			}
			_, _, err = e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "more", IPv6: tt.spec.IPv6, Options: tt.spec.Options})
			wantUnavailable(t, "another one", err, "network more", tt.says)
			if err := e.RemoveNetwork(ctx, "net"); err != nil {
				t.Error(err)
			}
			if _, _, err := e.CreateNetwork(ctx, bridged.NetworkSpec{Name: "net"}); err != nil {
				t.Error(err)
			}
			checkKernel(t, e, h)
			h.lacks, h.noIPv6 = nil, nil
			stop()
			e, stop = startFake(t, cfg, h)
			checkKernel(t, e, h)
			wantWarning(t, e, "")
		})
	}
}

// TestNoIPv6: --ipv6 is refused with the reason.
func TestNoIPv6(t *testing.T) {
	h, cfg := newFakeHost(), testConfig(t)
	h.noIPv6 = fmt.Errorf("%w: ipv6.disable=1", hostcheck.ErrAbsent)
	wantUnavailable(t, "the start", openFake(t, cfg, h).Run(t.Context()), "--ipv6", "ipv6.disable=1")
	if h.steps != 0 {
		t.Errorf("the refused start made %d steps", h.steps)
	}
	cfg.IPv6 = false
	e, stop := startFake(t, cfg, h)
	defer stop()
	checkKernel(t, e, h)
	for name, b := range h.objects.bridges {
		for _, a := range b.addrs {
			if a.Addr().Is6() {
				t.Errorf("%s has %s", name, a)
			}
		}
	}
}
